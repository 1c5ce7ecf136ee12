"""Several models side by side, and by genre against the first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mmposter.errors import UserError
from mmposter.evaluation.comparison import Comparison
from mmposter.evaluation.metrics import METRICS
from mmposter.report.plots.style import BLUE, INK, ORANGE, figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7")
MARKERS = "osD^"

MOST = len(COLOURS)
"""Rows whose differences by genre one figure can hold apart."""


def plot_comparison(found: Comparison, title: str = "Headline metrics") -> Figure:
    """One panel a headline metric, one line a row: dot, 95 % interval, and the constant answer's value dashed."""
    metrics = [metric for metric in METRICS if metric.headline]
    names = [row.name if len(row.seeds) == 1 else f"{row.name}  ({len(row.seeds)} seeds)" for row in found.rows]
    with figure_style():
        figure = new_figure(1.5 + 0.36 * len(names))
        panels = figure.subplots(1, len(metrics), sharey=True)
        places = np.arange(len(names))
        for panel, metric in zip(panels, metrics, strict=True):
            for place, row in zip(places, found.rows, strict=True):
                estimate = row.metrics[metric.name]
                if estimate.ci95 is not None:
                    panel.hlines(place, *estimate.ci95, color=BLUE, linewidth=2, alpha=0.45)
                panel.plot(estimate.value, place, "o", color=BLUE, markersize=6.5)
            panel.axvline(found.constant[metric.name], color=ORANGE, linewidth=1.4, linestyle=(0, (4, 2)))
            panel.set_title(metric.title, fontsize=10)
            panel.grid(axis="x")
            panel.locator_params(axis="x", nbins=4)
            panel.tick_params(axis="y", length=0)
        panels[0].set_yticks(places, [visible_lines(name) for name in names])
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        figure.supxlabel("value and 95 % interval   (dashed: constant answer)", fontsize=10)
        figure.suptitle(visible_lines(title), fontsize=11, fontweight="bold")
    return figure


def plot_genre_differences(found: Comparison, title: str | None = None) -> Figure:
    """Average precision of each genre minus the first row's, with its 95 % interval; the most frequent genre on top.

    Filled: surely other than 0, by Holm's p-value. Genres without a positive are not drawn.

    Raises:
        UserError: there are more rows than can be told apart (4), or no genre has a positive.
    """
    others = [(row.name, row.difference) for row in found.rows if row.difference is not None]
    if not 1 <= len(others) <= MOST:
        raise UserError(f"A figure of differences by genre holds 1 to {MOST} rows beside the first, got {len(others)}.")
    order = [genre for _, genre in sorted(zip(found.support, found.genres, strict=True), key=lambda item: -item[0])]
    order = [genre for genre in order if not math.isnan(found.rows[0].by_genre[genre].value)]
    if not order:
        raise UserError("No genre has a positive, so there is no average precision to compare.")
    support = dict(zip(found.genres, found.support, strict=True))
    with figure_style():
        figure = new_figure(1.5 + (0.2 + 0.1 * len(others)) * len(order))
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        for number, (name, difference) in enumerate(others):
            colour, marker = COLOURS[number], MARKERS[number]
            shift = (number - (len(others) - 1) / 2) * 0.7 / len(others)
            for place, genre in enumerate(order):
                estimate = difference.by_genre[genre]
                if estimate.ci95 is not None:
                    axes.hlines(place + shift, *estimate.ci95, color=colour, linewidth=1.8, alpha=0.45)
                sure = difference.genre_verdict(genre) in ("better", "worse")
                axes.plot(
                    estimate.value,
                    place + shift,
                    marker,
                    color=colour,
                    markersize=5.5,
                    markerfacecolor=colour if sure else "white",
                    label=visible_lines(name) if place == 0 else None,
                )
        axes.set_yticks(np.arange(len(order)), [visible_lines(f"{genre}  ({support[genre]})") for genre in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("difference of average precision   (filled: adjusted p below .05; in brackets: posters)")
        axes.grid(axis="x")
        axes.set_title(visible_lines(title or f"Average precision by genre, minus {found.rows[0].name}"))
        if len(others) > 1:  # a single row is named by the title; above the axes no dot can lie below the legend
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2, fontsize=9)
    return figure
