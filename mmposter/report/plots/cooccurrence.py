"""Which genres come together in truth, and in the decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmposter.errors import UserError
from mmposter.evaluation.arrays import FloatArray
from mmposter.evaluation.cooccurrence import CoOccurrence
from mmposter.report.plots.matrix import draw_matrix, write_cells
from mmposter.report.plots.style import figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL = 24
"""Genres up to which the percentages fit into the cells."""


def plot_cooccurrence(together: CoOccurrence, title: str = "Genres together") -> Figure:
    """Two matrices with one row a true genre, the most frequent on top: what else is true there, and what is decided.

    Genres without a poster have no row; all genres have a column.

    Raises:
        UserError: no poster has a genre.
    """
    support = np.array(together.support)
    columns = np.argsort(-support, kind="stable")
    rows = columns[support[columns] > 0]
    if not len(rows):
        raise UserError("No poster has a genre, so there is no co-occurrence to draw.")
    with figure_style():
        figure = new_figure(1.45 + 3.75 * (len(rows) / len(columns)))
        panels = figure.subplots(1, 2, sharey=True)
        names = [together.genres[g] for g in columns]
        for panel, matrix, heading in (
            (panels[0], together.true, "also true (%)"),
            (panels[1], together.decided, "decided (%)"),
        ):
            _matrix(panel, matrix[np.ix_(rows, columns)], names)
            panel.set_title(heading, fontsize=10)
        panels[0].set_yticks(
            np.arange(len(rows)) + 0.5,
            [visible_lines(f"{together.genres[g]}  ({support[g]})") for g in rows],
            fontsize=8,
        )
        panels[0].set_ylabel("of the posters of the genre ...")
        figure.suptitle(visible_lines(title), fontsize=11, fontweight="bold")
    return figure


def _matrix(panel: Axes, values: FloatArray, names: Sequence[str]) -> None:
    draw_matrix(panel, values, names, fontsize=8)
    panel.set_aspect("equal")
    if len(names) <= SMALL:
        texts = np.array([[f"{value * 100:.0f}" if value >= 0.005 else "" for value in row] for row in values])
        write_cells(panel, values, texts, fontsize=6.5)
