"""Posters that a run has not seen: what it may be measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmposter.data.dataset import Dataset
from mmposter.errors import UserError
from mmposter.progress import say
from mmposter.runs.run import Run
from mmposter.runs.seen import TRAIN, VAL, SeenPosters
from mmposter.training.inputs import Inputs

_UNKNOWN = (
    "{run} was made by an earlier mmposter and keeps no record of its posters: whether it was trained on some of these "
    "cannot be told"
)


@dataclass(frozen=True)
class Rows:
    """Rows of a manifest that are measured, and how many the run had seen; None where that is not known."""

    kept: list[int]
    left_out: int | None = 0


def is_own(run: Run, dataset: Dataset) -> bool:
    """Whether these are the data that a run was trained on, or nobody can tell."""
    return run.facts.get("manifest") in (None, dataset.info["manifest_sha256"])


def other_data(run: Run, dataset: Dataset) -> tuple[str, str] | None:
    """Name and manifest of data that are not a run's own, for `mmposter.report.evaluation.evaluation_folder`."""
    if is_own(run, dataset):
        return None
    return dataset.folder.resolve().name, str(dataset.info["manifest_sha256"])


def unseen_rows(
    run: Run,
    dataset: Dataset,
    inputs: Inputs,
    split: str,
    *,
    by: Sequence[str] = (TRAIN, VAL),
    include_trained: bool = False,
    quiet: bool = False,
) -> Rows:
    """The usable posters of a split without those that the run has seen: it would look better than it is.

    Whoever asks for ``train`` or ``val`` of the run's own data means just these, and gets them.

    Args:
        by: as what the run has seen them: ``train``, and ``val`` where stopping and thresholds were chosen.
        include_trained: leave nothing out, and say so.
        quiet: say nothing.

    Raises:
        UserError: the split has no posters, or none is left.
    """
    rows = inputs.rows(split)
    if not rows and not quiet:
        raise UserError(f"{dataset.folder} has no posters in split {split!r}; splits there: {_splits(inputs)}")
    seen = SeenPosters.load(run.folder)
    if seen is None:
        if not quiet and not is_own(run, dataset):
            say(_UNKNOWN.format(run=run.folder))
        return Rows(rows, None)
    known = seen.among(dataset.table.iloc[rows], by)
    count = int(known.sum())
    own = split != "test" and is_own(run, dataset)
    if not count or own or include_trained:
        if count and not quiet:
            say(f"{count:,} of {len(rows):,} posters were seen in training: the numbers say little of new posters")
        return Rows(rows)
    kept = [row for row, out in zip(rows, known.tolist(), strict=True) if not out]
    if not kept and not quiet:
        raise UserError(
            f"{run.folder} has seen all {count:,} posters of {split} in training, so measuring them says nothing.\n"
            "To measure them all the same, add --include-trained"
        )
    if not quiet:
        say(f"{count:,} of {len(rows):,} posters were seen in training and are left out (--include-trained keeps them)")
    return Rows(kept, count)


def _splits(inputs: Inputs) -> str:
    return ", ".join(sorted({str(split) for split in inputs.splits}))
