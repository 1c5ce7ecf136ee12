"""Where the record of each picture lies: sorted arrays, which find a part's pictures among millions at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmposter.files.strict_parquet import ParquetError

SCHEMA = pa.schema(
    [
        ("sha256", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("crc32", pa.uint32()),  # of the shard's file; null in a store of an earlier mmposter
    ]
)
ADDED = ("crc32",)
"""Columns that index files of earlier versions do not have."""
_SHA256, _SHARD_NAME = r"^[0-9a-f]{64}$", r"^[0-9A-Za-z_-]{1,64}$"  # a shard's name becomes a file's
_KEY = np.dtype("S64")  # a SHA-256 in hex
_NO_SHARD = -1


@dataclass(frozen=True)
class Failure:
    """Why an extractor has no record of a picture."""

    reason: str
    message: str


Place: TypeAlias = tuple[str, int]
"""The shard that holds a record, and the record's row in it."""


class Index:
    """The rows of a store's index files, by picture.

    Of two rows of one picture the one from the file that comes first in name order counts.

    Attributes:
        files: names of the index files whose rows are here.
    """

    def __init__(self) -> None:
        self.files: frozenset[str] = frozenset()
        self._names: list[str] = []  # of the files, then of the shards: what the codes below stand for
        self._shards: list[str] = []
        self._keys = np.zeros(0, _KEY)  # sorted
        self._short = np.zeros(0, np.uint64)  # the beginning of each key, as a number: found ten times as fast
        self._file = np.zeros(0, np.int32)
        self._shard = np.zeros(0, np.int32)
        self._row = np.zeros(0, np.int32)
        self._failures: dict[tuple[str, str], Failure] = {}  # by file and picture
        self._checksums: dict[str, int] = {}  # by shard, where a file says it; a shard never changes

    def update(self, names: Set[str], tables: Mapping[str, pa.Table]) -> None:
        """Forget the files that are not among `names` any more, and add the rows of new ones."""
        kept = np.array([name in names for name in self._names], bool)[self._file]
        columns = [[self._keys[kept]], [self._file[kept]], [self._shard[kept]], [self._row[kept]]]
        self._failures = {key: failure for key, failure in self._failures.items() if key[0] in names}
        shards = {name: code for code, name in enumerate(self._shards)}
        for name, table in tables.items():
            columns[0].append(_keys_of(table["sha256"]))
            columns[1].append(np.full(len(table), len(self._names), np.int32))
            columns[2].append(_codes(table["shard"], shards))
            columns[3].append(table["row"].fill_null(0).to_numpy())
            self._checksums.update(_checksums(table))
            for row in table.filter(table["reason"].is_valid()).to_pylist():
                self._failures[name, row["sha256"]] = Failure(row["reason"], row["message"])
            self._names.append(name)
        self._shards = list(shards)
        keys, file, shard, row = (np.concatenate(column) for column in columns)
        rank = np.argsort(np.argsort(np.array(self._names)))
        short = _short(keys)
        order = np.lexsort((rank[file], short))
        ordered = keys[order]
        if (ordered[:-1] > ordered[1:]).any():  # two pictures whose hashes begin alike
            order = np.lexsort((rank[file], keys))
            ordered = keys[order]
        self._keys, self._file, self._shard, self._row = ordered, file[order], shard[order], row[order]
        self._short = short[order]
        self.files = frozenset(names)

    def __len__(self) -> int:
        return len(self._keys)

    def places(self, hashes: Sequence[str] | NDArray[np.bytes_]) -> list[Place | Failure | None]:
        """Where the record of each picture lies, or why there is none; None for a picture that is not here."""
        return [None if at < 0 else self._place(at) for at in self._find(hashes).tolist()]

    def status(
        self, hashes: Sequence[str] | NDArray[np.bytes_], shards: Set[str]
    ) -> tuple[NDArray[np.bool_], dict[int, Failure]]:
        """Which pictures have a record, and why others have none, by position; for many pictures at once.

        A record counts only if its shard is among `shards`.
        """
        found = self._find(hashes)
        there = np.array([*(name in shards for name in self._shards), False], bool)
        shard = np.append(self._shard, _NO_SHARD)[found]  # -1, not here, takes the last
        failed = (found >= 0) & (shard == _NO_SHARD)
        return there[shard], {at: self._failure(int(found[at])) for at in np.flatnonzero(failed).tolist()}

    def checksum(self, shard: str) -> int | None:
        """CRC-32 of a shard's file; None where it was written by an earlier mmposter."""
        return self._checksums.get(shard)

    def hashes(self) -> list[str]:
        """All pictures, each once."""
        return [key.decode("ascii") for key in self._keys[self._first()].tolist()]

    def table(self) -> pa.Table:
        """All that counts here, as one index file."""
        places = [self._place(int(at)) for at in np.flatnonzero(self._first())]
        return index_table(zip(self.hashes(), places, strict=True), self._checksums)

    def _find(self, hashes: Sequence[str] | NDArray[np.bytes_]) -> NDArray[np.int64]:
        """The row of each picture that counts; -1 where there is none."""
        wanted = _keys(hashes)
        if not len(self._keys):
            return np.full(len(wanted), -1)
        short = _short(wanted)
        at = np.minimum(np.searchsorted(self._short, short), len(self._keys) - 1)
        same = self._keys[at] == wanted
        alike = np.flatnonzero((self._short[at] == short) & ~same)
        if len(alike):
            at[alike] = np.minimum(np.searchsorted(self._keys, wanted[alike]), len(self._keys) - 1)
            same[alike] = self._keys[at[alike]] == wanted[alike]
        return np.where(same, at, -1)

    def _first(self) -> NDArray[np.bool_]:
        return np.append(True, self._keys[1:] != self._keys[:-1])[: len(self._keys)]

    def _place(self, at: int) -> Place | Failure:
        shard = int(self._shard[at])
        return self._failure(at) if shard == _NO_SHARD else (self._shards[shard], int(self._row[at]))

    def _failure(self, at: int) -> Failure:
        return self._failures[self._names[self._file[at]], self._keys[at].decode("ascii")]


def index_table(places: Iterable[tuple[str, Place | Failure]], checksums: Mapping[str, int]) -> pa.Table:
    """The rows of an index file: pictures and where their records lie, with the CRC-32 of each shard that has one."""
    rows = [
        {"sha256": sha, "reason": place.reason, "message": place.message}
        if isinstance(place, Failure)
        else {"sha256": sha, "shard": place[0], "row": place[1], "crc32": checksums.get(place[0])}
        for sha, place in places
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def check_rows(table: pa.Table) -> None:
    """Refuse the rows of an index file that mean nothing.

    Raises:
        ParquetError: a hash or the name of a shard that is none, or a row that has neither record nor reason.
    """
    shards, reasons = table["shard"], table["reason"]
    here, failed = shards.is_valid(), pc.and_(reasons.is_valid(), table["message"].is_valid())
    said = pc.if_else(here, pc.greater_equal(table["row"], 0), failed)
    names = pc.if_else(here, pc.match_substring_regex(shards, _SHARD_NAME), True)
    for good in (pc.match_substring_regex(table["sha256"], _SHA256), names, said):
        if not pc.all(pc.fill_null(good, False), min_count=0).as_py():
            raise ParquetError("it has a row of no picture, of no shard, or without a record and a reason")


def _checksums(table: pa.Table) -> dict[str, int]:
    """Of the shards that an index file names; rows of one shard say the same, or nothing in an old file."""
    known = table.select(["shard", "crc32"]).filter(table["crc32"].is_valid())
    pairs = known.group_by(["shard", "crc32"]).aggregate([])
    return dict(zip(pairs["shard"].to_pylist(), pairs["crc32"].to_pylist(), strict=True))


def _keys(hashes: Sequence[str] | NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    return np.asarray(hashes, _KEY) if len(hashes) else np.zeros(0, _KEY)


def _keys_of(hashes: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """A column of SHA-256, each of 64 letters, without an object for each."""
    if not len(hashes):
        return _keys([])
    fixed = hashes.combine_chunks().cast(pa.binary()).cast(pa.binary(_KEY.itemsize))
    return np.frombuffer(fixed.buffers()[1], _KEY)[fixed.offset : fixed.offset + len(fixed)]


def _short(keys: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """The first 64 bits of each SHA-256."""
    if not len(keys):
        return np.zeros(0, np.uint64)
    letters = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), -1)[:, :16]
    digits = (letters & 15) + 9 * (letters >> 6)  # of 0-9 and a-f
    return np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2]).view(">u8")[:, 0].astype(np.uint64)


def _codes(names: pa.ChunkedArray, known: dict[str, int]) -> NDArray[np.int32]:
    """The number of each shard, new ones counted on in `known`; `_NO_SHARD` where there is none."""
    coded = names.combine_chunks().dictionary_encode()
    numbers = [known.setdefault(name, len(known)) for name in coded.dictionary.to_pylist()]
    places: NDArray[np.int32] = pc.fill_null(coded.indices, len(numbers)).to_numpy()
    return np.array([*numbers, _NO_SHARD], np.int32)[places]
