"""How often each genre is there, before and after it was balanced by crops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mmposter.errors import UserError
from mmposter.report.plots.style import BLUE, GREY, figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_genre_balance(
    counts: Mapping[str, tuple[int, int]], title: str = "Genres before and after balancing"
) -> Figure:
    """Two bars a genre, the genre with the most posters on top.

    Args:
        counts: by genre, posters before and crops after.
        title: above the figure.

    Raises:
        UserError: `counts` is empty.
    """
    if not counts:
        raise UserError("There is no genre, so there is no distribution to draw.")
    rows = sorted(counts.items(), key=lambda item: item[1][0])
    with figure_style():
        figure = new_figure(1.3 + 0.36 * len(rows))
        axes = figure.subplots()
        places = np.arange(len(rows))
        after = axes.barh(places - 0.2, [crops for _, (_, crops) in rows], 0.38, color=BLUE, label="after: crops")
        before = axes.barh(
            places + 0.2, [posters for _, (posters, _) in rows], 0.38, color=GREY, label="before: posters"
        )
        for bars in (before, after):
            axes.bar_label(bars, padding=3, fontsize=8, fmt="{:,.0f}")
        axes.set_yticks(places, [visible_lines(genre) for genre, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.margins(x=0.08)
        axes.grid(axis="x")
        axes.set_title(visible_lines(title))
        axes.legend(handles=[before, after], loc="lower right")
    return figure
