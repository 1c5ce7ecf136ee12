"""What perception returns: objects and lines of text, in coordinates that no resize can change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found on one poster; valid when nothing was found (N = 0).

    Attributes:
        boxes: N x 4, left, top, right, bottom (xyxy), each in 0-1 of the original poster's width and height.
        scores: N, the detector's confidence in 0-1.
        labels: N, indices into `class_names`.
        class_names: all the names the detector knows, in its own order.

    Raises:
        ValueError: where shapes disagree, a label has no name, or a coordinate lies outside 0-1.
    """

    boxes: Floats
    scores: Floats
    labels: Ints
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.scores)
        _check("boxes", self.boxes, (count, 4))
        _check("scores", self.scores, (count,))
        _check("labels", self.labels, (count,))
        _check_unit("boxes", self.boxes)
        if count and (self.labels.min() < 0 or self.labels.max() >= len(self.class_names)):
            raise ValueError(
                f"labels must index the {len(self.class_names)} class names; got {sorted(set(self.labels.tolist()))}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, class_names: tuple[str, ...]) -> Self:
        """The record of a poster on which nothing was found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), class_names)


@dataclass(frozen=True, eq=False)
class TextLines:
    """The lines of text read on one poster; valid when nothing was read (T = 0).

    Attributes:
        quads: T x 4 x 2, corners (x, y) from the line's own top left clockwise, each in 0-1 of the original poster.
        texts: T strings as read, errors included.
        confidences: T, the reader's confidence in 0-1.

    Raises:
        ValueError: where shapes disagree or a coordinate lies outside 0-1.
    """

    quads: Floats
    texts: tuple[str, ...]
    confidences: Floats

    def __post_init__(self) -> None:
        count = len(self.texts)
        _check("quads", self.quads, (count, 4, 2))
        _check("confidences", self.confidences, (count,))
        _check_unit("quads", self.quads)

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def empty(cls) -> Self:
        """The record of a poster without readable text."""
        return cls(np.zeros((0, 4, 2), np.float32), (), np.zeros(0, np.float32))


def _check(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {array.shape}")


def _check_unit(name: str, array: Floats) -> None:
    if array.size and not (np.isfinite(array).all() and array.min() >= 0.0 and array.max() <= 1.0):
        raise ValueError(f"{name} must lie in 0-1 of the poster; got {float(array.min())} to {float(array.max())}")
