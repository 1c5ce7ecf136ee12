"""Holm's correction over the comparisons of an ablation: who asks many questions must ask more of each answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmposter.evaluation.ablation import CellResult, Contribution
from mmposter.evaluation.named import adjust_family


def adjust_cells(cells: Sequence[CellResult]) -> tuple[CellResult, ...]:
    """The cells with Holm's p-values, over all comparisons of a section and mode."""
    families: dict[Any, list[tuple[int, int]]] = {}
    for i, cell in enumerate(cells):
        families.setdefault((cell.section, cell.mode), []).extend((i, j) for j in range(len(cell.comparisons)))
    comparisons = [list(cell.comparisons) for cell in cells]
    for places in families.values():
        family = adjust_family([(comparisons[i][j].metrics, comparisons[i][j].by_genre) for i, j in places])
        for (i, j), (metrics, by_genre) in zip(places, family, strict=True):
            comparisons[i][j] = replace(comparisons[i][j], metrics=metrics, by_genre=by_genre)
    return tuple(replace(cell, comparisons=tuple(found)) for cell, found in zip(cells, comparisons, strict=True))


def adjust_contributions(found: Sequence[Contribution]) -> tuple[Contribution, ...]:
    """The contributions of one mode with Holm's p-values, over all branches."""
    family = adjust_family([(item.metrics, item.by_genre) for item in found])
    return tuple(
        replace(item, metrics=metrics, by_genre=by_genre)
        for item, (metrics, by_genre) in zip(found, family, strict=True)
    )
