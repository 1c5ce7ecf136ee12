"""What an ablation found: plain values that tables, plots and reports are made of, and nothing to compute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmposter.document.shown import Shown
from mmposter.evaluation.seeds import Estimate

if TYPE_CHECKING:
    import pandas as pd

Mode = Literal["retrain", "mask"]

HEADLINES = ("mean_average_precision", "macro_f1", "r_precision")
"""The metrics that an ablation compares, as they are called in `mmposter.evaluation.METRICS`; the first one leads."""


@dataclass(frozen=True)
class CellComparison:
    """One cell minus another on the same posters, seed by seed."""

    against: str  # name of the other cell
    why: str  # what the other cell is, in a few words ("the full model", "the same without the branch")
    # The difference by headline metric, adjusted over all cells of the section and mode.
    metrics: Mapping[str, Estimate]
    # The difference of average precision by genre, adjusted over all cells and genres of them.
    by_genre: Mapping[str, Estimate]


@dataclass(frozen=True)
class CellResult:
    """One cell: one configuration, trained with every seed (or masked in every trained model).

    Attributes:
        name: unique, and safe as a file name, such as ``cnn-ocr`` or ``mask.cnn-ocr``.
        label: for people, such as ``cnn, ocr`` or ``gate = se``.
        section: which question it belongs to: ``subsets``, ``leave-one-out``, ``add-one``, ``controls``, or the
            configuration key of an axis, such as ``fusion.head``.
        mode: ``retrain`` or ``mask``.
        branches: what it looks at.
        changes: configuration keys that differ from the base, with their values; without `branches`.
        seeds: those that are finished.
        metrics: by headline metric, over seeds and posters.
        by_seed: the value of each finished seed, by headline metric.
        by_genre: average precision by genre; NaN for a genre without a positive.
        over_constant: by headline metric, minus the best constant answer on the same posters.
        over_constant_by_genre: average precision by genre minus the prevalence, which is the constant's.
        comparisons: with the reference first; a branch alone and changed is compared with that branch unchanged
            instead. Empty for the reference itself.
        seconds: training time, mean over the seeds.
    """

    name: str
    label: str
    section: str
    mode: Mode
    branches: tuple[str, ...]
    changes: Mapping[str, Any]
    seeds: tuple[int, ...]
    metrics: Mapping[str, Estimate]
    by_seed: Mapping[str, tuple[float, ...]]
    by_genre: Mapping[str, Estimate]
    over_constant: Mapping[str, Estimate]
    over_constant_by_genre: Mapping[str, Estimate]
    comparisons: tuple[CellComparison, ...]
    seconds: float


@dataclass(frozen=True)
class Contribution:
    """What a branch adds, averaged over all subsets of the others (its Shapley value); sums to all minus nothing."""

    branch: str  # its name
    mode: Mode  # whether the subsets were retrained or masked
    # By headline metric, adjusted over all branches. Nothing at all counts as the best constant answer.
    metrics: Mapping[str, Estimate]
    by_genre: Mapping[str, Estimate]  # of average precision, by genre, adjusted over all branches and genres


@dataclass(frozen=True)
class Provenance:
    """What the numbers were made from."""

    data: str  # name of the data folder
    manifest: str  # sha256 of its manifest
    split: str  # the split that was measured
    posters: int  # posters measured, those with a genre
    train_posters: int  # posters trained on
    val_posters: int  # posters that chose epochs and thresholds
    seeds: tuple[int, ...]  # asked for
    version: str  # of mmposter
    commit: str | None  # of its source, None where it was not installed from one
    config: Mapping[str, Any]  # the base configuration, as plain nested values
    command: str  # the command line that makes the same
    bootstrap: int  # half-samples behind the intervals


@dataclass(frozen=True)
class AblationResult(Shown):
    """An ablation, finished or not."""

    provenance: Provenance  # what the numbers were made from
    genres: tuple[str, ...]  # names in the order of the vocabulary
    support: tuple[int, ...]  # posters of each genre in the measured split
    constant: Mapping[str, float]  # the best constant answer's value by headline metric
    constant_by_genre: Mapping[str, float]  # its average precision by genre, which is the prevalence
    reference: str  # name of the cell with everything on, against which the others are compared
    cells: tuple[CellResult, ...]  # in the order of the plan; the reference is among them
    contributions: tuple[Contribution, ...] = ()  # of every branch, where all subsets were measured; else empty
    unfinished: Mapping[str, str] | None = None  # label and reason of every cell and seed that is not there

    def cell(self, name: str) -> CellResult | None:
        """The cell of that name, None where it is not finished."""
        return next((cell for cell in self.cells if cell.name == name), None)

    @property
    def full(self) -> CellResult | None:
        """The reference, None where it is not finished."""
        return self.cell(self.reference)

    def against_full(self, cell: CellResult) -> CellComparison | None:
        """The cell minus the reference; None for the reference itself."""
        return next((item for item in cell.comparisons if item.against == self.reference), None)

    def contributions_of(self, mode: Mode) -> dict[str, Contribution]:
        """What each branch adds in that mode, by branch; empty where not all subsets were measured."""
        return {item.branch: item for item in self.contributions if item.mode == mode}

    def to_frame(self) -> pd.DataFrame:
        """One row a cell: cell, section, mode, branches, seeds (their number), and of each headline metric its value
        (``macro_f1``), its 95 % interval (``macro_f1_low``, ``_high``), the difference to the reference
        (``_difference``) and Holm's p-value (``_p``). What is undefined is NaN, as the differences of the reference.
        """
        import pandas as pd

        rows = []
        for cell in self.cells:
            row: dict[str, Any] = {
                "cell": cell.name,
                "section": cell.section,
                "mode": cell.mode,
                "branches": ",".join(cell.branches),
                "seeds": len(cell.seeds),
            }
            compared = self.against_full(cell)
            for name, estimate in cell.metrics.items():
                row[name] = estimate.value
                row[f"{name}_low"], row[f"{name}_high"] = estimate.ci95 or (math.nan, math.nan)
                difference = None if compared is None else compared.metrics[name]
                row[f"{name}_difference"] = math.nan if difference is None else difference.value
                adjusted = None if difference is None else difference.adjusted
                row[f"{name}_p"] = math.nan if adjusted is None else adjusted
            rows.append(row)
        return pd.DataFrame(rows)

    def genres_by_support(self) -> list[tuple[str, int]]:
        """The genres and their posters, the most frequent first."""
        return sorted(zip(self.genres, self.support, strict=True), key=lambda item: -item[1])
