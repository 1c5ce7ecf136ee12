"""How many flipped labels `mmposter audit` finds, and where in its list they stand.

    python benchmarks/auditing.py DATA [--folds 5] [--flips pairs genres posters] [--share .05] [--set KEY=VALUE ...]

Labels of all posters are flipped on purpose, the models learn from the flipped ones, and the list is made of their
out-of-fold predictions, as `mmposter audit` does it. DATA may be a pack; `benchmark` is the one that travels with
mmposter.

- pairs: a share of all (poster, genre) pairs is flipped. Most are genres that the poster does not have.
- genres: a share of the given genres is replaced, each by another one that the poster does not have.
- posters: on a share of the posters one pair is flipped.

Lift: the share of flips in the first part of the list, divided by that in the whole list. "Base rates alone" is a list
for which no poster was looked at: whoever flips at random mostly gives rare genres, and a rare genre is suspicious by
itself. The mistakes that the labels had before count as correct.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmposter.audit.folds import out_of_fold
from mmposter.config import load_config
from mmposter.data import Dataset
from mmposter.evaluation.mistakes import calibrated, suspicion
from mmposter.features.pins import Pins
from mmposter.features.settled import settle
from mmposter.training.inputs import Inputs, load_inputs

CUTS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Beginnings of the list."""

Marks = NDArray[np.bool_]


def flipped(labels: Marks, kind: str, share: float, seed: int) -> Marks:
    """The labels with mistakes put in: N x G."""
    random, found = np.random.default_rng(seed), labels.copy()
    posters, genres = labels.shape
    if kind == "pairs":
        found.flat[random.choice(labels.size, round(share * labels.size), replace=False)] ^= True
    elif kind == "genres":
        given = np.argwhere(labels)
        for row, genre in given[random.choice(len(given), round(share * len(given)), replace=False)]:
            found[row, random.choice(np.flatnonzero(~found[row]))] = True
            found[row, genre] = False
    else:
        for row in random.choice(posters, round(share * posters), replace=False):
            found[row, random.integers(genres)] ^= True
    return found


def cells(scores: NDArray[np.float64], wrong: Marks) -> list[str]:
    """Lift and precision at each cut, the share of the flips found at 5 %, and the average precision: of M pairs."""
    hits = wrong[np.argsort(-scores, kind="stable")]
    share, places = hits.mean(), np.arange(1, len(hits) + 1)
    firsts = [hits[: max(round(cut * len(hits)), 1)] for cut in CUTS]
    recall = hits[: max(round(0.05 * len(hits)), 1)].sum() / hits.sum()
    average = (np.cumsum(hits) / places)[hits].mean()
    return [*(f"{first.mean() / share:.1f} ({first.mean() * 100:.0f} %)" for first in firsts), f"{recall:.3f}",
            f"{average:.3f}"]  # fmt: skip


def rows_of(given: Marks, wrong: Marks, probs: NDArray[np.float64], test: Marks) -> dict[str, list[str]]:
    """The rows of one table; `test` are posters that no released image network has seen."""
    scores, base = suspicion(given, probs), suspicion(given, np.broadcast_to(given.mean(axis=0), given.shape))
    plain = np.where(given, 1 - probs, probs)
    everything = np.ones_like(given)
    lists = {
        "the list": (scores, everything),
        "the list, test posters": (scores, everything & test[:, None]),
        "1 - self-confidence alone": (plain, everything),
        "base rates alone": (base, everything),
        "given genres": (scores, given),
        "given genres, base rates alone": (base, given),
        "genres not given": (scores, ~given),
        "genres not given, base rates alone": (base, ~given),
    }
    return {
        name: [f"{wrong[of].sum():,}", f"{wrong[of].mean() * 100:.2f}", *cells(values[of], wrong[of])]
        for name, (values, of) in lists.items()
        if wrong[of].any()
    }


def measure(inputs: Inputs, dataset: Dataset, kind: str, asked: argparse.Namespace) -> None:
    """Flip, train, and print a table."""
    started, true = time.monotonic(), inputs.labels > 0
    given = flipped(true, kind, asked.share, asked.seed)
    config = settle(load_config(None, asked.set, seed=asked.seed, branches=asked.branches), Pins.of(dataset))
    with tempfile.TemporaryDirectory() as folder:
        noisy = replace(inputs, labels=given.astype(np.float32))
        found, rows = out_of_fold(
            config, dataset, noisy, Path(folder), folds=asked.folds, device="cpu", offline=True, quiet=True
        )
    given, wrong = given[rows], (given != true)[rows]
    heads = ["flips", "of all, %", *(f"first {cut * 100:g} %" for cut in CUTS), "found at 5 %", "AP"]
    print(f"\n{kind}: {asked.share:.0%} flipped, {len(rows):,} posters, {time.monotonic() - started:.0f} s\n")
    print("| lift (precision) | " + " | ".join(heads) + " |\n|---|" + "---:|" * len(heads))
    test = np.array(dataset.table["split"] == "test")[rows]
    for name, row in rows_of(given, wrong, calibrated(given, found), test).items():
        print(f"| {name} | " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Print a table for each kind of flips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--flips", nargs="+", choices=("pairs", "genres", "posters"), default=["pairs", "genres"])
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--branches", default=None)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    dataset = Dataset.load(asked.data)
    config = settle(load_config(None, asked.set, seed=asked.seed, branches=asked.branches), Pins.of(dataset))
    inputs = load_inputs(config, dataset, device="cpu", offline=True, quiet=True)
    for kind in asked.flips:
        measure(inputs, dataset, kind, asked)


if __name__ == "__main__":
    main()
