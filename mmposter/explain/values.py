"""What an explanation holds; all of it plain values, but for the small picture that the card is drawn on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmposter.branches import declarations
from mmposter.branches.ocr import NAME as OCR
from mmposter.branches.yolo import NAME as YOLO
from mmposter.similarity.neighbours import Neighbour

Scale = Literal["calibrated", "raw"]

_DIGITS = 3  # of a heat map in JSON


@dataclass(frozen=True)
class Item:
    """An object, or a line of text, that the model saw on the poster.

    Attributes:
        branch: that saw it: ``yolo`` (an object), ``ocr`` (a line of text), or one from outside.
        label: the object's class, or the text as it was read.
        confidence: of the detector or the reader, in 0-1.
        box: left, top, right, bottom in 0-1 of the poster; of a slanted line the box around it.
        contribution: the genre's logit with all that is on the poster minus its logit without this one. Where the text
            encoder computes in bf16, what is below 0.01 for a line may be rounding.
    """

    branch: str
    label: str
    confidence: float
    box: tuple[float, float, float, float]
    contribution: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = asdict(self) | {"box": [round(side, 4) for side in self.box]}
        return plain | {"confidence": round(self.confidence, 4), "contribution": round(self.contribution, 6)}


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where on the poster a branch found what speaks for a genre (Grad-CAM, Selvaraju et al. 2017, arXiv 1610.02391).

    Attributes:
        values: h x w in 0-1, as small as the network's own map; all 0 where nothing speaks for the genre.
        maximum: what 1 stands for, the largest value before the map was divided by it. It can be compared between the
            genres of one poster and branch, not between networks. 0 where nothing speaks for the genre.
    """

    values: NDArray[np.float32]
    maximum: float

    @classmethod
    def of(cls, strengths: NDArray[np.floating[Any]]) -> HeatMap:
        """From the map as it was computed, h x w, 0 or more."""
        maximum = float(strengths.max())
        values = strengths / maximum if maximum > 0 else np.zeros_like(strengths)
        return cls(values.astype(np.float32), maximum)

    def resized(self, width: int, height: int) -> NDArray[np.float32]:
        """The map over a poster of this size: height x width in 0-1."""
        small = Image.fromarray(self.values)
        # Bicubic would overshoot below 0, and show edges where there are none.
        return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``values`` as lists of rows."""
        rows = [[round(float(value), _DIGITS) for value in row] for row in self.values]
        return {"maximum": self.maximum, "values": rows}


@dataclass(frozen=True, eq=False)
class GenreExplanation:
    """Why a genre has the probability that it has.

    All logits are those of the probability that is shown: probability = sigmoid(logit). A calibrated run maps the
    model's own logits to them by slope * logit + offset of the genre, fitted for the branches that are looked through;
    here the same map is applied to the logit of every subset of them. A run that gives each poster one genre (softmax)
    has no logit of one probability: there the model's own logits are explained.

    Attributes:
        genre: its name.
        probability: as `PosterClassifier.predict` gives it.
        threshold: from which the genre is given; None where the surest genre alone is.
        chosen: whether it is given.
        logit: of the poster.
        empty_logit: of a poster of which no branch is looked at; None for a network without fusion, which cannot do
            that.
        shares: of each branch; their sum is `logit` - `empty_logit`. These are Shapley values: what a branch adds, mean
            over all orders in which the branches may come in. Empty for a network without fusion.
        heat_maps: of ``cnn`` and ``style``, where they are looked through; None where the network has no map of places.
        items: objects and lines, the one with the largest contribution of either sign first.
    """

    genre: str
    probability: float
    threshold: float | None
    chosen: bool
    logit: float
    empty_logit: float | None
    shares: Mapping[str, float]
    heat_maps: Mapping[str, HeatMap | None]
    items: tuple[Item, ...]

    @property
    def objects(self) -> tuple[Item, ...]:
        """The items that are objects."""
        return tuple(item for item in self.items if item.branch == YOLO)

    @property
    def words(self) -> tuple[Item, ...]:
        """The items that are lines of text."""
        return tuple(item for item in self.items if item.branch == OCR)

    def to_json(self, *, heat_maps: bool = True) -> dict[str, Any]:
        """Plain values; see `Explanation.to_json`."""
        found: dict[str, Any] = {
            "genre": self.genre,
            "probability": round(self.probability, 6),
            "threshold": self.threshold,
            "chosen": self.chosen,
            "logit": round(self.logit, 6),
            "empty_logit": None if self.empty_logit is None else round(self.empty_logit, 6),
            "shares": {branch: round(share, 6) + 0.0 for branch, share in self.shares.items()},
        }
        if heat_maps:
            found["heat_maps"] = {name: None if m is None else m.to_json() for name, m in self.heat_maps.items()}
        titles = {name: one.items_title for name, one in declarations().items() if one.items_title is not None}
        return found | {t: [i.to_json() for i in self.items if i.branch == b] for b, t in titles.items()}


@dataclass(frozen=True, eq=False)
class ExplainedPoster:
    """Why the model says what it says of one poster."""

    path: str | None  # where the poster came from; None for a picture that was given as such
    # Those that are explained, the surest first; empty where the poster could not be used.
    genres: tuple[GenreExplanation, ...] = ()
    # Every genre's probability; empty where the poster could not be used.
    scores: Mapping[str, float] = field(default_factory=dict)
    branches: tuple[str, ...] = ()  # that were looked through
    scale: Scale = "raw"  # whether logits are ``calibrated`` or the model's own (``raw``)
    notes: tuple[str, ...] = ()  # what could not be explained, and why
    error: str | None = None  # what was wrong with the poster or with one of its branches; None if nothing was
    picture: Image.Image | None = field(default=None, repr=False)  # the poster, made small
    vector: NDArray[np.float32] | None = field(default=None, repr=False)  # as `PosterClassifier.embed` gives it
    nearest: tuple[Neighbour, ...] | None = None  # of the films that it was compared with; None where there were none

    @property
    def name(self) -> str:
        """The file's name without its ending; ``untitled`` for a picture that came without a path."""
        return "untitled" if self.path is None else Path(self.path).stem

    def to_json(self, *, heat_maps: bool = True) -> dict[str, Any]:
        """Plain values, without the picture.

        Args:
            heat_maps: leave them out with False; they are most of the text.
        """
        near = {} if self.nearest is None else {"nearest": [one.to_json() for one in self.nearest]}
        return {
            "path": self.path,
            "error": self.error,
            "branches": list(self.branches),
            "scale": self.scale,
            "notes": list(self.notes),
            "scores": {genre: round(score, 6) for genre, score in self.scores.items()},
            "genres": [genre.to_json(heat_maps=heat_maps) for genre in self.genres],
            **near,
        }
