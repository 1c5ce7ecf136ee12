"""A decoded poster as the extractors get it: its pixels, and what only its file still knows."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmposter.images.jpeg_end import END, START
from mmposter.images.reading import ImageInput, is_upright, load_image, read_poster

_given = threading.Lock()


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded poster."""

    pixels: NDArray[np.uint8]  # H x W x 3, uint8, RGB
    file: bytes | None = None  # the bytes that it was decoded from; None for a picture that was given as such

    def luma(self) -> NDArray[np.uint8] | None:
        """H x W, grey, as a JPEG file holds it; None where the file is none, or must be turned to be upright.

        Decoded RGB does not hold it any more: at strong colours the two differ by up to 20 of 255.
        """
        if self.file is None or not self.file.startswith(START):
            return None
        # With an end marker, should the file lack its own; behind another nobody reads it.
        image = Image.open(io.BytesIO(self.file + END), formats=("JPEG",))
        image.draft("L", None)
        return np.asarray(image) if image.mode == "L" and is_upright(image) else None


def decode_picture(source: ImageInput) -> Picture:
    """Decode in any thread (BadImageError: as `mmposter.images.reading.load_image`)."""
    if isinstance(source, str | Path):
        source = read_poster(source)
    if isinstance(source, bytes):
        return Picture(np.asarray(load_image(source)), source)
    if isinstance(source, Image.Image):
        with _given:  # Pillow's own object may be given twice, and reads from one file
            return Picture(np.asarray(load_image(source)))
    return Picture(np.asarray(load_image(source)))
