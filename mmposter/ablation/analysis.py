"""From the scores of all trainings to what can be said of them: means, intervals, differences, contributions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.ablation.grid import Cell, Plan
from mmposter.ablation.multiplicity import adjust_cells, adjust_contributions
from mmposter.ablation.scores import Scores
from mmposter.ablation.training import Unit, UnitId
from mmposter.data.dataset import Dataset
from mmposter.engines import cores
from mmposter.errors import UserError
from mmposter.evaluation.ablation import (
    HEADLINES,
    AblationResult,
    CellComparison,
    CellResult,
    Contribution,
    Mode,
    Provenance,
)
from mmposter.evaluation.arrays import FloatArray, has_genre
from mmposter.evaluation.constant import ConstantPredictor, constants_and_halves
from mmposter.evaluation.halves import Halves, half_samples
from mmposter.evaluation.intervals import edge_units, independent_posters
from mmposter.evaluation.metrics import get_metric
from mmposter.evaluation.named import Columns, stacked
from mmposter.evaluation.seeds import Measured, measure
from mmposter.evaluation.shapley import shapley_weights
from mmposter.progress import progress
from mmposter.runs.decisions import Decision, unseen_answer
from mmposter.runs.provenance import package_version, source_commit

_METRICS = [get_metric(name) for name in HEADLINES]


@dataclass(frozen=True)
class Bootstrap:
    """Half-samples behind the intervals, and their seed."""

    n_boot: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """One cell as it was measured: by seed, K numbers on all posters and on every half-sample (see `Measured`)."""

    cell: Cell
    by_seed: Mapping[int, Measured]
    seconds: float

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.by_seed)

    def stacked(self, seeds: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Values S x K and halves S x R x K of these seeds."""
        return stacked([self.by_seed[seed] for seed in seeds])


@dataclass(frozen=True)
class MeasuredPosters:
    """The posters that all trainings have scored, with a genre each."""

    rows: NDArray[np.int64]  # of the manifest: N
    target: NDArray[np.float32]  # N x G
    weights: Halves  # half-samples: R x N
    genres: tuple[str, ...]  # names
    support: tuple[int, ...]  # posters of each genre
    groups: NDArray[Any]  # N, the near-duplicate group of each
    nothing: Measured  # the best constant answers: what is known of a poster that nobody has looked at

    @cached_property
    def columns(self) -> Columns:
        """What the K numbers of a `Measured` are."""
        return Columns(
            HEADLINES,
            self.genres,
            self.support,
            len(self.rows),
            independent_posters(len(self.rows), self.groups),
            edge_units(self.target.astype(bool), _METRICS, self.groups, genres=True),
        )


def analyse(
    plan: Plan,
    dataset: Dataset,
    units: Sequence[Unit],
    scores: Mapping[UnitId, Scores | None],
    failed: Mapping[UnitId, str],
    bootstrap: Bootstrap,
    *,
    split: str,
    command: str,
    quiet: bool = False,
) -> AblationResult:
    """Compare what is there.

    Args:
        plan: the cells.
        dataset: the posters.
        units: all trainings of the plan.
        scores: of every unit, None where there are none.
        failed: why.
        bootstrap: how the intervals are made.
        split: the posters that were scored.
        command: for the report.
        quiet: show no progress.

    Raises:
        UserError: if no seed of the reference is there.
    """
    known = [(unit, found) for unit in units if (found := scores[unit.id]) is not None]
    if not any(cell.name == plan.reference.name for unit, _ in known for cell in unit.training.cells):
        reasons = "\n".join(dict.fromkeys(failed.values()))
        raise UserError(f"the full model could not be trained, and there is nothing to compare with:\n{reasons}")
    posters = _posters(dataset, [found for _, found in known], bootstrap)
    shares = dataset.labels()[np.array(dataset.table["split"] == "train")].mean(axis=0, dtype=np.float64)
    trained = _measure(plan, known, posters, shares, quiet=quiet)
    cells = [_cell(one, trained, posters) for one in trained.values()]
    splits = dataset.table["split"].value_counts()
    return AblationResult(
        provenance=Provenance(
            data=dataset.folder.resolve().name,
            manifest=dataset.info["manifest_sha256"],
            split=split,
            posters=len(posters.rows),
            train_posters=int(splits.get("train", 0)),
            val_posters=int(splits.get("val", 0)),
            seeds=tuple(sorted({unit.seed for unit in units})),
            version=package_version(),
            commit=source_commit(),
            config=plan.base.model_dump(mode="json"),
            command=command,
            bootstrap=bootstrap.n_boot,
        ),
        genres=posters.genres,
        support=posters.support,
        constant={name: float(posters.nothing.values[k]) for k, name in enumerate(HEADLINES)},
        constant_by_genre=dict(zip(posters.genres, map(float, posters.target.mean(axis=0)), strict=True)),
        reference=plan.reference.name,
        cells=adjust_cells(cells),
        contributions=_contributions(plan, trained, posters),
        unfinished={
            f"{unit.training.cells[0].label}, seed {unit.seed}": failed.get(unit.id, "not trained yet")
            for unit in units
            if scores[unit.id] is None
        },
    )


def _posters(dataset: Dataset, scores: Iterable[Scores], bootstrap: Bootstrap) -> MeasuredPosters:
    labels = dataset.labels()
    rows = reduce(np.intersect1d, [one.rows for one in scores])
    rows = rows[has_genre(labels[rows].astype(bool))]
    groups = np.array(dataset.table["group"], dtype=object)[rows]
    weights = half_samples(len(rows), bootstrap.n_boot, bootstrap.seed, groups)
    support = tuple(int(count) for count in labels[rows].sum(axis=0))
    train = labels[np.array(dataset.table["split"] == "train")]
    constants = [ConstantPredictor.fit(train, metric) for metric in _METRICS]
    nothing = Measured(*constants_and_halves(constants, labels[rows].astype(bool), weights))
    return MeasuredPosters(rows, labels[rows], weights, tuple(dataset.vocabulary.genres), support, groups, nothing)


def _measure(
    plan: Plan,
    known: Sequence[tuple[Unit, Scores]],
    posters: MeasuredPosters,
    shares: NDArray[np.float64],
    *,
    quiet: bool,
) -> dict[str, Trained]:
    """Every cell with every seed, in the order of the plan; NumPy works outside Python's lock, so threads help."""
    work = [(cell, unit, found) for unit, found in known for cell in unit.training.cells]

    def one(item: tuple[Cell, Unit, Scores]) -> Measured:
        cell, unit, found = item
        rows = np.searchsorted(found.rows, posters.rows)
        probs = found.probs[cell.name][rows]
        decision = Decision(np.array(found.facts.thresholds), unseen=unseen_answer(unit.config, shares))
        seen = ~found.unseen[cell.name][rows] if cell.name in found.unseen else None
        decisions = decision.decide(probs, unit.config.evaluation.empty, seen)
        return measure(posters.target, probs, decisions, posters.weights, _METRICS)

    measured: dict[str, dict[int, Measured]] = {}
    seconds: dict[str, list[float]] = {}
    with ThreadPoolExecutor(cores()) as pool, progress("compare", len(work), unit="training", quiet=quiet) as ticker:
        for (cell, unit, found), result in zip(work, pool.map(one, work), strict=True):
            ticker.advance()
            measured.setdefault(cell.name, {})[unit.seed] = result
            seconds.setdefault(cell.name, []).append(found.facts.seconds)
    return {
        cell.name: Trained(cell, dict(sorted(measured[cell.name].items())), float(np.mean(seconds[cell.name])))
        for cell in plan.cells
        if cell.name in measured
    }


def _cell(one: Trained, trained: Mapping[str, Trained], posters: MeasuredPosters) -> CellResult:
    metrics, by_genre = posters.columns.of_model(list(one.by_seed.values()))
    values, halves = one.stacked(one.seeds)
    over, over_by_genre = posters.columns.of_difference(
        values - posters.nothing.values, halves - posters.nothing.halves, to_constant=True
    )
    comparisons = [_comparison(one, trained[name], why, posters) for name, why in one.cell.against if name in trained]
    return CellResult(
        name=one.cell.name,
        label=one.cell.label,
        section=one.cell.section,
        mode=one.cell.mode,
        branches=one.cell.branches,
        changes=dict(one.cell.changes),
        seeds=one.seeds,
        metrics=metrics,
        by_seed={
            name: tuple(float(part.values[k]) for part in one.by_seed.values()) for k, name in enumerate(HEADLINES)
        },
        by_genre=by_genre,
        over_constant=over,
        over_constant_by_genre=over_by_genre,
        comparisons=tuple(item for item in comparisons if item is not None),
        seconds=one.seconds,
    )


def _comparison(one: Trained, other: Trained, why: str, posters: MeasuredPosters) -> CellComparison | None:
    """`one` minus `other`, seed by seed; None if they have no seed in common."""
    seeds = [seed for seed in one.seeds if seed in other.by_seed]
    if not seeds:
        return None
    (values, halves), (values_2, halves_2) = one.stacked(seeds), other.stacked(seeds)
    metrics, by_genre = posters.columns.of_difference(values - values_2, halves - halves_2)
    return CellComparison(other.cell.name, why, metrics, by_genre)


def _contributions(plan: Plan, trained: Mapping[str, Trained], posters: MeasuredPosters) -> tuple[Contribution, ...]:
    """Shapley values of the branches, in each mode in which all subsets were measured."""
    branches = plan.base.branches
    adjusted: list[Contribution] = []
    nothing = posters.nothing
    modes: tuple[Mode, ...] = ("retrain", "mask")
    for mode in modes:
        by_subset = {
            frozenset(one.cell.branches): one
            for one in trained.values()
            if not one.cell.changes and (one.cell.mode == mode or one.cell.name == plan.reference.name)
        }
        if len(by_subset) < 2 ** len(branches) - 1 or len(branches) < 2:
            continue
        seeds = sorted(set.intersection(*(set(one.seeds) for one in by_subset.values())))
        if not seeds:
            continue
        found = []
        for branch, weights in shapley_weights(branches).items():
            parts = [
                (weight, by_subset[subset].stacked(seeds) if subset else (nothing.values[None], nothing.halves[None]))
                for subset, weight in weights.items()
            ]
            values: FloatArray = sum((weight * part[0] for weight, part in parts), np.zeros(1))
            halves: FloatArray = sum((weight * part[1] for weight, part in parts), np.zeros(1))
            metrics, by_genre = posters.columns.of_difference(values, halves)
            found.append(Contribution(branch, mode, metrics, by_genre))
        adjusted += adjust_contributions(found)
    return tuple(adjusted)
