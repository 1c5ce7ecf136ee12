"""The picture of all subsets: their values above, which branches they hold below, what each branch adds beside.

After UpSet (Lex et al. 2014, IEEE TVCG 20:1983), with two changes: a column's height is a metric, not a count, so it is
a dot with its interval and not a bar from zero; and the bars of the set sizes became the branches' Shapley values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmposter.evaluation.ablation import AblationResult
from mmposter.report.ablation.numbers import carried, number, origin, signed
from mmposter.report.ablation.plots.canvas import (
    VERDICTS,
    canvas,
    draw_constant,
    draw_title,
    draw_verdict,
    grid,
    short_ticks,
    verdict_handles,
)
from mmposter.report.ablation.sections import LEAD, TITLES, CellGroup, best_first, branches_of
from mmposter.report.plots.style import GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_subsets(result: AblationResult, group: CellGroup) -> Figure:
    """Every subset of the branches as a column, the best on the left.

    Args:
        result: the ablation that the group is of.
        group: the subsets in one mode; the full model is drawn among them.
    """
    cells = sorted(group.rows, key=best_first)
    branches = branches_of(result)
    with canvas(4.1 + 0.32 * len(branches), origin(result.provenance)) as (figure, body):
        parts = body.subplots(2, 2, width_ratios=[1, 3.6], height_ratios=[3.4, 0.32 * len(branches) + 0.25])
        (corner, values), (bars, matrix) = parts
        draw_constant(values.axhline, result.constant[LEAD])
        sides = []
        for place, cell in enumerate(cells):
            estimate = cell.metrics[LEAD]
            if cell.name == result.reference:
                if estimate.ci95 is not None:
                    values.vlines(place, *estimate.ci95, color=INK, linewidth=2, alpha=0.55)
                values.plot([place], [estimate.value], "D", color=INK, markersize=7, zorder=4)
                values.axhline(estimate.value, color=INK, linewidth=0.8, alpha=0.6)
            else:
                comparison = result.against_full(cell)
                side = carried(comparison.metrics[LEAD]) if comparison else 0
                sides.append(side)
                draw_verdict(values, place, estimate.value, estimate.ci95, side, upright=True)
            if not math.isnan(estimate.value):
                top = estimate.ci95[1] if estimate.ci95 else estimate.value
                values.annotate(
                    number(estimate.value), (place, max(top, estimate.value)), xytext=(0, 5),
                    textcoords="offset points", ha="center", fontsize=8.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
                )  # fmt: skip
        grid(values, "y")
        values.margins(y=0.1)
        values.set_ylabel(TITLES[LEAD])
        values.set_xlim(-0.6, len(cells) - 0.4)
        values.set_xticks([])
        values.spines["bottom"].set_visible(False)
        draw_title(body, f"{group.title}: {TITLES[LEAD]} with 95 % interval")
        _matrix(matrix, [cell.branches for cell in cells], branches)
        _contributions(bars, result, group, branches)
        _key(corner, sides)
    return figure


def _matrix(axes: Axes, columns: list[tuple[str, ...]], branches: tuple[str, ...]) -> None:
    for row in range(0, len(branches), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=GREY, alpha=0.12, linewidth=0)
    for x, held in enumerate(columns):
        rows = [y for y, branch in enumerate(branches) if branch in held]
        axes.plot([x] * len(branches), range(len(branches)), "o", color="#dddddd", markersize=9)
        axes.plot([x] * len(rows), rows, "o-", color=INK, markersize=9, linewidth=2)
    axes.set_ylim(len(branches) - 0.5, -0.5)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.set_yticks(range(len(branches)), branches)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _contributions(axes: Axes, result: AblationResult, group: CellGroup, branches: tuple[str, ...]) -> None:
    """Bars of what each branch adds, level with the branch's row of the matrix."""
    found = result.contributions_of(group.mode)
    axes.set_ylim(len(branches) - 0.5, -0.5)
    axes.set_yticks([])
    if not found:
        axes.set_axis_off()
        return
    for y, branch in enumerate(branches):
        if branch not in found:
            continue
        estimate = found[branch].metrics[LEAD]
        side = carried(estimate)
        axes.barh(y, estimate.value, height=0.62, color=VERDICTS[side][0], alpha=0.75, linewidth=0)
        low, high = estimate.ci95 or (estimate.value, estimate.value)
        axes.hlines(y, low, high, color=INK, linewidth=1.3)
        # Outside the end of the interval, on the side away from the matrix where bars run to the left.
        axes.annotate(
            signed(estimate.value), (max(high, estimate.value, 0), y), xytext=(-5, 0), textcoords="offset points",
            ha="right", va="center", fontsize=8.5,
        )  # fmt: skip
    axes.invert_xaxis()
    axes.axvline(0, color=INK, linewidth=1)
    low, high = axes.get_xlim()[1], axes.get_xlim()[0]
    axes.set_xlim(high + 0.55 * (high - min(low, 0)), low)
    axes.spines["left"].set_visible(False)
    axes.spines["right"].set_visible(False)
    axes.locator_params(axis="x", nbins=3)
    short_ticks(axes.xaxis)
    axes.set_xlabel(f"{TITLES[LEAD]} that a branch\nadds (Shapley value)", fontsize=9)


def _key(axes: Axes, sides: list[int]) -> None:
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    handles = [Line2D([], [], color=INK, marker="D", linestyle="", markersize=7, label="full model")]
    handles += verdict_handles(sides, "it")
    handles.append(Line2D([], [], color=ORANGE, linewidth=1.6, linestyle=(0, (4, 2)), label="best constant\nanswer"))
    axes.legend(handles=handles, loc="upper left", borderaxespad=0, handlelength=1.6)
