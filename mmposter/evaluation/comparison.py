"""Several models on the same posters: each metric with its interval, and each difference to the first one with its own.

Models that differ in nothing but the seed of their training are one row, and their intervals hold the luck of training
too (`mmposter.evaluation.seeds`). All rows see the same half-samples, so what makes a poster hard for both falls out of
a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mmposter.config import differences
from mmposter.document.shown import Shown
from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.halves import half_samples
from mmposter.evaluation.intervals import edge_units, independent_posters
from mmposter.evaluation.metrics import METRICS, Metric, labelled
from mmposter.evaluation.named import Columns, adjust_family, stacked
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.scored import ScoredPosters
from mmposter.evaluation.seeds import Estimate, Measured, measure

LEVEL = 0.05

Verdict = Literal["better", "worse", "within noise", "–"]


@dataclass(frozen=True)
class RowDifference:
    """A row minus the first one, paired by poster and, where there are several, by seed."""

    pairs: int  # how many seeds were paired
    metrics: Mapping[str, Estimate]  # by metric, adjusted over the rows
    by_genre: Mapping[str, Estimate]  # of average precision, by genre, adjusted over rows and genres

    def verdict(self, metric: Metric) -> Verdict:
        """In the direction that is good for the metric; by Holm's p-value, at 5 %."""
        found = _verdict(self.metrics[metric.name])
        if metric.higher_is_better or found not in ("better", "worse"):
            return found
        return "worse" if found == "better" else "better"

    def genre_verdict(self, genre: str) -> Verdict:
        """The same of a genre's average precision."""
        return _verdict(self.by_genre[genre])


@dataclass(frozen=True)
class RunRow:
    """One configuration."""

    name: str  # of its first run
    runs: tuple[str, ...]  # names of all its runs
    seeds: tuple[int, ...]  # theirs
    branches: tuple[str, ...]  # what was looked at
    masked: tuple[str, ...]  # branches that were there and hidden
    # Configuration keys that differ from the first row, with their values here; without `branches`.
    changes: Mapping[str, Any]
    metrics: Mapping[str, Estimate]  # by metric, over seeds and posters
    by_genre: Mapping[str, Estimate]  # average precision by genre; NaN without a positive
    difference: RowDifference | None  # to the first row; None for the first row itself


@dataclass(frozen=True)
class Comparison(Shown):
    """What `compare` found."""

    data: str  # name of the data folder
    manifest: str  # sha256 of its manifest
    split: str  # the split that was measured
    posters: int  # measured ones, those with a genre
    left_out: int  # posters that were measured in some of the runs only
    genres: tuple[str, ...]  # names in the order of the vocabulary
    support: tuple[int, ...]  # posters of each genre
    constant: Mapping[str, float]  # value of the best constant answer by metric
    rows: tuple[RunRow, ...]  # in the given order; the others are compared with the first
    n_boot: int  # half-samples behind the intervals
    seed: int  # of the half-samples

    @property
    def prevalence(self) -> dict[str, float]:
        """Share of each genre: the average precision of a constant answer."""
        return {genre: count / self.posters for genre, count in zip(self.genres, self.support, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is undefined is null, never NaN."""
        plain: dict[str, Any] = plain_values(self)
        for row in plain["rows"]:
            for name in ("metrics", "by_genre"):
                for estimate in row[name].values():
                    del estimate["p_value"], estimate["adjusted"]
                for estimate in (row["difference"] or {name: {}})[name].values():
                    estimate["p_holm"] = estimate.pop("adjusted")
        return plain


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
    truth, _, _ = labelled(target)
    kept = units[target.any(axis=1)]
    weights = half_samples(len(truth), n_boot, seed, kept)
    measured: list[list[Measured]] = []
    for group in groups:
        measured.append([])
        for _, one in group:
            _, probs, decisions, _ = _aligned(one, order)
            measured[-1].append(measure(target, probs, decisions, weights, METRICS))
            if tick is not None:
                tick()
    support = tuple(int(count) for count in truth.sum(axis=0))
    columns = Columns(
        [metric.name for metric in METRICS],
        first.genres,
        support,
        len(truth),
        independent_posters(len(truth), kept),
        edge_units(truth, METRICS, kept, genres=True),
    )
    differences = [
        _difference(group, parts, groups[0], measured[0], columns)
        for group, parts in zip(groups[1:], measured[1:], strict=True)
    ]
    family = adjust_family([(found.metrics, found.by_genre) for found in differences])
    adjusted = [
        replace(found, metrics=metrics, by_genre=by_genre)
        for found, (metrics, by_genre) in zip(differences, family, strict=True)
    ]
    rows = [
        _row(group, parts, first, columns, difference)
        for group, parts, difference in zip(groups, measured, [None, *adjusted], strict=True)
    ]
    return Comparison(
        data=first.source.data,
        manifest=first.source.manifest,
        split=first.source.split,
        posters=len(truth),
        left_out=len(set().union(*(other.ids for _, other in scored))) - len(order),
        genres=first.genres,
        support=support,
        constant=first.source.constant,
        rows=tuple(rows),
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
    difference: RowDifference | None,
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
        difference=difference,
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
    return RowDifference(len(pairs), metrics, by_genre)


def _verdict(difference: Estimate) -> Verdict:
    if difference.adjusted is None:
        return "–"
    if difference.adjusted >= LEVEL:
        return "within noise"
    return "better" if difference.value > 0 else "worse"
