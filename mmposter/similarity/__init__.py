"""Which posters are near: an index of fused representations, made once, and exact search in it."""

from __future__ import annotations

from mmposter.similarity.building import build_index
from mmposter.similarity.index import PosterIndex
from mmposter.similarity.neighbours import Neighbour

__all__ = ["Neighbour", "PosterIndex", "build_index"]
