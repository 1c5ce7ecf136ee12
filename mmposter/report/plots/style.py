"""How every figure looks.

No pyplot: a `Figure` with its own Agg canvas leaves the caller's backend and settings alone and needs no display. A
notebook shows such a figure only where pyplot was imported; `ShownFigure` shows itself.
Colours are Okabe and Ito's, distinct for colour-blind readers; what matters is also told apart by shape or place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#999999", "#333333"
WIDTH = 9.0  # inches; with DPI 100 a figure is 900 pixels wide
DPI = 100


@contextmanager
def figure_style() -> Iterator[None]:
    """Our settings of matplotlib, for the time of the block."""
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
        "axes.axisbelow": True,
        "grid.color": GREY,
        "grid.alpha": 0.3,
        "grid.linewidth": 0.7,
        "legend.frameon": False,
        "text.parse_math": False,  # a dollar sign in a name starts no formula
    }
    with mpl.rc_context(settings):
        yield


def new_figure(height: float) -> Figure:
    """An empty white figure, 900 pixels wide and `height` inches high; call it inside `figure_style`."""
    from mmposter.report.plots.figure import ShownFigure

    return ShownFigure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")


def save_png(figure: Figure, path: Path, *, software: str | None = None) -> None:
    """Write a figure as a PNG file, atomically; `software` is what the file says that it was made with."""
    from mmposter.files.atomic import atomic_path

    with atomic_path(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=figure.dpi, metadata=None if software is None else {"Software": software}
        )
