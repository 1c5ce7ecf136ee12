"""An epoch of `mmposter train --regime finetune` against a plain loop over pictures that are in memory.

    python benchmarks/finetuning.py DATA --config lite --set cnn.size=[208,144]

The plain loop is what is left where nothing but the network is in the way: posters decoded to that size before the
clock starts, forward, backward and step, in the same precision, batch and layout of memory, with batch norms held or
not as the configuration says; no view is drawn, and nothing is kept. Ours draws views, mirrors and colours, and keeps
its state so often that a kill loses half a minute. Rounds alternate in one process; a ratio is that of two rates of one
round, shown are the median and the range.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from sides import subset

from fusion import hold_batch_norms
from mmposter.config import Config, load_config
from mmposter.data import Dataset
from mmposter.engines.device import make_accelerator, resolve_device
from mmposter.features.settled import settle
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.training.pictures import whole_pictures
from mmposter.training.train import train


def main() -> None:
    """Measure, and print one table in Markdown."""
    options = _options()
    overrides = [*options.set, "train.epochs=1", "evaluation.bootstrap=100"]
    config = settle(load_config(options.config, overrides, branches="cnn", regime="finetune"))
    device = resolve_device(options.device)
    with tempfile.TemporaryDirectory(prefix="mmposter-benchmark-") as name:
        folder = Path(name)
        dataset = Dataset.load(subset(options.data, options.posters, folder / "data"))
        rounds = []
        for number in range(options.rounds):
            theirs = _plain(config, dataset, folder / f"plain-{number}", device)
            run = train(config, dataset, folder / f"run-{number}", device=device, quiet=True)
            rounds.append((run.progress.history[0]["seconds"] / _learnt(dataset) * 1000, theirs))
    ours, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = sorted(mine / other for mine, other in rounds)
    size = "x".join(map(str, TowerInput.of(config.cnn, TowerWeights.find(config.cnn)).size))
    print(f"{config.cnn.backbone} at {size}, {_learnt(dataset)} posters, {device}, {torch.get_num_threads()} threads\n")
    print("| | ms a poster and epoch |\n| --- | ---: |")
    print(f"| plain loop | {plain:.1f} |\n| mmposter train | {ours:.1f} |\n")
    print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), {len(ratios)} rounds")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that `mmposter prepare` wrote")
    parser.add_argument("--posters", type=int, default=1000, help="evenly spaced over DATA")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--config", default="lite")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], help="as of `mmposter train`")
    return parser.parse_args()


def _learnt(dataset: Dataset) -> int:
    return int((dataset.table["split"] == "train").sum())


def _plain(config: Config, dataset: Dataset, folder: Path, device: str) -> float:
    """Milliseconds a poster of one epoch."""
    weights = TowerWeights.find(config.cnn)
    looks = TowerInput.of(config.cnn, weights)
    rows = [row for row, split in enumerate(dataset.table["split"]) if split == "train"]
    _, images = whole_pictures(dataset, rows, looks, folder, "train", quiet=True).batch(rows, 0)
    labels = torch.from_numpy(dataset.labels())[rows].to(device)
    layout = torch.channels_last if device == "cpu" else torch.contiguous_format
    backbone = weights.build().train()
    if config.cnn.batch_norms == "held":
        hold_batch_norms(backbone)
    network = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.num_features, labels.shape[1]))
    network = network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    accelerator = make_accelerator(device, config.train.precision, convolutions=True)
    began = time.monotonic()
    for part in torch.randperm(len(rows)).split(config.train.batch_size):
        with accelerator.autocast():
            logits = network(images[part].to(device).contiguous(memory_format=layout))
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels[part.to(device)])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.monotonic() - began) / len(rows) * 1000


if __name__ == "__main__":
    main()
