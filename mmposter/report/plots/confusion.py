"""What single-label posters were answered, genre by genre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mmposter.errors import UserError
from mmposter.evaluation.weighted import divide
from mmposter.report.plots.matrix import draw_matrix, write_cells
from mmposter.report.plots.style import figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL = 30
"""Genres up to which the counts fit into the cells."""


def plot_confusion(confusion: ArrayLike, genres: Sequence[str], title: str = "Confusion matrix") -> Figure:
    """One row a true genre, one column an answer, the most frequent genre first: counts, shaded by share of the row.

    Right answers, on the diagonal, are bold; empty cells are 0. Genres without a poster have no row; all have a column.

    Args:
        confusion: G x G counts, row = true, column = answered; `SingleLabelResult.confusion`.
        genres: the G names.
        title: above the figure.

    Raises:
        ValueError: the matrix is not G x G.
        UserError: no poster has a genre.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    if counts.shape != (len(genres), len(genres)):
        raise ValueError(f"confusion must be {len(genres)} x {len(genres)}, one row a genre, got {counts.shape}")
    support, answered = counts.sum(axis=1), counts.sum(axis=0)
    columns = np.argsort(-support, kind="stable")
    rows = columns[support[columns] > 0]
    if not len(rows):
        raise UserError("No poster has a genre, so there is no confusion matrix to draw.")
    shown = counts[np.ix_(rows, columns)]
    shares = divide(shown.astype(np.float64), support[rows][:, None].astype(np.float64))
    with figure_style():
        figure = new_figure(1.9 + 0.34 * len(rows))
        axes = figure.subplots()
        draw_matrix(axes, shares, [f"{genres[g]}  ({answered[g]})" for g in columns], fontsize=9, line=0.5)
        axes.set_yticks(
            np.arange(len(rows)) + 0.5, [visible_lines(f"{genres[g]}  ({support[g]})") for g in rows], fontsize=9
        )
        axes.set_xlabel("answered   (in brackets: posters; shade: share of the row)")
        axes.set_ylabel("true")
        axes.set_title(visible_lines(title))
        if len(columns) <= SMALL:
            texts = np.where(shown > 0, shown.astype(str), "")
            right = rows[:, None] == columns
            write_cells(axes, shares, texts, fontsize=min(9.0, 150 / len(columns)), bold=right)
    return figure
