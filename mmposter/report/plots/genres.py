"""Average precision, and precision against recall, by genre."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mmposter.errors import UserError
from mmposter.evaluation.arrays import FloatArray, check_binary, check_probs, has_genre
from mmposter.report.plots.style import BLUE, ORANGE, figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmposter.evaluation.evaluate import Evaluation

PIXELS = 256
"""Columns and rows of a panel of `plot_precision_recall`; there are about 190 and 140."""


def plot_average_precision(evaluation: Evaluation | Mapping[str, Any], title: str | None = None) -> Figure:
    """Average precision by genre, the best on top: dot, 95 % interval, and the constant answer's value as a tick.

    The constant answer's average precision is the genre's prevalence. Genres without a positive are not drawn.

    Args:
        evaluation: what `evaluate` returned, or its `to_json()`, also as read back from a file.
        title: above the figure; by default the split is named.

    Raises:
        UserError: no genre has an average precision.
    """
    plain = evaluation if isinstance(evaluation, Mapping) else evaluation.to_json()
    rows = [(genre, row) for genre, row in plain["by_genre"].items() if row["average_precision"] is not None]
    if not rows:
        raise UserError("No genre of this result has a positive, so there is no average precision to draw.")
    rows.sort(key=lambda item: item[1]["average_precision"])
    with figure_style():
        figure = new_figure(1.4 + 0.27 * len(rows))
        axes = figure.subplots()
        places = np.arange(len(rows))
        known = [(place, *row["ci95"]) for place, (_, row) in enumerate(rows) if row.get("ci95")]
        if known:
            at, low, high = zip(*known, strict=True)
            axes.hlines(at, low, high, color=BLUE, linewidth=2, alpha=0.45, label="95 % interval")
        values = [row["average_precision"] for _, row in rows]
        axes.plot(values, places, "o", color=BLUE, markersize=6.5, label="model", clip_on=False)
        prevalence = [row["prevalence"] for _, row in rows]
        axes.plot(prevalence, places, "|", color=ORANGE, markersize=13, markeredgewidth=2.2, label="constant answer")
        axes.set_yticks(places, [visible_lines(f"{genre}  ({row['support']})") for genre, row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlim(0, 1)
        axes.set_xlabel("average precision   (in brackets: posters with the genre)")
        axes.grid(axis="x")
        axes.set_title(visible_lines(title or f"Average precision by genre ({plain['split']})"))
        axes.legend(loc="lower right")
    return figure


def plot_precision_recall(
    target: ArrayLike, probs: ArrayLike, genres: Sequence[str], title: str = "Precision and recall by genre"
) -> Figure:
    """Precision against recall, one small panel a genre, the most frequent first; a line at the prevalence.

    Posters without a genre are left out, genres without a positive are not drawn.

    Args:
        target: N x G of {0, 1}.
        probs: N x G in 0-1.
        genres: the G names.
        title: above the figure.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no genre has a positive.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth = check_binary(target, "target")
    scores = check_probs(probs, truth.shape)
    keep = has_genre(truth)
    truth, scores = truth[keep], scores[keep]
    support = truth.sum(axis=0)
    order = [g for g in np.argsort(-support, kind="stable").tolist() if support[g]]
    if not order:
        raise UserError("No poster has a genre, so there is no precision-recall curve to draw.")
    columns = min(4, len(order))
    with figure_style():
        figure = new_figure(0.6 + 1.9 * math.ceil(len(order) / columns))
        panels = figure.subplots(
            math.ceil(len(order) / columns), columns, sharex=True, sharey=True, squeeze=False
        ).ravel()
        for panel, g in zip(panels, order, strict=False):
            precision, recall, _ = precision_recall_curve(truth[:, g], scores[:, g], drop_intermediate=True)
            recall, precision = _as_drawn(recall, precision)
            # From right to left the curve is a step: recall only grows when a positive is passed.
            panel.step(recall, precision, where="post", color=BLUE, linewidth=1.6)
            panel.fill_between(recall, precision, step="post", color=BLUE, alpha=0.12, linewidth=0)
            panel.axhline(support[g] / len(truth), color=ORANGE, linewidth=1.4, linestyle=(0, (4, 2)))
            panel.set_title(visible_lines(str(genres[g])), fontsize=10)
            value = average_precision_score(truth[:, g], scores[:, g])
            panel.set_title(f"{value:.2f} ({support[g]})", fontsize=9, fontweight="normal", loc="right")
            panel.set_xlim(0, 1)
            panel.set_ylim(0, 1.02)
            panel.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
            panel.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
        for i, panel in enumerate(panels):
            if i >= len(order):
                panel.set_visible(False)
            elif i + columns >= len(order):
                panel.tick_params(labelbottom=True)  # the last panel of its column, also above an empty place
        figure.supxlabel(
            "recall   (above a panel: average precision and posters; dashed: constant answer)", fontsize=10
        )
        figure.supylabel("precision", fontsize=10)
        figure.suptitle(visible_lines(title), fontsize=11, fontweight="bold")
    return figure


def _as_drawn(recall: FloatArray, precision: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The points of a curve that a panel of at most `PIXELS` shows: of 100,000 few can be told apart.

    In each column of pixels the first point, and where the precision moves by half a pixel or more in it the lowest,
    the highest and the last one. A curve of few points is left as it is.

    Args:
        recall: falling or rising.
        precision: of the same length.
    """
    if len(recall) <= PIXELS:
        return recall, precision
    column = np.minimum((recall * PIXELS).astype(np.int64), PIXELS - 1)
    edges = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
    kept: list[int] = []
    for start, end in itertools.pairwise(edges):
        part = precision[start:end]
        low, high = int(part.argmin()), int(part.argmax())
        moves = part[high] - part[low] >= 0.5 / PIXELS
        kept += [start + at for at in sorted({0, low, high, end - start - 1} if moves else {0})]
    if kept[-1] != len(recall) - 1:
        kept.append(len(recall) - 1)
    return recall[kept], precision[kept]
