"""Does a promised precision hold, and what share of genres does it give without a person?

    python benchmarks/accepting.py RUN DATA [--splits 200] [--branches cnn,ocr] [--confidence .95]

RUN is a run folder or a model that travels with mmposter, DATA a prepared data set or a pack. The validation and test
posters are put together and parted anew many times, near-duplicates together, with as many on the first side as there
are validation posters. All that `mmposter calibrate` does is done anew on the first side: probabilities are scaled, and
each precision of `mmposter predict --precision` is promised; then the genres given on the other side are counted. The
training, and which epoch was kept, stay as they are; so the last rows show the parting that the run was made with.

Columns: in how many re-splits the precision could be promised at all; in how many of them the other side fell short of
it, and what that leaves of all (nothing promised is nothing broken); the precision on the other side, where promised;
the share of all genres that is given there, and of posters that get one (means over all re-splits); and of the genres
that posters for review have, the share that the first quarter of the reviews finds, in the order of `gain`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmposter.config import parse_branches
from mmposter.data import Dataset
from mmposter.document.markdown import markdown_table
from mmposter.evaluation.arrays import BoolArray, IntArray
from mmposter.evaluation.promise import CONFIDENCE, Evidence, Promise, expected_gain, short
from mmposter.measurement.calibrate import fit_decision
from mmposter.measurement.evaluate import check_branches, score_split
from mmposter.runs.run import Run
from mmposter.shipped import find_run
from mmposter.training.inputs import load_inputs
from mmposter.training.loop import Scored

PRECISIONS = (0.6, 0.7, 0.8, 0.85, 0.9)
HEADS = ("precision", "promised", "broken", "held, %", "precision there", "genres, %", "posters, %", "found, %")


@dataclass(frozen=True)
class Outcome:
    """One promise, counted on posters that it was not found on."""

    promise: Promise
    precision: float  # NaN where nothing was given
    genres: float  # share of the true genres that is given
    posters: float  # share of the posters that get one
    found: float  # of the genres of posters for review, by the first quarter of the reviews; NaN without any

    @property
    def broken(self) -> bool:
        """Whether fewer of the given genres are true than was promised."""
        return self.precision < self.promise.precision


def count(promise: Promise, target: BoolArray, probs: NDArray[np.float32]) -> Outcome:
    """What a promise gives on N new posters, `target` and `probs` N x G."""
    given = promise.give(probs)
    review = ~given.any(axis=1)
    true = target[review].sum(axis=1)
    order = np.argsort(-expected_gain(probs, given)[review], kind="stable")
    return Outcome(
        promise,
        float(target[given].mean()) if given.any() else np.nan,
        float((target & given).sum() / target.sum()),
        float(1 - review.mean()),
        float(true[order[: len(order) // 4]].sum() / true.sum()) if len(order) >= 4 else np.nan,
    )


def resplits(groups: NDArray[np.object_], size: int, splits: int, seed: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Rows of two sides, the first of about `size` posters; a group is on one side."""
    rng = np.random.default_rng(seed)
    names, member = np.unique(groups.astype(str), return_inverse=True)
    for _ in range(splits):
        order = np.argsort(rng.permutation(len(names))[member], kind="stable")
        yield np.sort(order[:size]), np.sort(order[size:])


def row(outcomes: list[Outcome]) -> list[str]:
    """Cells of the table: one precision over all re-splits."""
    promised = [outcome for outcome in outcomes if outcome.promise.holds]
    broken = sum(outcome.broken for outcome in promised)
    means = [100 * np.mean([getattr(outcome, name) for outcome in outcomes]) for name in ("genres", "posters")]
    there = f"{np.mean([outcome.precision for outcome in promised]):.3f}" if promised else "–"
    found = [outcome.found for outcome in outcomes if not np.isnan(outcome.found)]
    numbers = [f"{100 * (1 - broken / len(outcomes)):.1f}", there, *(f"{mean:.1f}" for mean in means)]
    return [str(len(promised)), str(broken), *numbers, f"{100 * np.mean(found):.1f}" if found else "–"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--branches")
    parser.add_argument("--confidence", type=float, default=CONFIDENCE)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    run, dataset = Run.load(find_run(asked.run)), Dataset.load(asked.data)
    only = None if asked.branches is None else parse_branches(asked.branches)
    check_branches(run, only)
    inputs = load_inputs(run.serving_config(), dataset, device="cpu", offline=True, quiet=True, behind=run)
    rows = [*inputs.rows("val"), *inputs.rows("test")]
    raw, kept, seen = score_split(run, dataset, inputs, rows, only=only, device="cpu")
    labelled = (inputs.labels[kept] > 0).any(axis=1)
    raw, kept, seen = raw[labelled], kept[labelled], seen[labelled]
    labels, groups = inputs.labels[kept], np.array(dataset.table["group"], dtype=object)[kept]
    val = inputs.splits[kept] == "val"

    def outcomes(first: IntArray, other: IntArray) -> list[Outcome]:
        scored = Scored(raw[first], kept[first], seen[first])
        decision = fit_decision(run, labels[first], scored, inputs.shares(), len(inputs.rows("train")))
        probs, target = decision.apply(raw, seen), labels > 0
        evidence = Evidence.of(target[first], probs[first], groups[first])
        promises = [evidence.promise(precision, asked.confidence) for precision in PRECISIONS]
        return [count(promise, target[other], probs[other]) for promise in promises]

    size = int(val.sum())
    found = [outcomes(*sides) for sides in resplits(groups, size, asked.splits, asked.seed)]
    own = outcomes(np.flatnonzero(val), np.flatnonzero(~val))
    names = ", ".join(only or run.config.branches)
    print(f"{names}: {asked.splits} re-splits, {size} posters to promise by, {len(val) - size} to count on\n")
    cells = [[short(p), *row([each[at] for each in found])] for at, p in enumerate(PRECISIONS)]
    cells += [[f"{short(p)}, val to test", *row([own[at]])] for at, p in enumerate(PRECISIONS)]
    print(markdown_table(HEADS, cells, "l" + "r" * (len(HEADS) - 1)))


if __name__ == "__main__":
    main()
