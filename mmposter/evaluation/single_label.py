"""Metrics of single-label data, where every poster has exactly one genre and the best-scored genre is the answer.

For published system P2 (13 classes, accuracy, macro precision, macro recall, confusion matrix). On such data
R-precision and accuracy are the same number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import FloatArray, check_binary, check_probs, has_genre
from mmposter.evaluation.weighted import divide


@dataclass(frozen=True)
class SingleLabelResult:
    """Accuracy, macro precision and recall, and the confusion matrix (G x G, row = true, column = answered)."""

    accuracy: float
    macro_precision: float
    macro_recall: float
    confusion: tuple[tuple[int, ...], ...]


def is_single_label(target: ArrayLike) -> bool:
    """Does every poster that has a genre have exactly one?"""
    sizes = check_binary(target, "target").sum(axis=1)
    return bool((sizes <= 1).all() and sizes.any())


def single_label_metrics(target: ArrayLike, probs: ArrayLike) -> SingleLabelResult:
    """Answer each poster with its best-scored genre (the first in genre order of equal ones) and compare.

    Posters without a genre are left out. As in scikit-learn, a genre that was answered or is true counts in the macro
    means, with precision 0 if never answered and recall 0 if never true.

    Raises:
        ValueError: a wrong shape or value, or a poster with two genres, or none with one.
    """
    if not is_single_label(target):
        raise ValueError("target must hold one genre a poster, got posters with several or none with one")
    truth = check_binary(target, "target")
    scores = check_probs(probs, truth.shape)
    keep = has_genre(truth)
    genres = truth.shape[1]
    pairs = truth[keep].argmax(axis=1) * genres + scores[keep].argmax(axis=1)
    confusion = np.bincount(pairs, minlength=genres * genres).reshape(genres, genres)
    hits: FloatArray = np.diagonal(confusion).astype(np.float64)
    true, answered = confusion.sum(axis=1).astype(np.float64), confusion.sum(axis=0).astype(np.float64)
    seen = (true + answered) > 0
    return SingleLabelResult(
        accuracy=float(hits.sum() / confusion.sum()),
        macro_precision=float(divide(hits, answered, empty=0.0)[seen].mean()),
        macro_recall=float(divide(hits, true, empty=0.0)[seen].mean()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )
