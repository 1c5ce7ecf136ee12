"""A matrix of shares, shaded, with a text in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.report.plots.style import INK
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_matrix(axes: Axes, shares: FloatArray, names: Sequence[str], *, fontsize: float, line: float = 0) -> None:
    """Shade every cell by its share, the first row on top, and name the columns; `line` wide lines part the cells."""
    height, width = shares.shape
    edges: dict[str, Any] = {"edgecolors": "#E3E8EE", "linewidth": line} if line else {}
    # A mesh stays vectors in SVG, where an image would become an embedded PNG.
    axes.pcolormesh(np.arange(width + 1), np.arange(height + 1), shares, cmap="Blues", vmin=0, vmax=1, **edges)
    axes.set_ylim(height, 0)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(width) + 0.5, [visible_lines(name) for name in names], rotation=90, fontsize=fontsize)


def write_cells(
    axes: Axes, shares: FloatArray, texts: NDArray[Any], *, fontsize: float, bold: BoolArray | None = None
) -> None:
    """A text in every cell, white where the cell is dark."""
    for (y, x), text in np.ndenumerate(texts):
        if not text:
            continue
        colour, weight = "white" if shares[y, x] > 0.6 else INK, "bold" if bold is not None and bold[y, x] else "normal"
        style: dict[str, Any] = {"fontsize": fontsize, "fontweight": weight, "color": colour}
        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", **style)
