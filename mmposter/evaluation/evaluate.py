"""One call from probabilities to a result to save, show and quote: every metric beside the best constant answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation import weighted
from mmposter.evaluation.arrays import BoolArray, FloatArray, check_binary, check_probs, is_single_label
from mmposter.evaluation.bootstrap import half_samples, interval, labelled_groups, values_and_halves
from mmposter.evaluation.constant import ConstantPredictor
from mmposter.evaluation.metrics import (
    METRICS,
    Metric,
    count_without_genre,
    genres_without_positives,
    get_metric,
    labelled,
)
from mmposter.evaluation.single_label import (
    SINGLE_LABEL_METRICS,
    SingleLabelResult,
    macro_precision_interval,
    single_label_metrics,
)
from mmposter.evaluation.thresholds import NEVER, EmptyPolicy, apply_thresholds
from mmposter.report.markdown import markdown_table

if TYPE_CHECKING:
    from rich.console import Console

Interval = tuple[float, float] | None
Verdict = Literal["better", "within noise", "NOT BETTER", "undefined"]

MIN_SUPPORT_FOR_INTERVAL = 10
"""Positives below which a genre's average precision gets no interval; from 10 on it held the truth in 91-96 %."""


@dataclass(frozen=True)
class MetricResult:
    """A metric of the model, its 95 % interval, and the value of the best constant answer on the same posters.

    >>> verdict(get_metric("macro_f1"), MetricResult(value=0.4, ci95=(0.35, 0.45), constant=0.3))
    'better'
    """

    value: float
    ci95: Interval
    constant: float


@dataclass(frozen=True)
class GenreResult:
    """One genre. Without a positive, average precision, recall and F1 are NaN; precision is 0 if nothing is decided.

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


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found on one split. `n` counts the posters measured, those with a genre.

    Where every poster has exactly one genre, those of training included, `metrics` holds accuracy, macro precision and
    macro recall too, and `single_label` the confusion matrix.

    >>> target, settings = [[1, 0], [1, 1], [0, 1]], {"split": "test", "n_boot": 10}
    >>> found = evaluate(target, np.full((3, 2), 0.6), [0.5, 0.7], ["War", "Drama"], train_target=target, **settings)
    >>> found.title(), found.verdict("mean_average_precision")  # all scores are equal, as the constant's
    ('test: 3 posters', 'NOT BETTER')
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
        """Is the metric better than the constant's? "within noise": its interval reaches the constant's value."""
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
        return {
            "split": self.split,
            "n": self.n,
            "metrics": {name: _plain(vars(result)) for name, result in self.metrics.items()},
            "by_genre": {genre: _plain(vars(result)) for genre, result in self.by_genre.items()},
            "left_out": dict(self.left_out),
            "genres_without_positives": list(self.genres_without_positives),
            "constant_answers": dict(self.constant_answers),
            "empty": self.empty,
            "bootstrap": dict(self.bootstrap),
            "single_label": None if self.single_label is None else _plain(vars(self.single_label)),
        }

    def to_markdown(self) -> str:
        """Both tables and the notes as Markdown."""
        parts = [
            f"### {self.title()}",
            markdown_table(METRIC_COLUMNS, self.metric_rows()),
            markdown_table(GENRE_COLUMNS, self.genre_rows()),
            "\n".join(f"- {note}" for note in self.notes()),
        ]
        return "\n\n".join(parts) + "\n"

    def _repr_html_(self) -> str:
        """How a notebook shows it: the tables and the notes of the report."""
        from mmposter.report import render_fragment
        from mmposter.report.evaluation import evaluation_blocks

        return render_fragment(self.title(), evaluation_blocks(self))

    def render(self, console: Console) -> None:
        """Print both tables and the notes on a rich console.

        On a narrow one the table by genre leaves out columns, and says which; a genre without a positive, for which
        there is no number, stands in the notes alone.
        """
        from rich.table import Table
        from rich.text import Text

        colours = {"better": "green", "within noise": "yellow", "NOT BETTER": "bold red", "undefined": "dim"}
        table = Table(title=self.title(), title_justify="left", title_style="bold")
        for i, column in enumerate(METRIC_COLUMNS):
            table.add_column(column, justify="right" if 0 < i < 4 else "left")
        headlines = {metric.title for metric in self.headlines}
        for row in self.metric_rows():
            cells = [Text(cell, style="bold" if row[0] in headlines else "") for cell in row]
            cells[-1].stylize(colours[row[-1]])
            table.add_row(*cells)
        console.print(table)
        rows = [row for row in self.genre_rows() if self.by_genre[row[0]].support]
        shown = _columns_that_fit(GENRE_COLUMNS, rows, console.width)
        table = Table(title="By genre", title_justify="left", title_style="bold")
        for i in shown:
            table.add_column(GENRE_COLUMNS[i], justify="right" if i else "left")
        for row in rows:
            table.add_row(*(Text(row[i]) for i in shown))
        console.print(table)
        hidden = [column for i, column in enumerate(GENRE_COLUMNS) if i not in shown]
        narrow = [f"not shown by genre, for want of width: {', '.join(hidden)}"] if hidden else []
        for note in [*self.notes(), *narrow]:
            console.print(Text(f"- {note}", style="dim"))

    def title(self) -> str:
        """The heading of a report: split and number of posters."""
        return f"{self.split}: {self.n} posters"

    def metric_rows(self) -> list[list[str]]:
        """The cells under `METRIC_COLUMNS`, one row a metric, headlines first."""
        return [
            [
                metric.title,
                _number(self.metrics[metric.name].value),
                _range(self.metrics[metric.name].ci95),
                _number(self.metrics[metric.name].constant),
                self.verdict(metric.name),
            ]
            for metric in self.listed
        ]

    def genre_rows(self) -> list[list[str]]:
        """The cells under `GENRE_COLUMNS`, one row a genre, the most frequent first."""
        ordered = sorted(self.by_genre.items(), key=lambda item: -item[1].support)
        return [
            [
                genre,
                str(row.support),
                _number(row.average_precision),
                _range(row.ci95),
                *map(_number, (row.prevalence, row.precision, row.recall, row.f1)),
                "–" if row.threshold >= NEVER else _number(row.threshold),
            ]
            for genre, row in ordered
        ]

    def notes(self) -> list[str]:
        """What a reader must know to read the tables right."""
        notes = [
            "constant: the best single answer for all posters, chosen on the training posters for that metric; the "
            "constant of overall recall, every genre at once, cannot be beaten",
            f"95 % interval: {self.bootstrap['n_boot']} half-samples of {self.bootstrap['unit']}, seed "
            f"{self.bootstrap['seed']}, corrected for bias, hence not centred on the value",
            "lower is better: " + ", ".join(metric.title for metric in METRICS if not metric.higher_is_better),
            "decided: the surest genre of each poster"
            if self.surest_alone
            else f"a poster where nothing passes its threshold: {self.empty}",
        ]
        notes += [f"left out, {reason.replace('_', ' ')}: {count}" for reason, count in self.left_out.items() if count]
        if self.single_label is not None:
            notes.append(
                "one genre a poster: accuracy, macro precision and macro recall are of the surest genre, whatever the "
                "thresholds; a genre counts in both means if it is true or answered anywhere"
            )
            answers = [sum(column) for column in zip(*self.single_label.confusion, strict=True)]
            if few := [genre for genre, n in zip(self.by_genre, answers, strict=True) if 0 < n < weighted.MIN_ANSWERS]:
                notes.append(
                    f"answered once or twice, so the interval of macro precision counts 0 for it at its lower end and "
                    f"1 at its upper: {', '.join(few)}"
                )
        if self.genres_without_positives:
            notes.append("no positive, left out of means over genres: " + ", ".join(self.genres_without_positives))
        return notes


METRIC_COLUMNS = ("metric", "value", "95 % interval", "constant", "than the constant")
GENRE_COLUMNS = ("genre", "support", "AP", "95 % interval", "prevalence", "precision", "recall", "F1", "threshold")

_DISPENSABLE = (("threshold",), ("precision", "recall"), ("F1",), ("prevalence",), ("95 % interval",), ("support",))
"""Columns by genre that a narrow console does without, in this order."""


def verdict(metric: Metric, result: MetricResult) -> Verdict:
    """Compare a result with the constant answer's in the direction that is good for the metric.

    >>> verdict(get_metric("expected_calibration_error"), MetricResult(0.05, (0.03, 0.07), constant=0.06))
    'within noise'
    """
    if math.isnan(result.value) or math.isnan(result.constant):
        return "undefined"
    sign = 1 if metric.higher_is_better else -1
    # Means over thousands of pairs differ in the last bits by the order of the sum.
    if sign * (result.value - result.constant) <= 1e-9:
        return "NOT BETTER"
    if result.ci95 is None or min(sign * end for end in result.ci95) <= sign * result.constant:
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

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre, in `target` or in `train_target`, or a bad `n_boot` or `empty`.

    >>> target, probs = [[1, 0], [1, 1], [0, 1]], [[0.9, 0.2], [0.4, 0.7], [0.3, 0.6]]
    >>> found = evaluate(target, probs, [0.5, 0.5], ["War", "Drama"], train_target=target, split="test", n_boot=10)
    >>> found.metrics["overall_recall"].value, found.by_genre["War"].recall, found.verdict("overall_recall")
    (0.75, 0.5, 'NOT BETTER')
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
    truth, scores, decided = labelled(checked, everything, apply_thresholds(everything, limits, empty))
    assert scores is not None
    assert decided is not None

    units = labelled_groups(checked, groups)
    weights = half_samples(len(truth), n_boot, seed, units)
    # A few posters of multi-label data may happen to have one genre each; training posters tell.
    single = is_single_label(truth) and is_single_label(train)
    metrics = (*SINGLE_LABEL_METRICS, *METRICS) if single else METRICS
    values, halves = values_and_halves(truth, scores, decided, metrics, weights, genres=True)
    intervals = [interval(value, halves[:, i], len(truth)) for i, value in enumerate(values)]
    if single:
        place = next(i for i, metric in enumerate(metrics) if metric.name == "macro_precision")
        intervals[place] = macro_precision_interval(truth, scores, decided, weights)

    constants = {metric.name: ConstantPredictor.fit(train, metric) for metric in metrics}
    return Evaluation(
        split=split,
        n=len(truth),
        metrics={
            metric.name: MetricResult(float(values[i]), intervals[i], constants[metric.name].score(truth))
            for i, metric in enumerate(metrics)
        },
        by_genre=_by_genre(truth, decided, limits, genres, values[len(metrics) :], intervals[len(metrics) :]),
        left_out={"posters_without_genre": count_without_genre(checked)},
        genres_without_positives=genres_without_positives(truth, genres),
        constant_answers={name: constant.answer(genres) for name, constant in constants.items()},
        empty=empty,
        bootstrap={
            "n_boot": n_boot,
            "seed": seed,
            "method": "half-samples, bias-corrected, logit scale",
            "unit": "posters" if units is None else "near-duplicate groups",
        },
        single_label=single_label_metrics(truth, scores) if single else None,
    )


def _by_genre(
    truth: BoolArray,
    decided: BoolArray,
    thresholds: FloatArray,
    genres: Sequence[str],
    average_precision: FloatArray,
    intervals: Sequence[Interval],
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
        )
        for g, genre in enumerate(genres)
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values that JSON has: NaN becomes None, a tuple becomes a list."""
    return {
        name: None
        if isinstance(value, float) and math.isnan(value)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _range(ends: Interval) -> str:
    return "–" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"


def _columns_that_fit(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Numbers of the columns that a rich table of `width` letters can hold uncut."""
    needed = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    shown = list(range(len(header)))
    for names in _DISPENSABLE:
        # A space on both sides of each cell, and a line after it; one more line in front of the first.
        if sum(needed[i] + 3 for i in shown) + 1 <= width:
            break
        shown = [i for i in shown if header[i] not in names]
    return shown
