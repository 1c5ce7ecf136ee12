"""One column of a table on disk: an array as numpy writes it (``.npy``), with a checksum for each of its blocks.

Rows are appended once, in their order, so writing is one sequential pass. They are read by mapping the file, or block
by block (see `mmposter.features.windowed`).
"""

from __future__ import annotations

import io
import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mmposter.files.strict_json import mapping, shown, whole

BLOCK_BYTES = 128 * 1024
"""What is read, and checked, at a time. A row that is longer is a block of its own."""
_TYPES = ("<f2", "<f4", "<f8", "<i4", "<i8", "|u1", "|b1")
_MOST_AXES, _WIDEST = 8, 1 << 31


@dataclass(frozen=True)
class Column:
    """An array of R rows on disk.

    Attributes:
        file: where it lies, ``.npy``; None: it is in memory, in `data`.
        dtype: as numpy spells it, such as ``<f4``.
        width: shape of a row.
        rows: R.
        checksums: CRC-32 of each block of `block_rows` rows.
    """

    file: Path | None
    dtype: str
    width: tuple[int, ...]
    rows: int
    checksums: NDArray[np.uint32]
    data: NDArray[Any] | None = None

    # Kept, as they are asked for with each block that is read.
    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.width, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @cached_property
    def block_rows(self) -> int:
        """Rows of a block; the last one may have fewer."""
        return block_rows(self.row_bytes)

    def to_json(self) -> dict[str, Any]:
        """All but the place and the checksums."""
        return {"dtype": self.dtype, "width": list(self.width), "rows": self.rows}

    @classmethod
    def from_json(cls, file: Path, said: Any, checksums: NDArray[np.uint32]) -> Column:
        """A column that is on disk.

        Raises:
            ValueError, KeyError: it is none, or the file is not as long as it must be.
        """
        facts = mapping(said, "a column")
        dtype = str(facts["dtype"])
        if dtype not in _TYPES:
            raise ValueError(f"a column has the type {shown(dtype)}")
        axes = facts["width"]
        if not isinstance(axes, list) or len(axes) > _MOST_AXES:
            raise ValueError("a column has no shape")
        width = tuple(whole(axis, "an axis") for axis in axes)
        column = cls(file, dtype, width, whole(facts["rows"], "rows", least=0), checksums)
        if column.row_bytes > _WIDEST:
            raise ValueError("a row is absurdly wide")
        if len(checksums) != -(-column.rows // column.block_rows):
            raise ValueError("there are not as many checksums as blocks")
        if file.stat().st_size != column._start + column.rows * column.row_bytes:
            raise ValueError(f"{file.name} is not as long as it was")
        return column

    @cached_property
    def _start(self) -> int:
        return len(_header(self.dtype, self.width, self.rows))

    def mapped(self) -> NDArray[Any]:
        """The whole array; what is on disk is mapped, not read. (A private map: nothing can be changed through it.)"""
        if self.data is not None:
            return self.data
        assert self.file is not None
        if not self.rows:
            return np.zeros((0, *self.width), self.dtype)
        return np.memmap(self.file, self.dtype, "c", self._start, (self.rows, *self.width))

    def read_block(self, stream: IO[bytes], number: int, into: NDArray[Any]) -> int:
        """Read a block into the first rows of an array; how many rows it has.

        Raises:
            ValueError: its bytes are not those that were written.
        """
        first = number * self.block_rows
        count = min(self.block_rows, self.rows - first)
        target = _bytes(into[:count])
        # At its place, without a seek: loaders that are forked share the position of an open file.
        if os.preadv(stream.fileno(), [target], self._start + first * self.row_bytes) != len(target):
            raise ValueError("it ends too soon")
        self.check(number, target)
        return count

    def check(self, number: int, data: Any) -> None:
        """Compare the bytes of a block with its checksum (ValueError: they differ)."""
        if zlib.crc32(data) != self.checksums[number]:
            raise ValueError("its bytes are not those that were written: the checksum differs")

    def check_all(self) -> None:
        """Compare every block (ValueError: one differs)."""
        if self.file is None or not self.row_bytes:
            return
        flat = self.mapped().reshape(-1).view(np.uint8)
        step = self.block_rows * self.row_bytes
        for number in range(len(self.checksums)):
            self.check(number, flat[number * step : (number + 1) * step])


class ColumnWriter:
    """Appends rows to a column.

    Args:
        file: that is written; None keeps the column in memory.
        like: rows of the type and shape that all have.
    """

    def __init__(self, file: Path | None, like: NDArray[Any]) -> None:
        self._file, self._dtype, self._width = file, np.dtype(like.dtype).newbyteorder("<").str, like.shape[1:]
        self._stream: IO[bytes] = io.BytesIO() if file is None else file.open("wb")
        self._stream.write(_header(self._dtype, self._width, 0))
        self._rows, self._sums, self._sum, self._filled = 0, list[int](), 0, 0
        self._block = block_rows(int(np.prod(self._width, dtype=np.int64)) * like.dtype.itemsize)

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows behind those that are there.

        Raises:
            ValueError: they have another shape or type.
        """
        if rows.shape[1:] != self._width or np.dtype(rows.dtype).newbyteorder("<").str != self._dtype:
            raise ValueError(f"records of {rows.dtype} {rows.shape[1:]} among those of {self._dtype} {self._width}")
        rows = np.ascontiguousarray(rows)
        self._stream.write(_bytes(rows))
        self._rows += len(rows)
        at = 0
        while at < len(rows):
            part = rows[at : at + self._block - self._filled]
            self._sum = zlib.crc32(_bytes(part), self._sum)
            self._filled += len(part)
            at += len(part)
            if self._filled == self._block:
                self._end_block()

    def finish(self) -> Column:
        """The column as it is now; nothing can be added any more."""
        if self._filled:
            self._end_block()
        sums = np.array(self._sums, np.uint32)
        header = _header(self._dtype, self._width, self._rows)
        if self._file is None:
            data = np.frombuffer(self._stream.getbuffer(), np.uint8)[len(header) :]  # type: ignore[attr-defined]
            array = data.view(self._dtype).reshape(self._rows, *self._width)
            return Column(None, self._dtype, self._width, self._rows, sums, array)
        self._stream.seek(0)
        self._stream.write(header)
        self.close()
        return Column(self._file, self._dtype, self._width, self._rows, sums)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._stream.close()

    def _end_block(self) -> None:
        self._sums.append(self._sum)
        self._sum = self._filled = 0


def block_rows(row_bytes: int) -> int:
    """How many rows of a width are a block, at least one."""
    return max(1, BLOCK_BYTES // max(1, row_bytes))


def _bytes(array: NDArray[Any]) -> memoryview:
    """Those of a contiguous array, not copied; numpy gives no view of none."""
    return memoryview(array.data).cast("B") if array.size else memoryview(b"")


def _header(dtype: str, width: tuple[int, ...], rows: int) -> bytes:
    """What a ``.npy`` file begins with; as long for any number of rows, which is known at the end alone."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": (rows, *width)})
    return stream.getvalue()
