"""One look at every file: checksum, full decode, size, perceptual hash and sketch."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd

from mmposter.data.cleaning import Cut, cut
from mmposter.data.likeness import Sketches, sketch
from mmposter.errors import BadImageError
from mmposter.images.reading import MIN_SIDE, load_image, read_poster
from mmposter.progress import progress


@dataclass(frozen=True)
class Inspection:
    """What one file is. `reason` is None for a good picture; otherwise the sizes and the hash are 0."""

    sha256: str = ""
    width: int = 0  # pixels, of the upright picture
    height: int = 0
    phash: int = 0  # 64 bits
    sketch: Sketches | None = None
    reason: str | None = None
    message: str = ""


def inspect_file(path: str | Path, *, min_side: int = MIN_SIDE) -> Inspection:
    """Read and decode one file to its end. A bad one gives an `Inspection` with a reason, never an exception.

    The perceptual hash is `imagehash.phash` (64 bits: signs of the 8 x 8 lowest DCT coefficients of the picture shrunk
    to 32 x 32 grey, against their median).
    """
    sha256 = ""
    try:
        data = read_poster(path)
        sha256 = hashlib.sha256(data).hexdigest()
        image = load_image(data, min_side=min_side)
    except BadImageError as error:
        return Inspection(sha256=sha256, reason=error.reason, message=str(error))
    bits = np.packbits(imagehash.phash(image).hash.reshape(-1))
    return Inspection(sha256, image.width, image.height, int.from_bytes(bits.tobytes(), "big"), sketch(image))


def inspect_posters(
    table: pd.DataFrame, *, min_side: int = MIN_SIDE, workers: int | None = None, quiet: bool = False
) -> Cut:
    """Add sha256, width, height, phash and sketch to `table`; drop what is no picture, for a reason of `BadImageError`.

    Threads are enough: Pillow decodes and resizes, and hashlib hashes, without the interpreter's lock.

    Args:
        table: has the columns id and path.
        min_side: shorter sides below this many pixels are ``too_small``.
        workers: threads; None for one a usable core.
    """
    paths = [str(path) for path in table["path"]]
    results: list[Inspection] = []
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        with progress("reading posters", len(paths), quiet=quiet) as ticker:
            for result in pool.map(lambda path: inspect_file(path, min_side=min_side), paths):
                results.append(result)
                ticker.advance()
    finally:
        # After an interrupt the posters that still wait are not read.
        pool.shutdown(cancel_futures=True)
    table = table.assign(
        sha256=[result.sha256 for result in results],
        width=np.array([result.width for result in results], dtype=np.int32),
        height=np.array([result.height for result in results], dtype=np.int32),
        phash=np.array([result.phash for result in results], dtype=np.uint64),
        sketch=pd.Series([result.sketch for result in results], dtype=object),
    )
    bad = [result for result in results if result.reason is not None]
    return cut(
        table,
        [result.reason is not None for result in results],
        [str(result.reason) for result in bad],
        [result.message for result in bad],
    )
