"""The metrics of multi-label genre prediction: the ordered registry `METRICS`, over the formulas of `weighted`.

N posters, G genres. Arguments everywhere: `target` N x G of {0, 1}, `probs` N x G in 0-1 after the sigmoid, `decisions`
N x G of {False, True}.

Rules that hold for all of them:

- A poster without a genre is left out.
- The top k of a poster with equal scores are taken in genre order, so a constant answer has exactly one value.
- In a mean over genres, a genre without a positive is left out: neither its average precision nor its F1 is defined,
  and a 0 in its place would punish every model alike.
- A metric that is undefined on the given posters is NaN (only AUROC can be: a genre that every poster has).
"""

from __future__ import annotations

from collections.abc import Callable
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
    is_single_label,
)
from mmposter.evaluation.weighted import ECE_BINS, Statistic

Kind = Literal["ranking", "probability", "decision"]

ONE_GENRE = "target must hold one genre a poster, got posters with several or none with one"


def labelled(
    target: ArrayLike, probs: ArrayLike | None = None, decisions: ArrayLike | None = None
) -> tuple[BoolArray, FloatArray, BoolArray]:
    """Check the arrays and keep the posters that have a genre; what is not given is 0 and False everywhere.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> labelled([[1, 0], [0, 0]], [[0.9, 0.1], [0.5, 0.5]])[1].tolist()
    [[0.9, 0.1]]
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
        check_probs(np.zeros(truth.shape) if probs is None else probs, truth.shape)[keep],
        check_decisions(np.zeros_like(truth) if decisions is None else decisions, truth.shape)[keep],
    )


@dataclass(frozen=True)
class Metric:
    """One row of the registry; "ranking" and "probability" metrics read probabilities, "decision" ones decisions.

    >>> macro_f1 = get_metric("macro_f1")
    >>> macro_f1.value([[1, 0], [0, 1]], [[True, False], [True, True]])  # F1 of the genres: 2/3 and 1
    0.8333333333333333
    """

    name: str  # as in results and options
    title: str  # as in tables
    kind: Kind  # what the metric reads
    # Of the target and of what the metric reads, as a function of poster weights (for the bootstrap).
    statistic: Callable[..., Statistic]
    higher_is_better: bool = True  # False for an error
    headline: bool = False  # a reader should look at it first
    k: int | None = None  # of a top-k metric
    single_label: bool = False  # defined only where no poster has two genres
    over_genres: bool = False  # a mean over genres, in which a rare one counts as much as a frequent one

    def prepare(self, target: BoolArray, probs: FloatArray, decisions: BoolArray) -> Statistic:
        """The metric on these checked arrays as a function of poster weights (R x N -> R)."""
        return self.statistic(target, decisions if self.kind == "decision" else probs)

    def value(self, target: ArrayLike, answers: ArrayLike) -> float:
        """The metric on all posters that have a genre.

        Args:
            target: N x G of {0, 1}.
            answers: N x G, what the metric reads: decisions of {False, True}, or probabilities in 0-1.

        Raises:
            ValueError: a wrong shape or value, or a poster with two genres where the metric knows but one.
            UserError: no poster has a genre.

        >>> get_metric("r_precision").value([[1, 0, 1], [0, 1, 0]], [[0.9, 0.8, 0.1], [0.2, 0.7, 0.6]])
        0.75
        """
        if self.single_label and not is_single_label(target):
            raise ValueError(ONE_GENRE)
        read = {"decisions" if self.kind == "decision" else "probs": answers}
        truth, scores, decided = labelled(target, **read)
        return float(self.prepare(truth, scores, decided)(np.ones((1, len(truth))))[0])


METRICS: tuple[Metric, ...] = (
    Metric(
        "mean_average_precision", "mAP", "ranking", weighted.mean_average_precision, headline=True, over_genres=True
    ),
    Metric("macro_f1", "macro F1", "decision", weighted.macro_f1, headline=True, over_genres=True),
    Metric("r_precision", "R-precision", "ranking", weighted.r_precision, headline=True),
    Metric("any_hit_at_3", "any hit@3", "ranking", partial(weighted.any_hit_at_k, k=3), k=3),
    Metric("micro_recall_at_3", "micro recall@3", "ranking", partial(weighted.micro_recall_at_k, k=3), k=3),
    Metric("macro_auroc", "macro AUROC", "ranking", weighted.macro_auroc, over_genres=True),
    Metric("overall_precision", "overall precision (OP)", "decision", weighted.overall_precision),
    Metric("overall_recall", "overall recall (OR)", "decision", weighted.overall_recall),
    Metric("overall_f1", "overall F1 (OF1, micro F1)", "decision", weighted.overall_f1),
    Metric("weighted_f1", "weighted F1", "decision", weighted.weighted_f1),
    Metric("samples_f1", "samples F1", "decision", weighted.samples_f1),
    Metric("exact_match", "exact match", "decision", weighted.exact_match),
    Metric("elementwise_accuracy", "element-wise accuracy", "decision", weighted.elementwise_accuracy),
    Metric(
        "expected_calibration_error",
        "calibration error (ECE)",
        "probability",
        partial(weighted.expected_calibration_error, bins=ECE_BINS),
        higher_is_better=False,
    ),
)


def get_metric(name: str) -> Metric:
    """The registry's row of that name.

    Raises:
        UserError: no such metric; the message lists them.

    >>> get_metric("expected_calibration_error").title
    'calibration error (ECE)'
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

    >>> probs = [[0.9, 0.6], [0.3, 0.7]]
    >>> found = compute_metrics([[1, 0], [1, 1]], probs, [[True, True], [False, True]])
    >>> found["mean_average_precision"], found["overall_precision"], found["exact_match"]
    (1.0, 0.6666666666666666, 0.0)
    """
    truth, scores, decided = labelled(target, probs, decisions)
    once = np.ones((1, len(truth)))
    return {metric.name: float(metric.prepare(truth, scores, decided)(once)[0]) for metric in METRICS}


def mean_average_precision(target: ArrayLike, probs: ArrayLike) -> float:
    """mAP: mean over genres of average precision, genres without a positive left out.

    >>> mean_average_precision([[1, 0], [0, 1], [1, 0]], [[0.9, 0.2], [0.5, 0.1], [0.4, 0.3]])  # 5/6 and 1/3
    0.5833333333333333
    """
    return get_metric("mean_average_precision").value(target, probs)
