"""How many genres models of few posters decide, against the truth.

    python benchmarks/few_posters.py DATA --train 35 70 140 280 560 [--split val] [--set KEY=VALUE ...]

For each number n the first n training posters of a shuffled list teach, the next n / 7 stand in for the validation
posters (as with the ratios 0.7 0.1 0.2), and all posters of the split are measured. DATA may be a pack; `benchmark` is
the one that travels with mmposter. Settings are chosen with ``--split val``.
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
from mmposter.training.inputs import Inputs, load_inputs
from mmposter.training.train import Fitted, fit


def few(inputs: Inputs, count: int, seed: int) -> Inputs:
    """Only `count` posters to train on, and a seventh of that to validate on, out of the training posters."""
    rows = np.random.default_rng(seed).permutation(inputs.rows("train"))
    splits = np.where(np.isin(inputs.splits, ["train", "val"]), "left out", inputs.splits).astype(object)
    splits[rows[:count]] = "train"
    splits[rows[count : count + max(count // 7, 1)]] = "val"
    return replace(inputs, splits=splits)


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
        rows = everything.rows(asked.split)
        for count in asked.train:
            inputs, started = few(everything, count, seed), time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                fitted = fit(config, dataset, inputs, Path(folder), device="cpu", offline=True, quiet=True)
                print(line(count, fitted, inputs, rows, config), f"{time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
