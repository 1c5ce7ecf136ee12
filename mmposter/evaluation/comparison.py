"""Several models on the same posters: each metric with its interval, and each difference to the first one with its own.

Models that differ in nothing but the seed of their training are one row, and their intervals hold the luck of training
too (`mmposter.evaluation.seeds`). All rows see the same half-samples, so what makes a poster hard for both falls out of
a difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mmposter.config import differences
from mmposter.document.shown import Shown
from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.bootstrap import half_samples
from mmposter.evaluation.metrics import METRICS, Metric, labelled
from mmposter.evaluation.named import Columns, adjust_family, stacked
from mmposter.evaluation.scored import ScoredPosters
from mmposter.evaluation.seeds import Estimate, Measured, measure

LEVEL = 0.05

Verdict = Literal["better", "worse", "within noise", "–"]


@dataclass(frozen=True)
class RowDifference:
    """A row minus the first one, paired by poster and, where there are several, by seed.

    Attributes:
        pairs: how many seeds were paired.
        metrics: by metric.
        by_genre: of average precision, by genre.
        adjusted: Holm's p-value by metric, over the rows.
        adjusted_by_genre: the same by genre, over rows and genres.
    """

    pairs: int
    metrics: Mapping[str, Estimate]
    by_genre: Mapping[str, Estimate]
    adjusted: Mapping[str, float | None]
    adjusted_by_genre: Mapping[str, float | None]

    def verdict(self, metric: Metric) -> Verdict:
        """In the direction that is good for the metric; by Holm's p-value, at 5 %."""
        found = _verdict(self.metrics[metric.name].value, self.adjusted[metric.name])
        if metric.higher_is_better or found not in ("better", "worse"):
            return found
        return "worse" if found == "better" else "better"

    def genre_verdict(self, genre: str) -> Verdict:
        """The same of a genre's average precision."""
        return _verdict(self.by_genre[genre].value, self.adjusted_by_genre[genre])


@dataclass(frozen=True)
class RunRow:
    """One configuration.

    Attributes:
        name: of its first run.
        runs: names of all its runs.
        seeds: theirs.
        branches: what was looked at.
        masked: branches that were there and hidden.
        changes: configuration keys that differ from the first row, with their values here; without `branches`.
        metrics: by metric, over seeds and posters.
        by_genre: average precision by genre; NaN without a positive.
        difference: to the first row; None for the first row itself.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    branches: tuple[str, ...]
    masked: tuple[str, ...]
    changes: Mapping[str, Any]
    metrics: Mapping[str, Estimate]
    by_genre: Mapping[str, Estimate]
    difference: RowDifference | None


@dataclass(frozen=True)
class Comparison(Shown):
    """What `compare` found.

    Attributes:
        data: name of the data folder.
        manifest: sha256 of its manifest.
        split: the split that was measured.
        posters: measured ones, those with a genre.
        left_out: posters that were measured in some of the runs only.
        genres: names in the order of the vocabulary.
        support: posters of each genre.
        constant: value of the best constant answer by metric.
        rows: in the given order; the others are compared with the first.
        n_boot: half-samples behind the intervals.
        seed: of the half-samples.
    """

    data: str
    manifest: str
    split: str
    posters: int
    left_out: int
    genres: tuple[str, ...]
    support: tuple[int, ...]
    constant: Mapping[str, float]
    rows: tuple[RunRow, ...]
    n_boot: int
    seed: int

    @property
    def prevalence(self) -> dict[str, float]:
        """Share of each genre: the average precision of a constant answer."""
        return {genre: count / self.posters for genre, count in zip(self.genres, self.support, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is undefined is null, never NaN."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("rows", "constant")},
            "genres": list(self.genres),
            "support": list(self.support),
            "constant": {name: None if math.isnan(value) else value for name, value in self.constant.items()},
            "rows": [_row_json(row) for row in self.rows],
        }


def compare(
    scored: Sequence[tuple[str, ScoredPosters]],
    *,
    n_boot: int = 1000,
    seed: int = 0,
    tick: Callable[[], None] | None = None,
) -> Comparison:
    """Compare models with the first one.

    Args:
        scored: name and scored posters of each; all of one manifest, split and vocabulary.
        n_boot: number of half-samples.
        seed: of the half-samples.
        tick: called after each model, to show progress.

    Raises:
        ValueError: nothing to compare, or other manifests, splits or genres.
        UserError: no poster has a genre.
    """
    if not scored or any(_identity(other) != _identity(scored[0][1]) for _, other in scored):
        raise ValueError("scored must be models on the same manifest, split and genres, at least one, got others")
    groups, first = group_seeds(scored), scored[0][1]
    common = set(first.ids).intersection(*(other.ids for _, other in scored))
    order = [name for name in first.ids if name in common]
    target, _, _, units = _aligned(first, order)
    truth, _, _ = labelled(target, None, None)
    weights = half_samples(len(truth), n_boot, seed, units[target.any(axis=1)])
    measured: list[list[Measured]] = []
    for group in groups:
        measured.append([])
        for _, one in group:
            _, probs, decisions, _ = _aligned(one, order)
            measured[-1].append(measure(target, probs, decisions, weights, METRICS))
            if tick is not None:
                tick()
    support = tuple(int(count) for count in truth.sum(axis=0))
    columns = Columns([metric.name for metric in METRICS], first.genres, support, len(truth))
    rows = [_row(group, parts, groups[0][0][1], columns) for group, parts in zip(groups, measured, strict=True)]
    differences = [
        _difference(group, parts, groups[0], measured[0], columns)
        for group, parts in zip(groups[1:], measured[1:], strict=True)
    ]
    adjusted = [None, *_adjust(differences)]
    return Comparison(
        data=first.source.data,
        manifest=first.source.manifest,
        split=first.source.split,
        posters=len(truth),
        left_out=len(set().union(*(other.ids for _, other in scored))) - len(order),
        genres=first.genres,
        support=support,
        constant=first.source.constant,
        rows=tuple(replace(row, difference=found) for row, found in zip(rows, adjusted, strict=True)),
        n_boot=n_boot,
        seed=seed,
    )


def group_seeds(scored: Sequence[tuple[str, ScoredPosters]]) -> list[list[tuple[str, ScoredPosters]]]:
    """Put models that differ in nothing but the seed together, in the order of their first ones.

    Two of the same seed are no group: something else than the configuration must differ, such as the code.
    """
    groups: list[list[tuple[str, ScoredPosters]]] = []
    for name, one in scored:
        for group in groups:
            like = group[0][1].source
            alike = differences(like.config, one.source.config).keys() <= {"seed"}
            seeds = [other.source.seed for _, other in group]
            if alike and like.branches == one.source.branches and one.source.seed not in seeds:
                group.append((name, one))
                break
        else:
            groups.append([(name, one)])
    return [sorted(group, key=lambda item: item[1].source.seed) for group in groups]


def _identity(one: ScoredPosters) -> tuple[Any, ...]:
    return one.source.manifest, one.source.split, one.genres


def _aligned(one: ScoredPosters, order: Sequence[str]) -> tuple[BoolArray, FloatArray, BoolArray, Any]:
    """Target, probabilities, decisions and groups of the posters in `order`."""
    place = {name: row for row, name in enumerate(one.ids)}
    rows = np.array([place[name] for name in order], dtype=np.int64)
    return one.target[rows], one.probs[rows].astype(np.float64), one.decisions[rows], one.groups[rows]


def _row(
    group: Sequence[tuple[str, ScoredPosters]],
    parts: Sequence[Measured],
    reference: ScoredPosters,
    columns: Columns,
) -> RunRow:
    metrics, by_genre = columns.of_model(parts)
    source = group[0][1].source
    pairs = differences(reference.source.config, source.config)
    changes = {key: mine for key, (_, mine) in pairs.items() if key not in ("seed", "branches")}
    return RunRow(
        name=group[0][0],
        runs=tuple(name for name, _ in group),
        seeds=tuple(one.source.seed for _, one in group),
        branches=source.branches,
        masked=source.masked,
        changes=changes,
        metrics=metrics,
        by_genre=by_genre,
        difference=None,
    )


def _difference(
    group: Sequence[tuple[str, ScoredPosters]],
    parts: Sequence[Measured],
    first: Sequence[tuple[str, ScoredPosters]],
    first_parts: Sequence[Measured],
    columns: Columns,
) -> RowDifference:
    mine = {one.source.seed: part for (_, one), part in zip(group, parts, strict=True)}
    theirs = {one.source.seed: part for (_, one), part in zip(first, first_parts, strict=True)}
    pairs = [(mine[seed], theirs[seed]) for seed in mine if seed in theirs]
    if not pairs:  # of seeds that have nothing in common any pairing is as good as another
        pairs = list(zip(mine.values(), theirs.values(), strict=False))
    ours, others = (stacked(side) for side in zip(*pairs, strict=True))
    metrics, by_genre = columns.of_difference(ours[0] - others[0], ours[1] - others[1])
    return RowDifference(len(pairs), metrics, by_genre, {}, {})


def _adjust(differences: Sequence[RowDifference]) -> list[RowDifference]:
    family = adjust_family([(found.metrics, found.by_genre) for found in differences])
    return [
        replace(found, adjusted=by_metric, adjusted_by_genre=by_genre)
        for found, (by_metric, by_genre) in zip(differences, family, strict=True)
    ]


def _verdict(value: float, p_value: float | None) -> Verdict:
    if p_value is None:
        return "–"
    if p_value >= LEVEL:
        return "within noise"
    return "better" if value > 0 else "worse"


def _row_json(row: RunRow) -> dict[str, Any]:
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(row).items()}
    difference = row.difference
    return {
        **plain,
        "changes": dict(row.changes),
        "metrics": _estimates(row.metrics),
        "by_genre": _estimates(row.by_genre),
        "difference": None
        if difference is None
        else {
            "pairs": difference.pairs,
            "metrics": _estimates(difference.metrics, difference.adjusted),
            "by_genre": _estimates(difference.by_genre, difference.adjusted_by_genre),
        },
    }


def _estimates(
    found: Mapping[str, Estimate], adjusted: Mapping[str, float | None] | None = None
) -> dict[str, dict[str, Any]]:
    plain = {}
    for name, one in found.items():
        plain[name] = {
            "value": None if math.isnan(one.value) else one.value,
            "ci95": None if one.ci95 is None else list(one.ci95),
            "standard_error": None if math.isnan(one.standard_error) else one.standard_error,
        }
        if adjusted is not None:
            plain[name] |= {"p_value": one.p_value, "p_holm": adjusted[name]}
    return plain
