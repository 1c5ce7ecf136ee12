"""Arrays on disk that are filled row by row; stopped at any moment, the filling goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.files.atomic import write_json
from mmposter.files.disk import naming
from mmposter.files.strict_json import mapping, read_json, sound, whole
from mmposter.progress import progress

_KEEP_EVERY_S = 10.0
_MEND = "remove the folder that it lies in; it is made again"


class RowArrays:
    """A few arrays of N rows each in ``.npy`` files.

    How many rows are whole stands in a JSON file beside them, written after the rows are on disk; what lies behind is
    computed again.

    Args:
        name: of the arrays together; begins the files' names.
        arrays: shape of a row and type, by the array's name.
        count: N.
    """

    def __init__(
        self, folder: Path, name: str, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], count: int
    ) -> None:
        self.folder, self.name, self.arrays, self.count = folder, name, dict(arrays), count

    @property
    def filled(self) -> bool:
        """Whether all rows are there."""
        return self._done() == self.count

    def fill(
        self, compute: Callable[[range], Mapping[str, NDArray[Any]]], part: int, *, title: str, quiet: bool = False
    ) -> None:
        """Compute the rows that are not there.

        Args:
            compute: of some rows, by number, those of every array.
            part: how many rows at a time.
        """
        done = self._done()
        if done == self.count:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not done:
            self._reserve()
        files = {
            key: np.lib.format.open_memmap(self._file(key), mode="r+", dtype=dtype, shape=(self.count, *shape))
            for key, (shape, dtype) in self.arrays.items()
        }
        kept = time.monotonic()
        with progress(title, self.count, done=done, quiet=quiet) as ticker:
            for start in range(done, self.count, part):
                rows = range(start, min(start + part, self.count))
                for key, values in compute(rows).items():
                    files[key][rows.start : rows.stop] = values
                ticker.advance(len(rows))
                if rows.stop == self.count or time.monotonic() - kept > _KEEP_EVERY_S:
                    for key, file in files.items():
                        with naming(self._file(key)):
                            file.flush()
                    write_json(self._marker, {"rows": rows.stop})
                    kept = time.monotonic()

    def load(self, key: str) -> NDArray[Any]:
        """One of the arrays, mapped from its file, read-only."""
        path, (shape, dtype) = self._file(key), self.arrays[key]
        with sound(path, _MEND):
            values: NDArray[Any] = np.load(path, mmap_mode="r")
            if values.shape != (self.count, *shape) or values.dtype != dtype:
                raise ValueError(f"it holds {values.dtype} {values.shape}")
            return values

    def _reserve(self) -> None:
        """Make the files, with all of their space: a disk that gets full under a mapped file kills the process."""
        for key, (shape, dtype) in self.arrays.items():
            path = self._file(key)
            with naming(path):
                made = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(self.count, *shape))
                del made
                if hasattr(os, "posix_fallocate"):
                    with path.open("r+b") as file:
                        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    @property
    def _marker(self) -> Path:
        return self.folder / f"{self.name}.json"

    def _file(self, key: str) -> Path:
        return self.folder / f"{self.name}.{key}.npy"

    def _done(self) -> int:
        if not self._marker.is_file():
            return 0
        with sound(self._marker, _MEND):
            return whole(mapping(read_json(self._marker), "it")["rows"], "rows", most=self.count)
