"""One call from probabilities to a result to save and to show: every metric beside the best constant answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mmposter.document.shown import Shown
from mmposter.evaluation import weighted
from mmposter.evaluation.arrays import BoolArray, FloatArray, check_binary, check_probs, is_single_label
from mmposter.evaluation.bootstrap import labelled_groups, values_and_halves
from mmposter.evaluation.constant import ConstantPredictor, constants_and_halves
from mmposter.evaluation.halves import half_samples
from mmposter.evaluation.intervals import (
    MIN_POSTERS,
    Difference,
    difference,
    difference_on_logits,
    edge_units,
    independent_posters,
    interval,
)
from mmposter.evaluation.metrics import METRICS, Metric, get_metric, labelled
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.single_label import (
    SINGLE_LABEL_METRICS,
    SingleLabelResult,
    macro_precision_intervals,
    single_label_metrics,
)
from mmposter.evaluation.thresholds import NEVER, EmptyPolicy, apply_thresholds

if TYPE_CHECKING:
    import pandas as pd

Interval = tuple[float, float] | None
Verdict = Literal["better", "within noise", "NOT BETTER", "cannot be beaten", "undefined"]

MIN_SUPPORT_FOR_INTERVAL = 10
"""Positives below which a genre's average precision gets no interval; from 10 on it held the truth in 91-96 %."""


@dataclass(frozen=True)
class MetricResult:
    """A metric of the model, its 95 % interval, and the value of the best constant answer on the same posters.

    `difference` is model minus constant, paired by poster: what makes a poster easy or hard for both falls out of it.

    >>> better = Difference(value=0.1, ci95=(0.04, 0.16))
    >>> verdict(get_metric("macro_f1"), MetricResult(value=0.4, ci95=(0.28, 0.52), constant=0.3, difference=better))
    'better'
    """

    value: float
    ci95: Interval
    constant: float
    difference: Difference


@dataclass(frozen=True)
class GenreResult:
    """One genre. Without a positive, average precision, recall and F1 are NaN; precision is 0 if nothing is decided.

    `difference` is average precision minus prevalence, which is the constant's; paired by poster.

    >>> target, settings = [[1, 0], [1, 1], [0, 1]], {"split": "test", "n_boot": 10}
    >>> found = evaluate(target, np.full((3, 2), 0.6), [0.5, 0.7], ["War", "Drama"], train_target=target, **settings)
    >>> found.by_genre["War"].precision, found.by_genre["Drama"].precision, found.by_genre["Drama"].recall
    (0.6666666666666666, 0.0, 0.0)
    """

    support: int
    average_precision: float
    ci95: Interval
    precision: float
    recall: float
    f1: float
    threshold: float
    prevalence: float
    difference: Difference


@dataclass(frozen=True)
class Evaluation(Shown):
    """What `evaluate` found on one split. `n` counts the posters measured, those with a genre.

    Where every poster has exactly one genre, those of training included, `metrics` holds accuracy, macro precision and
    macro recall too, and `single_label` the confusion matrix.

    >>> target, settings = [[1, 0], [1, 1], [0, 1]], {"split": "test", "n_boot": 10}
    >>> found = evaluate(target, np.full((3, 2), 0.6), [0.5, 0.7], ["War", "Drama"], train_target=target, **settings)
    >>> found.n, found.verdict("mean_average_precision")  # all scores are equal, as the constant's
    (3, 'NOT BETTER')
    """

    split: str
    n: int
    metrics: dict[str, MetricResult]
    by_genre: dict[str, GenreResult]
    left_out: dict[str, int]
    genres_without_positives: list[str]
    constant_answers: dict[str, str]
    empty: EmptyPolicy
    bootstrap: dict[str, Any]
    single_label: SingleLabelResult | None

    def verdict(self, name: str) -> Verdict:
        """Is the metric better than the constant's? "within noise": the interval of the difference holds 0.

        "cannot be beaten": the constant has the best value that there is, as overall recall of every genre has.
        """
        single = {metric.name: metric for metric in SINGLE_LABEL_METRICS}
        return verdict(single.get(name) or get_metric(name), self.metrics[name])

    @property
    def surest_alone(self) -> bool:
        """Whether each poster was given its surest genre and no other, as no threshold can be reached."""
        return self.empty == "top1" and all(row.threshold >= NEVER for row in self.by_genre.values())

    @property
    def listed(self) -> tuple[Metric, ...]:
        """The metrics that were measured, in the order of tables."""
        return METRICS if self.single_label is None else (*SINGLE_LABEL_METRICS, *METRICS)

    @property
    def headlines(self) -> tuple[Metric, ...]:
        """Those that a reader should look at first."""
        listed = METRICS if self.single_label is None else SINGLE_LABEL_METRICS
        return tuple(metric for metric in listed if metric.headline)

    def to_json(self) -> dict[str, Any]:
        """The whole result as plain JSON values; what is undefined is null, never NaN."""
        plain: dict[str, Any] = plain_values(self)
        return plain

    def to_frame(self) -> pd.DataFrame:
        """One row a genre: genre, support, average_precision with its 95 % interval (low, high), precision, recall, f1,
        threshold, prevalence. What is undefined is NaN.
        """
        import pandas as pd

        rows = []
        for genre, found in self.by_genre.items():
            low, high = found.ci95 or (math.nan, math.nan)
            rows.append(
                {
                    "genre": genre,
                    "support": found.support,
                    "average_precision": found.average_precision,
                    "low": low,
                    "high": high,
                    "precision": found.precision,
                    "recall": found.recall,
                    "f1": found.f1,
                    "threshold": found.threshold,
                    "prevalence": found.prevalence,
                }
            )
        return pd.DataFrame(rows)


def verdict(metric: Metric, result: MetricResult) -> Verdict:
    """Compare a result with the constant answer's in the direction that is good for the metric.

    >>> close = Difference(-0.01, (-0.03, 0.01))
    >>> verdict(get_metric("expected_calibration_error"), MetricResult(0.05, (0.03, 0.05), 0.06, close))
    'within noise'
    """
    found = result.difference
    if math.isnan(found.value):
        return "undefined"
    sign = 1 if metric.higher_is_better else -1
    # Means over thousands of pairs differ in the last bits by the order of the sum.
    if sign * found.value <= 1e-9:
        best = 1.0 if metric.higher_is_better else 0.0
        return "cannot be beaten" if abs(result.constant - best) <= 1e-9 else "NOT BETTER"
    if found.ci95 is None or min(sign * end for end in found.ci95) <= 0:
        return "within noise"
    return "better"


def evaluate(
    target: ArrayLike,
    probs: ArrayLike,
    thresholds: ArrayLike,
    genres: Sequence[str],
    *,
    train_target: ArrayLike,
    split: str,
    n_boot: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    empty: EmptyPolicy = "top1",
    decisions: ArrayLike | None = None,
) -> Evaluation:
    """Measure the probabilities of one model on one split.

    Args:
        target: N x G of {0, 1}; posters without a genre are left out and counted.
        probs: N x G in 0-1, after the sigmoid.
        thresholds: G, tuned on validation posters (`tune_thresholds`), never on these.
        genres: the G names, in the order of the columns.
        train_target: N' x G, the posters on which the constant answers are chosen.
        split: its name, for the report.
        n_boot: number of half-samples behind the intervals.
        seed: the same seed gives the same intervals.
        groups: near-duplicate group of each poster (N); whole groups are resampled.
        empty: what a poster gets where nothing passes, see `apply_thresholds`.
        decisions: N x G, where they are not those of `thresholds` alone (see `Unseen`); None: they are.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre, in `target` or in `train_target`, or a bad `n_boot` or `empty`.

    >>> target, probs = [[1, 0], [1, 1], [0, 1]], [[0.9, 0.2], [0.4, 0.7], [0.3, 0.6]]
    >>> found = evaluate(target, probs, [0.5, 0.5], ["War", "Drama"], train_target=target, split="test", n_boot=10)
    >>> found.metrics["overall_recall"].value, found.by_genre["War"].recall, found.verdict("overall_recall")
    (0.75, 0.5, 'cannot be beaten')
    """
    checked = check_binary(target, "target")
    count = checked.shape[1]
    if len(genres) != count or len(set(genres)) != count:
        raise ValueError(f"genres must be {count} different names, one a column of target, got {list(genres)}")
    train = check_binary(train_target, "train_target")
    if train.shape[1] != count:
        raise ValueError(f"train_target must have the {count} genres of target, got {train.shape[1]}")
    everything = check_probs(probs, checked.shape)
    limits = np.asarray(thresholds, dtype=np.float64)
    given = apply_thresholds(everything, limits, empty) if decisions is None else decisions
    truth, scores, decided = labelled(checked, everything, given)

    units = labelled_groups(checked, groups)
    weights = half_samples(len(truth), n_boot, seed, units)
    # A few posters of multi-label data may happen to have one genre each; training posters tell.
    single = is_single_label(truth) and is_single_label(train)
    metrics = (*SINGLE_LABEL_METRICS, *METRICS) if single else METRICS
    constants = [ConstantPredictor.fit(train, metric) for metric in metrics]
    measured = _Measured(
        *values_and_halves(truth, scores, decided, metrics, weights, genres=True),
        *constants_and_halves(constants, truth, weights),
        edge_units(truth, metrics, units, genres=True),
        len(truth),
        independent_posters(len(truth), units),
    )
    intervals, differences = measured.intervals(), measured.differences(len(metrics))
    if single and measured.independent >= MIN_POSTERS:
        place = next(i for i, metric in enumerate(metrics) if metric.name == "macro_precision")
        constant = measured.constants[place], measured.constant_halves[:, place]
        intervals[place], differences[place] = macro_precision_intervals(
            truth, scores, decided, weights, constant, units
        )

    return Evaluation(
        split=split,
        n=len(truth),
        metrics={
            metric.name: MetricResult(
                float(measured.values[i]), intervals[i], float(measured.constants[i]), differences[i]
            )
            for i, metric in enumerate(metrics)
        },
        by_genre=_by_genre(
            truth,
            decided,
            limits,
            genres,
            measured.values[len(metrics) :],
            intervals[len(metrics) :],
            differences[len(metrics) :],
        ),
        left_out={"posters_without_genre": len(checked) - len(truth)},
        genres_without_positives=[genre for genre, count in zip(genres, truth.sum(axis=0), strict=True) if not count],
        constant_answers={
            metric.name: constant.answer(genres) for metric, constant in zip(metrics, constants, strict=True)
        },
        empty=empty,
        bootstrap={
            "n_boot": n_boot,
            "seed": seed,
            "method": "half-samples, bias-corrected, logit scale",
            "unit": "posters" if units is None else "near-duplicate groups",
            "independent": measured.independent,
        },
        single_label=single_label_metrics(truth, scores) if single else None,
    )


@dataclass(frozen=True)
class _Measured:
    """Model and constants on all posters (K) and on the half-samples (R x K): the metrics, then AP by genre."""

    values: FloatArray
    halves: FloatArray
    constants: FloatArray
    constant_halves: FloatArray
    units: FloatArray  # K, see `edge_units`
    n: int  # posters
    independent: int  # of which near-duplicates count once

    def intervals(self) -> list[Interval]:
        if self.independent < MIN_POSTERS:
            return [None] * len(self.values)
        return [
            interval(float(value), self.halves[:, k], self.n, float(self.units[k]))
            for k, value in enumerate(self.values)
        ]

    def differences(self, metrics: int) -> list[Difference]:
        values, halves = self.values - self.constants, self.halves - self.constant_halves
        if self.independent < MIN_POSTERS:
            return [Difference(float(value), None) for value in values]
        found = [difference(float(values[k]), halves[:, k], self.independent, to_constant=True) for k in range(metrics)]
        for k in range(metrics, len(values)):
            both = float(self.values[k]), float(self.constants[k])
            found.append(
                difference_on_logits(both, (self.halves[:, k], self.constant_halves[:, k]), self.n, self.independent)
            )
        return found


def _by_genre(
    truth: BoolArray,
    decided: BoolArray,
    thresholds: FloatArray,
    genres: Sequence[str],
    average_precision: FloatArray,
    intervals: Sequence[Interval],
    differences: Sequence[Difference],
) -> dict[str, GenreResult]:
    support, said = truth.sum(axis=0), decided.sum(axis=0).astype(np.float64)
    hits = (truth & decided).sum(axis=0).astype(np.float64)
    precision = weighted.divide(hits, said, empty=0.0)
    recall = weighted.divide(hits, support.astype(np.float64))
    f1 = np.where(support > 0, weighted.divide(2 * hits, said + support), np.nan)
    return {
        genre: GenreResult(
            support=int(support[g]),
            average_precision=float(average_precision[g]),
            ci95=intervals[g] if support[g] >= MIN_SUPPORT_FOR_INTERVAL else None,
            precision=float(precision[g]),
            recall=float(recall[g]),
            f1=float(f1[g]),
            threshold=float(thresholds[g]),
            prevalence=float(support[g] / len(truth)),
            difference=differences[g]
            if support[g] >= MIN_SUPPORT_FOR_INTERVAL
            else Difference(differences[g].value, None),
        )
        for g, genre in enumerate(genres)
    }
