"""How often a probability comes true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mmposter.errors import UserError
from mmposter.evaluation.calibration import Reliability
from mmposter.report.plots.style import BLUE, GREY, INK, ORANGE, figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 20
"""Pairs below which a bin's share is mostly luck, and its mark is left hollow."""


def plot_reliability(curves: Mapping[str, Reliability], title: str = "Reliability") -> Figure:
    """Share of true genres against mean probability, and below it the number of (poster, genre) pairs in each bin.

    Bins with fewer than 20 pairs are drawn hollow.

    Args:
        curves: one or two by name, such as "as trained" and "calibrated".
        title: above the figure.

    Raises:
        UserError: no curve, or more than two.
    """
    if not 1 <= len(curves) <= 2:
        raise UserError(f"A reliability diagram shows one or two curves, got {len(curves)}.")
    with figure_style():
        figure = new_figure(6.4)
        share, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1.3])
        share.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=(0, (4, 2)), label="what it should be")
        for (name, curve), colour, marker in zip(curves.items(), (BLUE, ORANGE), "os", strict=False):
            filled = curve.count > 0
            at, value, number = curve.mean_probability[filled], curve.share[filled], curve.count[filled]
            share.plot(at, value, color=colour, linewidth=1.8, marker=marker, markersize=6, label=name)
            few = number < FEW
            share.plot(
                at[few], value[few], linestyle="", marker=marker, markersize=6, color=colour, markerfacecolor="white"
            )
            edges = np.linspace(0, 1, len(curve.count) + 1)
            # A logarithm, because most pairs lie in the first bins; half a pair is its floor.
            counts.stairs(np.maximum(curve.count, 0.5), edges, color=colour, linewidth=1.8, baseline=0.5)
        share.set_xlim(0, 1)
        share.set_ylim(0, 1)
        share.set_ylabel("share that is true")
        share.legend(loc="upper left")
        share.set_title(visible_lines(title))
        counts.set_yscale("log")
        counts.set_ylim(bottom=0.5)
        counts.set_ylabel("pairs")
        counts.set_xlabel("mean probability of the bin   (hollow: fewer than 20 pairs)", color=INK)
        for axes in (share, counts):
            axes.grid()
    return figure
