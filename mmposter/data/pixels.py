"""Posters decoded once at one size and mapped from disk: many passes over them, and many processes, share one copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmposter.data.dataset import Dataset
from mmposter.data.row_arrays import RowArrays
from mmposter.engines.machine import cores
from mmposter.errors import BadImageError
from mmposter.images.reading import crop_image, load_image
from mmposter.progress import warn
from mmposter.visible import visible

_PIXELS, _USABLE = "pixels-", "usable"
_PART = 64  # posters decoded between two looks at the clock


@dataclass(frozen=True)
class Resized:
    """How a decoded poster becomes one of the rows."""

    size: tuple[int, int]  # height and width in pixels
    resize: Callable[[Image.Image], NDArray[np.uint8]]  # gives height x width x 3


@dataclass(frozen=True, eq=False)
class DecodedPosters:
    """N posters, read-only; no more of them is in memory than the system finds room for."""

    pixels: Mapping[str, NDArray[np.uint8]]  # by the name of a `Resized`, N x H x W x 3
    usable: NDArray[np.bool_]  # N; one that could not be read is black


def decode_posters(
    dataset: Dataset,
    rows: Sequence[int] | NDArray[np.int64],
    made: Mapping[str, Resized],
    folder: Path,
    name: str,
    *,
    threads: int | None = None,
    quiet: bool = False,
) -> DecodedPosters:
    """Decode what is not in `folder` yet; stopped at any moment, the same call goes on.

    Posters that cannot be read are named and left out. Of a data set with crops each row is its part of the picture.

    Args:
        rows: N rows of the data set.
        made: what is made of each poster, by a name for its file.
        folder: for these posters, in this order, alone.
        name: of the posters together; begins the files' names.
        threads: that decode; None: one a core.
    """
    shapes = {_PIXELS + key: ((*one.size, 3), np.dtype(np.uint8)) for key, one in made.items()}
    arrays = RowArrays(folder, name, {**shapes, _USABLE: ((), np.dtype(bool))}, len(rows))
    crops = dataset.crops

    def decode(row: int) -> dict[str, NDArray[np.uint8]] | BadImageError:
        try:
            poster = load_image(dataset.image_path(row))
            crop = None if crops is None else crops[row]
            poster = poster if crop is None else crop_image(poster, crop)
        except BadImageError as error:
            return error
        return {key: one.resize(poster) for key, one in made.items()}

    def part(numbers: range) -> dict[str, NDArray[Any]]:
        usable = np.zeros(len(numbers), bool)
        pixels = {key: np.zeros((len(numbers), *one.size, 3), np.uint8) for key, one in made.items()}
        here = [int(rows[number]) for number in numbers]
        for place, found in enumerate(pool.map(decode, here)):
            if isinstance(found, BadImageError):
                warn(visible(f"left out: {dataset.table['id'].iloc[here[place]]}: {found.reason} ({found})"))
                continue
            usable[place] = True
            for key, values in found.items():
                pixels[key][place] = values
        return {_USABLE: usable, **{_PIXELS + key: values for key, values in pixels.items()}}

    with ThreadPoolExecutor(threads or cores(), "decode") as pool:
        arrays.fill(part, _PART, title="posters", quiet=quiet)
    return DecodedPosters({key: arrays.load(_PIXELS + key) for key in made}, np.array(arrays.load(_USABLE)))
