"""Holm's correction over the comparisons of an ablation: who asks many questions must ask more of each answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmposter.ablation.result import HEADLINES, CellResult, Contribution
from mmposter.evaluation.multiple import holm


def adjust_cells(cells: Sequence[CellResult]) -> tuple[CellResult, ...]:
    """The cells with Holm's p-values, over all comparisons of a section and mode."""
    families: dict[Any, list[tuple[int, int]]] = {}
    for i, cell in enumerate(cells):
        for j in range(len(cell.comparisons)):
            families.setdefault((cell.section, cell.mode), []).append((i, j))
    comparisons = [list(cell.comparisons) for cell in cells]
    for places in families.values():
        family = [comparisons[i][j] for i, j in places]
        metrics = {name: holm([item.metrics[name].p_value for item in family]) for name in HEADLINES}
        genres = list(family[0].by_genre)
        flat = iter(holm([item.by_genre[genre].p_value for item in family for genre in genres]))
        for number, (i, j) in enumerate(places):
            comparisons[i][j] = replace(
                family[number],
                adjusted={name: metrics[name][number] for name in HEADLINES},
                adjusted_by_genre={genre: next(flat) for genre in genres},
            )
    return tuple(replace(cell, comparisons=tuple(found)) for cell, found in zip(cells, comparisons, strict=True))


def adjust_contributions(found: Sequence[Contribution]) -> tuple[Contribution, ...]:
    """The contributions with Holm's p-values, over all branches of a mode."""
    adjusted: list[Contribution] = []
    for mode in dict.fromkeys(item.mode for item in found):
        family = [item for item in found if item.mode == mode]
        metrics = {name: holm([item.metrics[name].p_value for item in family]) for name in HEADLINES}
        flat = iter(holm([estimate.p_value for item in family for estimate in item.by_genre.values()]))
        adjusted += [
            replace(
                item,
                adjusted={name: metrics[name][number] for name in HEADLINES},
                adjusted_by_genre={genre: next(flat) for genre in item.by_genre},
            )
            for number, item in enumerate(family)
        ]
    return tuple(adjusted)
