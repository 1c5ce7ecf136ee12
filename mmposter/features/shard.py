"""A shard: the records of one batch in one file, which never changes, with a checksum of its bytes.

Each field of all its records is concatenated along the first axis, beside the places where records begin. Bits that
flip on a disk leave numbers that look like numbers: only the checksum, which stands in the index, shows them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mmposter.files.tensors import file_crc32

Record: TypeAlias = Mapping[str, NDArray[Any]]

SUFFIX = ".safetensors"
_OFFSETS = ".offsets"


class ShardError(ValueError):
    """The file is not what was written."""


class Shard:
    """The records of one file; R records.

    Args:
        fields: by name the arrays of all records, one record after another, and where each one begins (R + 1).

    Raises:
        ShardError: fields without offsets, or offsets that are none.
    """

    def __init__(self, fields: Mapping[str, NDArray[Any]]) -> None:
        self._values = {name: fields[name] for name in sorted(fields) if not name.endswith(_OFFSETS)}
        self._offsets: dict[str, NDArray[np.int64]] = {}
        counts = set()
        for name, values in self._values.items():
            offsets = fields.get(name + _OFFSETS)
            if offsets is None or not values.ndim or not _are_offsets(offsets, len(values)):
                raise ShardError(f"the records of {name} have no places")
            self._offsets[name] = offsets
            counts.add(len(offsets))
        if len(counts) > 1:
            raise ShardError("its fields have different numbers of records")
        self._count = counts.pop() - 1 if counts else 0

    def record(self, row: int) -> dict[str, NDArray[Any]]:
        """The arrays of one record, views of this shard's (ShardError: there is no such row)."""
        if not 0 <= row < self._count:
            raise ShardError(f"it has {self._count} records, and record {row} is asked for")
        return {
            name: values[self._offsets[name][row] : self._offsets[name][row + 1]]
            for name, values in self._values.items()
        }


def write_shard(path: Path, records: Sequence[Record]) -> int:
    """Write a file, and return the CRC-32 of its bytes (ValueError: the records have not the same fields)."""
    data = save(_packed(records))
    path.write_bytes(data)
    return zlib.crc32(data)


def read_shard(path: Path, checksum: int | None) -> Shard:
    """Read what `write_shard` wrote.

    Args:
        checksum: CRC-32 of its bytes; None where it is not known.

    Raises:
        OSError: it cannot be read.
        ShardError: it has another checksum, or is no shard.
    """
    if checksum is not None and file_crc32(path) != checksum:
        raise ShardError("its bytes are not those that were written: the checksum differs")
    try:
        with safe_open(path, framework="numpy") as file:
            return Shard({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise ShardError(str(error) or type(error).__name__) from error


def _packed(records: Sequence[Record]) -> dict[str, NDArray[Any]]:
    fields = list(records[0])
    packed: dict[str, NDArray[Any]] = {}
    for record in records:
        if list(record) != fields:
            raise ValueError(f"all records of a batch must have the fields {fields}; got {list(record)}")
    for field in fields:
        arrays = [np.asarray(record[field]) for record in records]
        packed[field] = np.ascontiguousarray(np.concatenate(arrays))
        packed[field + _OFFSETS] = np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int64)
    return packed


def _are_offsets(offsets: NDArray[Any], end: int) -> bool:
    """Whole numbers that rise from 0 to `end`."""
    if offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
        return False
    return bool(offsets[0] == 0 and offsets[-1] == end and (np.diff(offsets) >= 0).all())
