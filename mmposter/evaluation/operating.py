"""What each genre's threshold gives, beside what other thresholds would have given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.metrics import labelled
from mmposter.evaluation.thresholds import best_threshold


@dataclass(frozen=True)
class OperatingPoint:
    """One genre decided wherever its probability reaches `threshold`.

    Precision is 0 where nothing is decided, recall and F1 are None without a positive.
    """

    threshold: float
    precision: float
    recall: float | None
    f1: float | None
    decided: float


@dataclass(frozen=True)
class GenreThresholds:
    """One genre at three thresholds.

    Attributes:
        genre: its name.
        support: posters that have it.
        tuned: at the model's own threshold, tuned on validation posters.
        half: at .5.
        hindsight: at the threshold with the best F1 on these very posters: nobody can know it beforehand, so it is a
            bound and no result. None without a positive.
    """

    genre: str
    support: int
    tuned: OperatingPoint
    half: OperatingPoint
    hindsight: OperatingPoint | None


def threshold_table(
    target: ArrayLike, probs: ArrayLike, thresholds: ArrayLike, genres: Sequence[str]
) -> list[GenreThresholds]:
    """Each genre at its own threshold, at .5, and at the best one in hindsight; in the order of `genres`.

    The thresholds alone decide here: what a poster gets where nothing passes (`apply_thresholds`) is left out, since
    it is a rule over genres.

    Args:
        target: N x G of {0, 1}; posters without a genre are left out.
        probs: N x G in 0-1.
        thresholds: G, one a genre.
        genres: the G names.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> row = threshold_table([[1], [0], [1], [1]], [[0.9], [0.6], [0.4], [0.3]], [0.35], ["War"])[0]
    >>> row.tuned.recall, row.half.precision, row.hindsight.threshold
    (0.6666666666666666, 1.0, 0.15)
    """
    truth, scores, _ = labelled(target, probs)
    rows = []
    for g, (genre, tuned) in enumerate(zip(genres, np.asarray(thresholds, dtype=np.float64).tolist(), strict=True)):
        positive, column = truth[:, g], scores[:, g]
        best = _point(positive, column, best_threshold(positive, column)) if positive.any() else None
        points = _point(positive, column, tuned), _point(positive, column, 0.5)
        rows.append(GenreThresholds(genre, int(positive.sum()), *points, best))
    return rows


def _point(positive: BoolArray, scores: FloatArray, threshold: float) -> OperatingPoint:
    said = scores >= threshold
    hits, decided, support = int((positive & said).sum()), int(said.sum()), int(positive.sum())
    return OperatingPoint(
        threshold=float(threshold),
        precision=hits / decided if decided else 0.0,
        recall=hits / support if support else None,
        f1=2 * hits / (decided + support) if support else None,
        decided=decided / len(scores),
    )
