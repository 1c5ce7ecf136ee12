"""What models of few posters are worth, and how many genres they decide, against the truth.

    python benchmarks/few_posters.py DATA --train 35 70 140 280 560 [--split val] [--set KEY=VALUE ...]
    python benchmarks/few_posters.py DATA --train 2000 4000 8000 16000 --watch val [--source NAME]

For each number n the first n training posters of a shuffled list teach, the next n / 7 stand in for the validation
posters (as with the ratios 0.7 0.1 0.2), and all posters of the split are measured. With ``--watch val`` the validation
posters are DATA's own, whatever n. DATA may be a pack; `benchmark` is the one that travels with mmposter; of DATA from
several sources ``--source`` measures the posters of one. Settings are chosen with ``--split val``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmposter.config import Config, load_config
from mmposter.data import Dataset
from mmposter.evaluation import mean_average_precision
from mmposter.evaluation.metrics import get_metric
from mmposter.features.pins import Pins
from mmposter.features.settled import settle
from mmposter.training.finishing import Fitted
from mmposter.training.inputs import Inputs, load_inputs
from mmposter.training.train import fit


def few(inputs: Inputs, count: int, seed: int, watch: str) -> Inputs:
    """Only `count` posters to train on; of the others a seventh of that to validate on, or the validation posters."""
    rows = np.random.default_rng(seed).permutation(inputs.rows("train"))
    replaced = ["train"] if watch == "val" else ["train", "val"]
    splits = np.where(np.isin(inputs.splits, replaced), "left out", inputs.splits).astype(object)
    splits[rows[:count]] = "train"
    if watch != "val":
        splits[rows[count : count + max(count // 7, 1)]] = "val"
    return replace(inputs, splits=splits)


def measured(inputs: Inputs, dataset: Dataset, split: str, source: str | None) -> list[int]:
    """The rows of the split, of one source or of all."""
    rows = inputs.rows(split)  # in the manifest's order
    return [row for row in rows if source is None or dataset.table["source"].iloc[row] == source]


def line(count: int, fitted: Fitted, inputs: Inputs, rows: list[int], config: Config) -> str:
    """A row of the table."""
    probs, kept, seen = fitted.trainer.predict(rows)
    truth = inputs.labels[kept] > 0
    decided = fitted.decision.decide(probs, config.evaluation.empty, seen)
    shares = inputs.shares()
    numbers = [
        f"{decided.sum(axis=1).mean():.2f}",
        f"{truth.sum(axis=1).mean():.2f}",
        str(int(decided[:, shares == 0].sum())),
        f"{mean_average_precision(truth, probs):.3f}",
        f"{get_metric('macro_f1').value(truth, decided):.3f}",
        f"{get_metric('overall_f1').value(truth, decided):.3f}",
        str(len(fitted.progress.history)),
        str(fitted.progress.step),
    ]
    return f"| {count} | " + " | ".join(numbers) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--train", type=int, nargs="+", default=[35, 70, 140, 280, 560])
    parser.add_argument("--split", default="test")
    parser.add_argument("--watch", choices=("train", "val"), default="train", help="where validation posters are from")
    parser.add_argument("--source", help="measure the posters of this source")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--branches", default=None)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    dataset = Dataset.load(asked.data)
    heads = ["genres decided", "true", "without a positive", "mAP", "macro F1", "overall F1", "passes", "steps"]
    print("| training posters | " + " | ".join(heads) + " |\n|" + "---:|" * (len(heads) + 1))
    for seed in asked.seeds:
        config = settle(load_config(None, asked.set, seed=seed, branches=asked.branches), Pins.of(dataset))
        everything = load_inputs(config, dataset, device="cpu", offline=True, quiet=True)
        rows = measured(everything, dataset, asked.split, asked.source)
        for count in asked.train:
            inputs, started = few(everything, count, seed, asked.watch), time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                fitted = fit(config, dataset, inputs, Path(folder), device="cpu", offline=True, quiet=True)
                print(line(count, fitted, inputs, rows, config), f"{time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
