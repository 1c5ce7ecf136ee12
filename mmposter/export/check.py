"""Whether an exported file says what `mmposter predict` says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmposter.export.formats import Runner
from mmposter.inference.classifier import GenrePredictor

TOLERANCE = 1e-4
"""The largest difference of a probability that a file may have."""

# Height and width in pixels: smaller and larger than any network takes, wide, tall, odd, and most in between.
_SIZES = ((32, 32), (40, 257), (301, 45), (72, 48), (150, 101), (268, 182), (444, 300), (641, 449), (960, 640))


def check_pictures(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Pictures that need no data: noise of many sizes, a gradient, black, white and grey; the same ones each time.

    Args:
        size: of the network's own images, which are not resized.
    """
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in (*_SIZES, size)]
    rows, columns = np.mgrid[0:180, 0:120]
    gradient = np.stack([rows + columns, 255 - rows, 2 * columns], axis=2).clip(0, 255).astype(np.uint8)
    flat = [np.full((120, 80, 3), level, np.uint8) for level in (0, 128, 255)]
    return [*noise, gradient, *flat]


def largest_difference(
    runner: Runner, classifier: GenrePredictor, pictures: Sequence[NDArray[np.uint8]]
) -> tuple[float, NDArray[np.uint8]]:
    """The largest difference of a probability between a file and the run that it was made of.

    Args:
        runner: the opened file.
        classifier: the run, looking through the same branches.
        pictures: H x W x 3, uint8, RGB, 32 pixels a side or more.

    Returns:
        the difference (NaN if a probability is none), and the picture that has it.
    """
    expected = classifier.predict(pictures)
    found = []
    for picture, prediction in zip(pictures, expected, strict=True):
        scores = np.array([prediction.scores[genre] for genre in classifier.genres])
        found.append(float(np.abs(runner(picture) - scores).max()))
    worst = int(np.argmax(found))  # the first NaN, if there is one
    return found[worst], pictures[worst]
