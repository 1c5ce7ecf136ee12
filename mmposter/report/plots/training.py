"""What happened epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmposter.errors import UserError
from mmposter.report.plots.style import BLUE, GREY, INK, ORANGE, figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_DECIDED = {
    "val_accuracy": ("accuracy", INK, "D"),
    "val_precision": ("precision", ORANGE, "s"),
    "val_recall": ("recall", GREY, "^"),
    "val_of1": ("OF1", BLUE, "o"),
}
"""Column: label, colour and marker."""


def plot_training_curves(rows: Sequence[Mapping[str, Any]], title: str = "Training") -> Figure:
    """Loss, validation mAP, and accuracy, precision, recall and OF1 by epoch; the learning rate in a strip below.

    The best epoch is marked. Runs of earlier versions have no accuracy and so on, and no such panel.

    Args:
        rows: one mapping an epoch, the lines of `metrics.jsonl`: `epoch` counted from 0 (shown from 1),
            `train_loss`, `val_loss`, `val_map`, `val_accuracy`, `val_precision`, `val_recall`, `val_of1`, `lr`; a value
            may be missing or None.
        title: above the figure.

    Raises:
        UserError: `rows` is empty.
    """
    if not rows:
        raise UserError("No epoch has been finished yet, so there are no training curves to draw.")
    epochs = [int(row["epoch"]) + 1 for row in rows]
    series = {
        name: np.array([np.nan if row.get(name) is None else float(row[name]) for row in rows])
        for name in ("train_loss", "val_loss", "val_map", *_DECIDED, "lr")
    }
    decided = any(not np.isnan(series[name]).all() for name in _DECIDED)
    with figure_style():
        figure = new_figure(7.8 if decided else 5.6)
        heights = [4, 4, 4, 1.3] if decided else [4, 4, 1.3]
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        loss, quality, rate = panels[0], panels[1], panels[-1]
        if decided:
            _decisions(panels[2], epochs, series)
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
            for axes in panels:
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
        for axes in panels:
            axes.grid(axis="y")
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        loss.legend(loc="upper right")
        loss.set_title(visible_lines(title))
    return figure


def _decisions(axes: Axes, epochs: Sequence[int], series: Mapping[str, Any]) -> None:
    """What the papers plot by epoch, in one panel."""
    for name, (label, colour, marker) in _DECIDED.items():
        _curve(axes, epochs, series[name], colour, label, marker)
    axes.set_ylabel("validation")
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left", ncols=len(_DECIDED))


def _curve(axes: Axes, epochs: Sequence[int], values: Any, colour: str, label: str, marker: str) -> None:
    # Markers tell the curves apart without colour; many epochs get few of them.
    every = max(1, len(epochs) // 12)
    axes.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=4.5, markevery=every, label=label)
