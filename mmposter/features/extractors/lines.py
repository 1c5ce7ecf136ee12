"""Lines of text as records keep them, and the order in which they are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def encode_lines(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Lines as one array of bytes, as a store of arrays wants it; a newline inside a line becomes a space."""
    joined = "\n".join(" ".join(text.split()) for text in texts)
    return np.frombuffer(joined.encode("utf-8"), dtype=np.uint8)


def decode_lines(array: NDArray[np.uint8], count: int) -> list[str]:
    """The inverse of `encode_lines`; `count` tells no line from one empty line."""
    return array.tobytes().decode("utf-8").split("\n") if count else []


def reading_order(boxes: NDArray[np.float32]) -> list[int]:
    """Indices of boxes T x 4 (xyxy) row by row, each row from left to right.

    A box belongs to a row if its middle lies within the height of the row's first box: words of one line, as they are
    read, differ by a pixel or two in height.
    """
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    rows: list[list[int]] = []
    for index in np.argsort(middle, kind="stable").tolist():
        if rows and middle[index] < boxes[rows[-1][0], 3]:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [index for row in rows for index in sorted(row, key=lambda index: boxes[index, 0])]
