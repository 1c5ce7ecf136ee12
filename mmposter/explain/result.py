"""What `PosterClassifier.explain` gives: the values of an explanation, and their card."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmposter.explain.card import draw_card
from mmposter.explain.values import ExplainedPoster
from mmposter.visible import visible_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Explanation(ExplainedPoster):
    """Why the model says what it says of one poster, and the card that shows it."""

    def card(self) -> Figure:
        """All of it on one page; `Figure.savefig` writes it.

        Raises:
            ValueError: there is no poster to draw, because it could not be used.
        """
        return draw_card(self)

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        if self.picture is None:
            return f"<p><b>{visible_html(self.name)}</b>: {visible_html(self.error or '')}</p>"
        buffer = io.BytesIO()
        self.card().savefig(buffer, format="png")
        data = base64.b64encode(buffer.getvalue()).decode()
        alt = visible_html(f"{self.name}: {', '.join(genre.genre for genre in self.genres) or 'no genre'}")
        return f'<img style="max-width: 100%" alt="{alt}" src="data:image/png;base64,{data}">'
