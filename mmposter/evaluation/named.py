"""The columns of `seeds.measure` as estimates by metric and by genre, and Holm's correction over a family of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmposter.evaluation.arrays import FloatArray
from mmposter.evaluation.evaluate import MIN_SUPPORT_FOR_INTERVAL
from mmposter.evaluation.intervals import MIN_POSTERS
from mmposter.evaluation.multiple import holm
from mmposter.evaluation.seeds import Estimate, Measured, estimate_difference, estimate_metric

Named = tuple[dict[str, Estimate], dict[str, Estimate]]
"""By metric, and average precision by genre."""


@dataclass(frozen=True)
class Columns:
    """What the columns are, on which posters."""

    metrics: Sequence[str]  # names of the metrics, which come first
    genres: Sequence[str]  # names, in the order of the vocabulary
    support: Sequence[int]  # posters of each genre
    posters: int  # how many there are in all
    independent: int  # of which near-duplicates count once
    units: FloatArray  # K, how many each number rests on, see `intervals.edge_units`

    def of_model(self, parts: Sequence[Measured]) -> Named:
        """Mean over the seeds of one configuration, measured once a seed; without intervals on too few posters."""
        values, halves = stacked(parts)
        found = [
            estimate_metric(values[:, k], halves[:, :, k], self.posters, float(self.units[k]))
            for k in range(values.shape[1])
        ]
        if self.independent < MIN_POSTERS:
            found = [Estimate(one.value, None, math.nan) for one in found]
        return self._named(found)

    def of_difference(self, values: FloatArray, halves: FloatArray, *, to_constant: bool = False) -> Named:
        """Mean over the seeds of a difference or a contrast: S x K on all posters, S x R x K on the halves."""
        return self._named(
            [
                estimate_difference(values[:, k], halves[:, :, k], self.independent, to_constant=to_constant)
                for k in range(values.shape[1])
            ]
        )

    def _named(self, found: Sequence[Estimate]) -> Named:
        by_genre = {
            # A rare genre keeps its value alone.
            genre: one if count >= MIN_SUPPORT_FOR_INTERVAL else Estimate(one.value, None, math.nan)
            for genre, count, one in zip(self.genres, self.support, found[len(self.metrics) :], strict=True)
        }
        return dict(zip(self.metrics, found, strict=False)), by_genre


def stacked(parts: Sequence[Measured]) -> tuple[FloatArray, FloatArray]:
    """Values S x K and halves S x R x K of S seeds."""
    return np.stack([part.values for part in parts]), np.stack([part.halves for part in parts])


def adjust_family(family: Sequence[tuple[Mapping[str, Estimate], Mapping[str, Estimate]]]) -> list[Named]:
    """Every member with Holm's p-values: of a metric over all members, of a genre over all members and genres."""
    names = family[0][0] if family else ()
    by_metric = {name: iter(holm([metrics[name].p_value for metrics, _ in family])) for name in names}
    flat = iter(holm([one.p_value for _, by_genre in family for one in by_genre.values()]))
    return [
        (
            {name: replace(one, adjusted=next(by_metric[name])) for name, one in metrics.items()},
            {genre: replace(one, adjusted=next(flat)) for genre, one in by_genre.items()},
        )
        for metrics, by_genre in family
    ]
