"""Ablation results made by hand: what every cell is worth is written down, and a report can be checked against it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import NormalDist
from typing import Any

import pytest

from mmposter.ablation.multiplicity import adjust_cells, adjust_contributions
from mmposter.evaluation.ablation import (
    HEADLINES,
    AblationResult,
    CellComparison,
    CellResult,
    Contribution,
    Provenance,
)
from mmposter.evaluation.seeds import Estimate
from mmposter.evaluation.shapley import shapley_weights

SCALES = {"mean_average_precision": 1.0, "macro_f1": 0.9, "r_precision": 1.2}
"""A cell's headline metrics are its mean average precision times these."""

ONLY = {"mask": (0.85, 0.02)}
"""Masking keeps this share of what a branch adds, and shifts every genre down by that much."""


def estimate(value: float, error: float = math.nan, *, difference: bool = False) -> Estimate:
    """A normal interval around the value; none for a NaN, no p-value unless it is a difference."""
    if math.isnan(value) or math.isnan(error):
        return Estimate(value, None, math.nan)
    ends = (value - 1.96 * error, value + 1.96 * error)
    if not difference:
        return Estimate(value, (max(ends[0], 0), min(ends[1], 1)), error)
    p = 2 * NormalDist().cdf(-abs(value) / error) if error else float(value == 0)
    return Estimate(value, ends, error, p)


@dataclass
class Truth:
    """A world in which every branch adds a fixed amount to each genre's average precision, on top of the prevalence.

    `effects` gives by branch one amount a genre. A NaN support-less genre has no value anywhere.
    """

    effects: Mapping[str, Sequence[float]]
    genres: Sequence[str]
    support: Sequence[int]
    posters: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2)
    error: float = 0.003
    genre_error: float = 0.01
    cells: list[CellResult] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def prevalence(self) -> list[float]:
        return [count / self.posters if count else math.nan for count in self.support]

    def average_precision(self, branches: Sequence[str], mode: str, shift: float) -> list[float]:
        share, lost = ONLY[mode] if mode in ONLY and len(branches) < len(self.effects) else (1, 0)
        return [
            max(base + sum(share * self.effects[name][g] for name in branches) + shift - lost, 0.001)
            for g, base in enumerate(self.prevalence())
        ]

    def add(
        self, name: str, label: str, section: str, branches: Sequence[str], *, mode: str = "retrain",
        shift: float = 0.0, changes: Mapping[str, Any] | None = None, against: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """One more cell; `against` names further cells to compare with, and why."""
        values = self.average_precision(branches, mode, shift)
        self.values[name] = values
        mean = _mean(values)
        comparisons = []
        if len(self.cells):
            first = {self.cells[0].name: "the full model"}
            comparisons = [self._compare(values, other, why) for other, why in (first | dict(against or {})).items()]
        by_seed = {m: tuple(mean * SCALES[m] + 0.002 * _spread(i) for i in self.seeds) for m in HEADLINES}
        self.cells.append(
            CellResult(
                name=name,
                label=label,
                section=section,
                mode=mode,  # type: ignore[arg-type]
                branches=tuple(branches),
                changes=dict(changes or {}),
                seeds=self.seeds,
                metrics={m: estimate(mean * SCALES[m], 0.009) for m in HEADLINES},
                by_seed=by_seed,
                by_genre={genre: estimate(value, 0.02) for genre, value in zip(self.genres, values, strict=True)},
                over_constant={
                    m: estimate((mean - _mean(self.prevalence())) * SCALES[m], 0.009, difference=True)
                    for m in HEADLINES
                },
                over_constant_by_genre={
                    genre: estimate(round(value - base, 12), 0.02, difference=True)
                    for genre, value, base in zip(self.genres, values, self.prevalence(), strict=True)
                },
                comparisons=tuple(comparisons),
                seconds=31.4,
            )
        )

    def _compare(self, values: Sequence[float], other: str, why: str) -> CellComparison:
        """Adjusted p-values are put in at the end, when all cells of the section are there."""
        # Equal up to the order of a sum is equal.
        differences = [round(a - b, 12) for a, b in zip(values, self.values[other], strict=True)]
        by_genre = dict(zip(self.genres, differences, strict=True))
        return CellComparison(
            against=other,
            why=why,
            metrics={m: estimate(_mean(differences) * SCALES[m], self.error, difference=True) for m in HEADLINES},
            by_genre={genre: estimate(value, self.genre_error, difference=True) for genre, value in by_genre.items()},
        )

    def contributions(self, mode: str) -> list[Contribution]:
        """Shapley values of the cells' own values; nothing at all is worth the prevalence."""
        subsets = {frozenset(c.branches): self.values[c.name] for c in self.cells if c.mode == mode and not c.changes}
        subsets |= {frozenset(self.cells[0].branches): self.values[self.cells[0].name], frozenset(): self.prevalence()}
        found = []
        for branch, weights in shapley_weights(list(self.effects)).items():
            values = [
                round(sum(weight * subsets[s][g] for s, weight in weights.items()), 12) for g in range(len(self.genres))
            ]
            by_genre = {
                genre: estimate(value, self.genre_error, difference=True)
                for genre, value in zip(self.genres, values, strict=True)
            }
            metrics = {m: estimate(_mean(values) * SCALES[m], self.error, difference=True) for m in HEADLINES}
            found.append(Contribution(branch, mode, metrics, by_genre))
        return list(adjust_contributions(found))

    def result(self, *, contributions: Sequence[str] = (), **more: Any) -> AblationResult:
        """Everything that was added, with Holm's p-values over each section."""
        return AblationResult(
            provenance=Provenance(
                data="posters_50%",
                manifest="8d1f" * 16,
                split="test",
                posters=self.posters,
                train_posters=3948,
                val_posters=562,
                seeds=self.seeds,
                version="0.1.0",
                commit="2a103b0",
                config={"branches": list(self.effects), "fusion": {"head": "sum"}, "style": {"gate": "gram"}},
                command="mmposter ablate posters_50% --grid subsets --out runs/ablation",
                bootstrap=1000,
            ),
            genres=tuple(self.genres),
            support=tuple(self.support),
            constant={m: _mean(self.prevalence()) * SCALES[m] for m in HEADLINES},
            constant_by_genre=dict(zip(self.genres, self.prevalence(), strict=True)),
            reference=self.cells[0].name if self.cells else "full",
            cells=adjust_cells(self.cells),
            contributions=tuple(item for mode in contributions for item in self.contributions(mode)),
            **more,
        )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known)


def _spread(seed: int) -> float:
    return (seed % 3 - 1) * (1 + 0.3 * seed)


def subsets(truth: Truth, mode: str = "retrain") -> None:
    """All subsets of the branches, the full model first as the reference."""
    names = list(truth.effects)
    prefix = "" if mode == "retrain" else "mask."
    if not truth.cells:
        truth.add("-".join(names), ", ".join(names), "subsets", names)
    for size in range(1, len(names)):
        for some in combinations(names, size):
            name = "-".join(some)
            against = {name: "the same, trained anew"} if prefix else {}
            label = ", ".join(some)
            truth.add(prefix + name, label, "subsets", some, mode=mode, against=against)


@pytest.fixture
def truth() -> Callable[..., Truth]:
    """Makes an empty world."""
    return Truth


@pytest.fixture
def all_subsets() -> Callable[..., None]:
    """Adds all subsets to a world."""
    return subsets


@pytest.fixture
def make_estimate() -> Callable[..., Estimate]:
    """An estimate with a normal interval."""
    return estimate


def small_truth() -> Truth:
    """Horror's whole signal comes from cnn, War's from ocr; style adds nothing; Short has no poster."""
    return Truth(
        effects={
            "cnn": (0.2, 0.0, 0.10, math.nan),
            "style": (0.0, 0.0, 0.0, math.nan),
            "ocr": (0.0, 0.1, 0.05, math.nan),
        },
        genres=("Horror", "War", "Drama", "Short"),
        support=(70, 40, 500, 0),
    )  # fmt: skip


@pytest.fixture
def small() -> AblationResult:
    """All subsets of three branches, trained anew."""
    world = small_truth()
    subsets(world)
    return world.result(contributions=("retrain",))


GENRES = (
    "Drama", "Comedy", "Action", "Crime", "Thriller", "Romance", "Adventure", "Horror", "Sci-Fi", "Mystery", "Family",
    "Fantasy", "Biography", "Animation", "Documentary", "History", "Music", "Sport", "Other", "War",
)  # fmt: skip


def rich_truth() -> Truth:
    """Twenty genres and four branches, everything that a plan may hold: see `rich`."""
    base = {"cnn": 0.11, "style": 0.012, "yolo": 0.018, "ocr": 0.045}
    support = (560, 380, 250, 180, 170, 190, 140, 110, 80, 75, 70, 65, 60, 55, 45, 40, 38, 22, 12, 0)
    effects = {}
    for b, (branch, size) in enumerate(base.items()):
        shape = [1 + math.sin(1.7 * g + 2.1 * b) for g in range(len(GENRES))]
        effects[branch] = [math.nan if not n else size * s for n, s in zip(support, shape, strict=True)]
    effects["yolo"][0] = -0.03
    return Truth(effects=effects, genres=GENRES, support=support, posters=1116, seeds=(0, 1, 2, 3, 4))


@pytest.fixture
def rich() -> AblationResult:
    """Subsets in both modes, add-one, controls, three axes, twenty genres of which one has no poster."""
    return rich_result()


def rich_result(**more: Any) -> AblationResult:
    world = rich_truth()
    subsets(world)
    subsets(world, "mask")
    names = list(world.effects)
    for name in names[1:]:
        world.add(f"add-{name}", f"cnn, {name}", "add-one", ("cnn", name), against={"cnn": "cnn alone"})
    for name in names[1:]:
        rest = [other for other in names if other != name]
        lost = -_mean(world.effects[name])
        world.add(
            f"shuffled-{name}", f"{name} of another poster", "controls", names, shift=lost,
            changes={"shuffled": [name]}, against={"-".join(rest): "the same without the branch"},
        )  # fmt: skip
    world.add(
        "mask.shuffled-ocr", "ocr of another poster, at test time", "controls", names, mode="mask",
        shift=-0.09, changes={"shuffled": ["ocr"]}, against={"mask.cnn-style-yolo": "the same without the branch"},
    )  # fmt: skip
    world.add("title", "words of the title masked", "controls", names, shift=-0.018, changes={"ocr.mask": "title"})
    world.add("names", "names of the actors masked", "controls", names, shift=-0.004, changes={"ocr.mask": "names"})
    world.add(
        "ocr.title", "ocr alone, words of the title masked", "controls", ("ocr",), shift=-0.012,
        changes={"ocr.mask": "title"}, against={"ocr": "the same branch unchanged"},
    )  # fmt: skip
    for key, values in {
        "fusion.head": {"concat": -0.001, "gated": -0.013, "attention": -0.022},
        "style.gate": {"se": 0.002, "srm": 0.014},
        "train.learning_rate": {0.0001: -0.03, 0.002: -0.005},
    }.items():
        for value, shift in values.items():
            short = key.rpartition(".")[2]
            world.add(f"{key}={value}", f"{short} = {value}", key, names, shift=shift, changes={key: value})
    return world.result(contributions=("retrain", "mask"), **more)
