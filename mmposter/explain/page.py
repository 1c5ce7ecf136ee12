"""The page that a card is drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmposter.report.plots.style import DPI
from mmposter.visible import visible, visible_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

WIDTH = 12.0
"""Inches: 1200 pixels."""


class CardPage:
    """An empty white figure, `height` inches high, on which places are inches from the upper left corner."""

    def __init__(self, height: float) -> None:
        from mmposter.report.plots.figure import ShownFigure

        self.height = height
        self.figure = ShownFigure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")

    def rule(self, left: float, right: float, top: float) -> None:
        """A faint line from left to right."""
        from matplotlib.lines import Line2D

        y = 1 - top / self.height
        self.figure.add_artist(Line2D([left / WIDTH, right / WIDTH], [y, y], color="#DDDDDD", linewidth=0.8))

    def axes(self, left: float, top: float, width: float, height: float, *, bare: bool = True) -> Axes:
        """Axes at a place; `bare` without frame and ticks."""
        bottom = self.height - top - height
        axes = self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))
        if bare:
            axes.set_axis_off()
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> Text:
        """Text whose upper edge is at `top`; shown as it is, a dollar sign in it starts no formula."""
        return self.figure.text(
            left / WIDTH, 1 - top / self.height, visible_lines(text), **{"va": "top", "parse_math": False, **style}
        )

    def fitted(self, left: float, top: float, text: str, width: float, around: str = "", **style: Any) -> None:
        """Text in one line that is cut to fit into `width`; `around` it two signs, such as quotes, which stay."""
        first, last = around[:1], around[1:]
        plain = visible(" ".join(text.split()))
        drawn = self.text(left, top, f"{first}{plain}{last}", **style)
        while len(plain) > 1 and drawn.get_window_extent().width > width * DPI:
            plain = plain[:-1].rstrip()
            drawn.set_text(f"{first}{plain}…{last}")
