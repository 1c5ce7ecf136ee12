"""Dot plots of a group of cells: values with intervals and seeds, and paired differences around zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmposter.evaluation.ablation import AblationResult, CellComparison, CellResult
from mmposter.report.ablation.numbers import carried, difference_in_words, number, origin, value_in_words
from mmposter.report.ablation.plots.canvas import (
    canvas,
    draw_constant,
    draw_key,
    draw_rows,
    draw_title,
    draw_verdict,
    height_of,
    verdict_handles,
)
from mmposter.report.ablation.sections import LEAD, TITLES, CellGroup, best_first, label_of, questions
from mmposter.report.plots.style import BLUE, GREY, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_values(result: AblationResult, group: CellGroup) -> Figure:
    """The leading metric of each cell of a group: dot, 95 % interval, a small ring for each seed.

    A line stands at the full model's value and a dashed one at the best constant answer's.

    Args:
        result: the ablation that the group is of.
        group: what is drawn, one row a cell, the reference first.
    """
    rows = group.rows
    labels = [group.label(cell) for cell in rows]
    with canvas(1.45 + height_of(labels), origin(result.provenance)) as (figure, body):
        axes = body.subplots()
        draw_constant(axes.axvline, result.constant[LEAD])
        if group.reference is not None and not math.isnan(group.reference.metrics[LEAD].value):
            axes.axvline(group.reference.metrics[LEAD].value, color=INK, linewidth=1, label="full model")
        for place, cell in enumerate(rows):
            estimate = cell.metrics[LEAD]
            if estimate.ci95 is not None:
                axes.hlines(place, *estimate.ci95, color=BLUE, linewidth=2.2, alpha=0.45)
            seeds = cell.by_seed[LEAD]
            if len(seeds) > 1:
                axes.plot(
                    seeds, [place + 0.24] * len(seeds), "o", markersize=4, markerfacecolor="none",
                    markeredgecolor=GREY, markeredgewidth=0.9, zorder=4,
                )  # fmt: skip
            axes.plot([estimate.value], [place], "o", color=BLUE, markersize=7, zorder=3)
        axes.plot([], [], "o", color=BLUE, markersize=7, label="mean over seeds")
        axes.plot([], [], "-", color=BLUE, linewidth=2.2, alpha=0.45, label="95 % interval")
        if any(len(cell.by_seed[LEAD]) > 1 for cell in rows):
            axes.plot([], [], "o", color=GREY, markerfacecolor="none", markersize=4, label="one seed")
        draw_rows(axes, labels, [value_in_words(cell.metrics[LEAD]) for cell in rows])
        axes.set_xlabel(TITLES[LEAD])
        draw_title(body, f"{group.title}: {TITLES[LEAD]}")
        draw_key(body)
    return figure


def plot_differences(result: AblationResult, group: CellGroup) -> Figure:
    """Paired differences of the leading metric around zero, one row a comparison.

    Of each cell the comparisons are drawn that answer what it was made for (see `questions`).

    Raises:
        ValueError: there is none.
    """
    rows = questions(result, group)
    if not rows:
        raise ValueError(f"group must have cells to compare, got {group.name!r}")
    plain_rows = all(item.against == result.reference for _, item in rows)
    labels = []
    for place, (cell, item) in enumerate(rows):
        again = place > 0 and rows[place - 1][0] is cell
        labels.append(_compared(result, group, cell, item, again=again))
    sides = [carried(item.metrics[LEAD]) for _, item in rows]
    with canvas(1.45 + height_of(labels), origin(result.provenance)) as (figure, body):
        axes = body.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        for place, ((_, item), side) in enumerate(zip(rows, sides, strict=True)):
            estimate = item.metrics[LEAD]
            draw_verdict(axes, estimate.value, place, estimate.ci95, side)
        draw_rows(axes, labels, [difference_in_words(item.metrics[LEAD]) for _, item in rows])
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.1 * high), max(high, -0.1 * low))
        other = "the full model" if plain_rows else "the full model, or of the one named"
        axes.set_xlabel(f"{TITLES[LEAD]} minus that of {other}, paired by poster, 95 % interval")
        draw_title(body, f"{group.title}: differences of {TITLES[LEAD]}")
        draw_key(body, verdict_handles(sides, "the full model" if plain_rows else "what it stands against"))
    return figure


def plot_modes(result: AblationResult, retrained: CellGroup, masked: CellGroup) -> Figure:
    """The leading metric of each subset trained anew and masked: two dots and the way between them.

    Args:
        result: the ablation that both groups are of.
        retrained: subsets in the mode ``retrain``.
        masked: subsets in the mode ``mask``; those of branches that were not retrained are not drawn.
    """
    other = {cell.branches: cell for cell in masked.rows}
    pairs = [(cell, other[cell.branches]) for cell in retrained.cells if cell.branches in other]
    pairs.sort(key=lambda pair: best_first(pair[0]))
    labels = [", ".join(cell.branches) for cell, _ in pairs]
    with canvas(1.45 + 0.05 * len(pairs) + height_of(labels), origin(result.provenance)) as (figure, body):
        axes = body.subplots()
        draw_constant(axes.axvline, result.constant[LEAD])
        if retrained.reference is not None:
            axes.axvline(retrained.reference.metrics[LEAD].value, color=INK, linewidth=1, label="full model")
        for place, (one, two) in enumerate(pairs):
            for cell, offset, colour in ((one, -0.16, BLUE), (two, 0.16, INK)):
                if (ends := cell.metrics[LEAD].ci95) is not None:
                    axes.hlines(place + offset, *ends, color=colour, linewidth=2, alpha=0.35)
            values = one.metrics[LEAD].value, two.metrics[LEAD].value
            axes.plot(values, [place - 0.16, place + 0.16], "-", color=GREY, linewidth=1.2, zorder=2)
            axes.plot(values[:1], [place - 0.16], "o", color=BLUE, markersize=6.5, zorder=3)
            axes.plot(values[1:], [place + 0.16], "s", color=INK, markerfacecolor="white", markersize=5.5, zorder=3)
        axes.plot([], [], "o", color=BLUE, markersize=6.5, label="trained anew")
        axes.plot([], [], "s", color=INK, markerfacecolor="white", markersize=5.5, label="masked")
        texts = [f"{number(a.metrics[LEAD].value)} anew, {number(b.metrics[LEAD].value)} masked" for a, b in pairs]
        draw_rows(axes, labels, texts)
        axes.set_xlabel(TITLES[LEAD])
        draw_title(body, f"Trained anew and masked: {TITLES[LEAD]} with 95 % interval")
        draw_key(body)
    return figure


def _compared(result: AblationResult, group: CellGroup, cell: CellResult, item: CellComparison, *, again: bool) -> str:
    """The cell's label, and what it stands against if that is not the full model; the label is not said again."""
    if item.against == result.reference:
        return group.label(cell)
    other = f"… against {label_of(result, item.against, cell.mode)}"
    return other if again else f"{group.label(cell)} {other}"
