"""Figures of an evaluation and of a training run. Each function returns a matplotlib `Figure`, 900 pixels wide.

No pyplot: a `Figure` with its own Agg canvas leaves the caller's backend and settings alone and needs no display.
Colours are Okabe and Ito's, distinct for colour-blind readers; what matters is also told apart by shape or place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mmposter.errors import UserError
from mmposter.evaluation.arrays import check_binary, check_probs, has_genre

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mmposter.evaluation.evaluate import Evaluation

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#999999", "#333333"
WIDTH = 9.0  # inches; with DPI 100 a figure is 900 pixels wide
DPI = 100


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    settings = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "legend.frameon": False,
    }
    with mpl.rc_context(settings):
        yield


def _figure(height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


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
    with _style():
        figure = _figure(1.4 + 0.27 * len(rows))
        axes = figure.subplots()
        places = np.arange(len(rows))
        known = [(place, *row["ci95"]) for place, (_, row) in enumerate(rows) if row.get("ci95")]
        if known:
            at, low, high = zip(*known, strict=True)
            axes.hlines(at, low, high, color=BLUE, linewidth=2, alpha=0.45, label="95 % interval")
        values = [row["average_precision"] for _, row in rows]
        axes.plot(values, places, "o", color=BLUE, markersize=6.5, label="model")
        prevalence = [row["prevalence"] for _, row in rows]
        axes.plot(prevalence, places, "|", color=ORANGE, markersize=13, markeredgewidth=2.2, label="constant answer")
        axes.set_yticks(places, [f"{genre}  ({row['support']})" for genre, row in rows])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlim(0, 1)
        axes.set_xlabel("average precision   (in brackets: posters with the genre)")
        axes.grid(axis="x", color=GREY, alpha=0.3, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_title(title or f"Average precision by genre ({plain['split']})", parse_math=False)
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
    with _style():
        figure = _figure(0.6 + 1.9 * math.ceil(len(order) / columns))
        panels = figure.subplots(
            math.ceil(len(order) / columns), columns, sharex=True, sharey=True, squeeze=False
        ).ravel()
        for panel, g in zip(panels, order, strict=False):
            precision, recall, _ = precision_recall_curve(truth[:, g], scores[:, g])
            # From right to left the curve is a step: recall only grows when a positive is passed.
            panel.step(recall, precision, where="post", color=BLUE, linewidth=1.6)
            panel.fill_between(recall, precision, step="post", color=BLUE, alpha=0.12, linewidth=0)
            panel.axhline(support[g] / len(truth), color=ORANGE, linewidth=1.4, linestyle=(0, (4, 2)))
            panel.set_title(str(genres[g]), fontsize=10, parse_math=False)
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
        figure.suptitle(title, fontsize=11, fontweight="bold", parse_math=False)
    return figure


def plot_training_curves(rows: Sequence[Mapping[str, Any]], title: str = "Training") -> Figure:
    """Loss and validation mAP by epoch, the best epoch marked, the learning rate in a strip below.

    Args:
        rows: one mapping an epoch, the lines of `metrics.jsonl`: `epoch` counted from 0 (shown from 1),
            `train_loss`, `val_loss`, `val_map`, `lr`; a value may be missing or None.
        title: above the figure.

    Raises:
        UserError: `rows` is empty.
    """
    if not rows:
        raise UserError("No epoch has been finished yet, so there are no training curves to draw.")
    epochs = [int(row["epoch"]) + 1 for row in rows]
    series = {
        name: np.array([np.nan if row.get(name) is None else float(row[name]) for row in rows])
        for name in ("train_loss", "val_loss", "val_map", "lr")
    }
    with _style():
        figure = _figure(5.6)
        loss, quality, rate = figure.subplots(3, 1, sharex=True, height_ratios=[4, 4, 1.3])
        _curve(loss, epochs, series["train_loss"], ORANGE, "training", "s")
        _curve(loss, epochs, series["val_loss"], BLUE, "validation", "o")
        loss.set_ylabel("loss")
        _curve(quality, epochs, series["val_map"], BLUE, "validation", "o")
        quality.set_ylabel("mAP")
        edges = np.append(epochs, epochs[-1] + 1) - 0.5
        rate.stairs(series["lr"], edges, color=GREY, linewidth=1.6, baseline=None)
        rate.set_xlim(edges[0], edges[-1])
        rate.set_ylabel("learning\nrate")
        rate.set_xlabel("epoch")
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        if not np.isnan(series["val_map"]).all():
            best = int(np.nanargmax(series["val_map"]))
            for axes in (loss, quality, rate):
                axes.axvline(epochs[best], color=INK, linewidth=1, linestyle=(0, (2, 2)))
            quality.plot(epochs[best], series["val_map"][best], "*", color=INK, markersize=13, zorder=5)
            # Below the star a curve that rose has left the place empty; to the side that has more room.
            left = epochs[best] > (epochs[0] + epochs[-1]) / 2
            quality.annotate(
                f"best: {series['val_map'][best]:.3f} in epoch {epochs[best]}",
                (epochs[best], series["val_map"][best]),
                xytext=(-10 if left else 10, -24),
                textcoords="offset points",
                ha="right" if left else "left",
            )
        for axes in (loss, quality, rate):
            axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.7)
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        loss.legend(loc="upper right")
        loss.set_title(title, parse_math=False)
    return figure


def _curve(axes: Axes, epochs: Sequence[int], values: Any, colour: str, label: str, marker: str) -> None:
    # Markers tell the curves apart without colour; many epochs get few of them.
    every = max(1, len(epochs) // 12)
    axes.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=4.5, markevery=every, label=label)
