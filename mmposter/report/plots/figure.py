"""A figure that a notebook shows. Imports matplotlib, so import it where a figure is drawn."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A matplotlib figure without pyplot, with an Agg canvas of its own; a notebook shows it where a cell ends with it.

    Args:
        settings: as of `matplotlib.figure.Figure`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        """How a notebook shows it; where pyplot's inline backend is on, that comes first."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()
