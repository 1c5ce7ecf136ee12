"""Why a run says what it says of a poster: shares of the branches, heat maps, and the objects and words that counted.

The way in is `PosterClassifier.explain`; these are the objects that it gives.
"""

from __future__ import annotations

from mmposter.explain.result import Explanation
from mmposter.explain.values import GenreExplanation, HeatMap, Item

__all__ = ["Explanation", "GenreExplanation", "HeatMap", "Item"]
