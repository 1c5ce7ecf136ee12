"""The heat map of what each branch adds to each genre."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmposter.document.numbers import DASH
from mmposter.evaluation.ablation import AblationResult, CellComparison, Contribution, Mode
from mmposter.evaluation.seeds import Estimate
from mmposter.report.ablation.numbers import carried, flipped, origin, signed, signed_interval
from mmposter.report.ablation.plots.canvas import canvas, draw_title
from mmposter.report.ablation.sections import LEAD, MODE_TITLES, TITLES, without_one
from mmposter.report.plots.style import BLUE, GREY, INK, ORANGE
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_LEAST_SCALE = 0.02
"""The colours never span less than this: noise alone shall not look strong."""


def added_by_branch(result: AblationResult, mode: Mode) -> tuple[dict[str, dict[str | None, Estimate]], str]:
    """What each branch adds, by branch and genre (None: the mean over genres), and in words how it was found.

    The Shapley value where all subsets were measured, else the full model minus the one without the branch; no branch
    at all where neither is there.
    """
    found: dict[str, dict[str | None, Estimate]] = {}
    for branch, item in result.contributions_of(mode).items():
        found[branch] = _column(item)
    if found:
        return found, "averaged over all subsets of the others (Shapley value)"
    for branch, cell in without_one(result, mode).items():
        comparison = result.against_full(cell)
        if comparison is not None:
            found[branch] = {genre: flipped(difference) for genre, difference in _column(comparison).items()}
    return found, "full model minus the model without it"


def _column(found: CellComparison | Contribution) -> dict[str | None, Estimate]:
    return dict([(None, found.metrics[LEAD]), *found.by_genre.items()])


def plot_genres(result: AblationResult, mode: Mode) -> Figure:
    """How much average precision each branch (columns) adds to each genre (rows, the most frequent first).

    Blue adds, orange takes. What Holm's p-value carries stands in full colour, framed and bold; all else is pale.

    Raises:
        ValueError: the result says nothing about single branches in this mode.
    """
    added, how = added_by_branch(result, mode)
    if not added:
        raise ValueError(f"mode must be one in which branches were left out, got {mode!r}")
    rows: list[str | None] = [None, *(genre for genre, _ in result.genres_by_support())]
    support = dict(result.genres_by_support())
    sizes = [abs(one.value) for column in added.values() for one in column.values()]
    scale = max([size for size in sizes if not math.isnan(size)] + [_LEAST_SCALE])
    with canvas(1.35 + 0.3 * len(rows), origin(result.provenance)) as (figure, body):
        axes = body.subplots()
        for x, column in enumerate(added.values()):
            for y, genre in enumerate(rows):
                _cell(axes, x, y + 0.25 * (y > 0), column[genre], scale)
        last = len(rows) - 1 + 0.25
        axes.set_xlim(-0.5, len(added) - 0.5)
        axes.set_ylim(last + 0.5, -0.5)
        names = [
            f"all ({TITLES[LEAD]})" if genre is None else visible_lines(f"{genre}  ({support[genre]})")
            for genre in rows
        ]
        axes.set_yticks([y + 0.25 * (y > 0) for y in range(len(rows))], names)
        axes.set_xticks(range(len(added)), list(added), fontweight="bold")
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        draw_title(body, f"What each branch adds to a genre's average precision, {MODE_TITLES[mode]}")
        _colour_bar(body, axes, scale)
        body.supxlabel(f"{how}; framed and bold: p < .05 by Holm; in brackets: posters with the genre", fontsize=9)
    return figure


def _cell(axes: Axes, x: float, y: float, added: Estimate, scale: float) -> None:
    from matplotlib.patches import Rectangle

    value, side = added.value, carried(added)
    if math.isnan(value):
        axes.text(x, y, DASH, ha="center", va="center", color=GREY)
        return
    share = value / scale
    strength = (abs(share) if side else 0.3 * abs(share)) ** 0.8
    colour = _mixed(BLUE if value > 0 else ORANGE, strength)
    axes.add_patch(Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, facecolor=colour, edgecolor="none"))
    if side:
        axes.add_patch(Rectangle((x - 0.475, y - 0.43), 0.95, 0.86, fill=False, edgecolor=INK, linewidth=1.4))
    ink = "white" if side and strength > 0.6 else INK if side else "#666666"
    weight = "bold" if side else "normal"
    if added.ci95 is None:
        axes.text(x, y, signed(value), ha="center", va="center", color=ink, fontsize=9.5, fontweight=weight)
        return
    axes.text(x - 0.16, y, signed(value), ha="right", va="center", color=ink, fontsize=9.5, fontweight=weight)
    ends = signed_interval(added.ci95)
    axes.text(x - 0.11, y, ends, ha="left", va="center", color=ink, fontsize=8)


def _mixed(colour: str, strength: float) -> tuple[float, ...]:
    """`colour` thinned with white: `strength` 0 is white, 1 the colour itself."""
    from matplotlib.colors import to_rgb

    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def _colour_bar(body: SubFigure, axes: Axes, scale: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    # Few enough that matplotlib keeps them as areas: a picture inside the SVG would be blocked by the page.
    steps = [i / 20 for i in range(-20, 21)]
    colours = ListedColormap([_mixed(BLUE if step > 0 else ORANGE, abs(step) ** 0.8) for step in steps])
    mapped = ScalarMappable(Normalize(-scale, scale), colours)
    bar = body.colorbar(mapped, ax=axes, aspect=30, fraction=0.03, pad=0.01, ticks=[-scale, 0, scale])
    bar.ax.set_yticklabels([signed(-scale), "0", signed(scale)], fontsize=8)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_edgecolor("face")  # no white lines between the areas
