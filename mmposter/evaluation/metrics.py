"""The metrics of multi-label genre prediction, one function each, and the ordered registry `METRICS`.

N posters, G genres, Y_i the true set of poster i, s_i its scores, n_i = |Y_i|. Arguments everywhere: `target` N x G of
{0, 1}, `probs` N x G in 0-1 after the sigmoid, `decisions` N x G of {False, True}.

Rules that hold for all of them:

- A poster without a genre is left out (`count_without_genre` counts them).
- The top k of a poster with equal scores are taken in genre order, so a constant answer has exactly one value.
- In a mean over genres, a genre without a positive is left out (`genres_without_positives` names them): neither its
  average precision nor its F1 is defined, and a 0 in its place would punish every model alike.
- A metric that is undefined on the given posters is NaN (only AUROC can be: a genre that every poster has).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmposter.errors import UserError
from mmposter.evaluation import weighted
from mmposter.evaluation.arrays import (
    BoolArray,
    FloatArray,
    check_binary,
    check_decisions,
    check_probs,
    has_genre,
)
from mmposter.evaluation.weighted import ECE_BINS, Statistic

Kind = Literal["ranking", "probability", "decision"]


def labelled(
    target: ArrayLike, probs: ArrayLike | None, decisions: ArrayLike | None
) -> tuple[BoolArray, FloatArray | None, BoolArray | None]:
    """Check the arrays and keep the posters that have a genre.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.
    """
    truth = check_binary(target, "target")
    keep = has_genre(truth)
    if not keep.any():
        raise UserError(
            f"None of the {len(truth)} posters has a genre, so nothing can be measured. Metrics need at least one "
            "poster with a genre: choose another split or data set."
        )
    return (
        truth[keep],
        None if probs is None else check_probs(probs, truth.shape)[keep],
        None if decisions is None else check_decisions(decisions, truth.shape)[keep],
    )


def count_without_genre(target: ArrayLike) -> int:
    """How many posters have no genre and are left out of every metric."""
    return int((~has_genre(check_binary(target, "target"))).sum())


def genres_without_positives(target: ArrayLike, genres: Sequence[str]) -> list[str]:
    """The genres that no poster has: left out of every mean over genres."""
    support = check_binary(target, "target").sum(axis=0)
    return [genre for genre, count in zip(genres, support.tolist(), strict=True) if count == 0]


def _of_probs(statistic: Callable[[BoolArray, FloatArray], Statistic], target: ArrayLike, probs: ArrayLike) -> float:
    truth, scores, _ = labelled(target, probs, None)
    assert scores is not None
    return float(statistic(truth, scores)(np.ones((1, len(truth))))[0])


def _of_decisions(
    statistic: Callable[[BoolArray, BoolArray], Statistic], target: ArrayLike, decisions: ArrayLike
) -> float:
    truth, _, decided = labelled(target, None, decisions)
    assert decided is not None
    return float(statistic(truth, decided)(np.ones((1, len(truth))))[0])


def _check_k(k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    return k


def r_precision(target: ArrayLike, probs: ArrayLike) -> float:
    """mean_i |top_{n_i}(s_i) & Y_i| / n_i; published as "average accuracy".

    >>> r_precision([[1, 0, 1], [0, 1, 0]], [[0.9, 0.8, 0.1], [0.2, 0.7, 0.6]])
    0.75
    """
    return _of_probs(weighted.r_precision, target, probs)


def any_hit_at_k(target: ArrayLike, probs: ArrayLike, k: int = 3) -> float:
    """mean_i [top_k(s_i) & Y_i is not empty]."""
    return _of_probs(partial(weighted.any_hit_at_k, k=_check_k(k)), target, probs)


def micro_recall_at_k(target: ArrayLike, probs: ArrayLike, k: int = 3) -> float:
    """sum_i |top_k(s_i) & Y_i| / sum_i n_i."""
    return _of_probs(partial(weighted.micro_recall_at_k, k=_check_k(k)), target, probs)


def average_precision_by_genre(target: ArrayLike, probs: ArrayLike) -> FloatArray:
    """Average precision of each genre (G), NaN without a positive; equal scores are one step, as in scikit-learn."""
    truth, scores, _ = labelled(target, probs, None)
    assert scores is not None
    values: FloatArray = weighted.average_precision_by_genre(truth, scores)(np.ones((1, len(truth))))[0]
    return values


def mean_average_precision(target: ArrayLike, probs: ArrayLike) -> float:
    """mAP: mean over genres of average precision, genres without a positive left out."""
    return _of_probs(weighted.mean_average_precision, target, probs)


def macro_auroc(target: ArrayLike, probs: ArrayLike) -> float:
    """Mean over genres of the area under the ROC curve; .5 is chance. Genres of one class only are left out."""
    return _of_probs(weighted.macro_auroc, target, probs)


def overall_precision(target: ArrayLike, decisions: ArrayLike) -> float:
    """OP, micro precision: right decisions / decisions over all (poster, genre) pairs; 0 if nothing is decided."""
    return _of_decisions(weighted.overall_precision, target, decisions)


def overall_recall(target: ArrayLike, decisions: ArrayLike) -> float:
    """OR, micro recall: right decisions / true labels over all (poster, genre) pairs."""
    return _of_decisions(weighted.overall_recall, target, decisions)


def overall_f1(target: ArrayLike, decisions: ArrayLike) -> float:
    """OF1, the same as micro F1: harmonic mean of overall precision and recall."""
    return _of_decisions(weighted.overall_f1, target, decisions)


micro_f1 = overall_f1
"""Two names of one number in the literature; `METRICS` lists it once, as overall_f1."""


def macro_f1(target: ArrayLike, decisions: ArrayLike) -> float:
    """Mean over genres of F1, genres without a positive left out."""
    return _of_decisions(weighted.macro_f1, target, decisions)


def weighted_f1(target: ArrayLike, decisions: ArrayLike) -> float:
    """Mean over genres of F1, weighted by the number of positives."""
    return _of_decisions(weighted.weighted_f1, target, decisions)


def samples_f1(target: ArrayLike, decisions: ArrayLike) -> float:
    """Mean over posters of 2 |decided & Y_i| / (|decided| + n_i)."""
    return _of_decisions(weighted.samples_f1, target, decisions)


def exact_match(target: ArrayLike, decisions: ArrayLike) -> float:
    """Share of posters whose decided set is exactly Y_i."""
    return _of_decisions(weighted.exact_match, target, decisions)


def elementwise_accuracy(target: ArrayLike, decisions: ArrayLike) -> float:
    """1 - Hamming loss. An all-zero answer scores about .88 with 20 genres: never a headline."""
    return _of_decisions(weighted.elementwise_accuracy, target, decisions)


def expected_calibration_error(target: ArrayLike, probs: ArrayLike, bins: int = ECE_BINS) -> float:
    """Mean gap between probability and truth, over equal-width bins of all (poster, genre) pairs.

    A bin is [low, high), the last one closed. Source: Guo et al. 2017, arXiv 1706.04599, there for the top class only.

    Raises:
        ValueError: `bins` below 1.
    """
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    return _of_probs(partial(weighted.expected_calibration_error, bins=bins), target, probs)


@dataclass(frozen=True)
class Metric:
    """One row of the registry.

    `kind` says what the metric reads: "ranking" and "probability" read probs, "decision" reads decisions. `statistic`
    is the same metric as a function of poster weights, for the bootstrap. `k` is set for the top-k metrics.
    """

    name: str
    title: str
    function: Callable[[ArrayLike, ArrayLike], float]
    kind: Kind
    statistic: Callable[..., Statistic]
    higher_is_better: bool = True
    headline: bool = False
    k: int | None = None

    def prepare(self, target: BoolArray, probs: FloatArray, decisions: BoolArray) -> Statistic:
        """The metric on these checked arrays as a function of poster weights (R x N -> R)."""
        return self.statistic(target, decisions if self.kind == "decision" else probs)


def _at_k(name: str, title: str, function: Callable[..., float], statistic: Callable[..., Statistic], k: int) -> Metric:
    return Metric(f"{name}_at_{k}", f"{title}@{k}", partial(function, k=k), "ranking", partial(statistic, k=k), k=k)


METRICS: tuple[Metric, ...] = (
    Metric(
        "mean_average_precision",
        "mAP",
        mean_average_precision,
        "ranking",
        weighted.mean_average_precision,
        headline=True,
    ),
    Metric("macro_f1", "macro F1", macro_f1, "decision", weighted.macro_f1, headline=True),
    Metric("r_precision", "R-precision", r_precision, "ranking", weighted.r_precision, headline=True),
    _at_k("any_hit", "any hit", any_hit_at_k, weighted.any_hit_at_k, 3),
    _at_k("micro_recall", "micro recall", micro_recall_at_k, weighted.micro_recall_at_k, 3),
    Metric("macro_auroc", "macro AUROC", macro_auroc, "ranking", weighted.macro_auroc),
    Metric("overall_precision", "overall precision (OP)", overall_precision, "decision", weighted.overall_precision),
    Metric("overall_recall", "overall recall (OR)", overall_recall, "decision", weighted.overall_recall),
    Metric("overall_f1", "overall F1 (OF1, micro F1)", overall_f1, "decision", weighted.overall_f1),
    Metric("weighted_f1", "weighted F1", weighted_f1, "decision", weighted.weighted_f1),
    Metric("samples_f1", "samples F1", samples_f1, "decision", weighted.samples_f1),
    Metric("exact_match", "exact match", exact_match, "decision", weighted.exact_match),
    Metric(
        "elementwise_accuracy",
        "element-wise accuracy",
        elementwise_accuracy,
        "decision",
        weighted.elementwise_accuracy,
    ),
    Metric(
        "expected_calibration_error",
        "calibration error (ECE)",
        expected_calibration_error,
        "probability",
        partial(weighted.expected_calibration_error, bins=ECE_BINS),
        higher_is_better=False,
    ),
)


def get_metric(name: str) -> Metric:
    """The registry's row of that name.

    Raises:
        UserError: no such metric; the message lists them.
    """
    for metric in METRICS:
        if metric.name == name:
            return metric
    raise UserError(f"Unknown metric {name!r}. Choose one of: {', '.join(metric.name for metric in METRICS)}.")


def compute_metrics(target: ArrayLike, probs: ArrayLike, decisions: ArrayLike) -> dict[str, float]:
    """Every metric of `METRICS` by name, in that order.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.
    """
    truth, scores, decided = labelled(target, probs, decisions)
    assert scores is not None
    assert decided is not None
    once = np.ones((1, len(truth)))
    return {metric.name: float(metric.prepare(truth, scores, decided)(once)[0]) for metric in METRICS}
