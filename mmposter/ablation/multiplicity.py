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
        for j in range(len(cell.comparisons)):
            families.setdefault((cell.section, cell.mode), []).append((i, j))
    comparisons = [list(cell.comparisons) for cell in cells]
    for places in families.values():
        family = [comparisons[i][j] for i, j in places]
        adjusted = adjust_family([(item.metrics, item.by_genre) for item in family])
        for (i, j), item, (metrics, genres) in zip(places, family, adjusted, strict=True):
            comparisons[i][j] = replace(item, adjusted=metrics, adjusted_by_genre=genres)
    return tuple(replace(cell, comparisons=tuple(found)) for cell, found in zip(cells, comparisons, strict=True))


def adjust_contributions(found: Sequence[Contribution]) -> tuple[Contribution, ...]:
    """The contributions with Holm's p-values, over all branches of a mode."""
    done: list[Contribution] = []
    for mode in dict.fromkeys(item.mode for item in found):
        family = [item for item in found if item.mode == mode]
        adjusted = adjust_family([(item.metrics, item.by_genre) for item in family])
        done += [
            replace(item, adjusted=metrics, adjusted_by_genre=genres)
            for item, (metrics, genres) in zip(family, adjusted, strict=True)
        ]
    return tuple(done)
