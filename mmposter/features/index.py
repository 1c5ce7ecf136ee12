"""Where the record of each picture lies: sorted arrays, which find a part's pictures among millions at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmposter.files.hashes import KEY, beginnings, key_order, keys_of, sha256_keys
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
READ_AS = SCHEMA.set(1, pa.field("shard", pa.dictionary(pa.int32(), pa.string())))
"""How the rows are read: a shard has 32 of them or so, and its name is looked at once."""
_REPEATED = ["shard", "reason", "message"]  # columns whose texts are worth a dictionary
_SHARD_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")  # it becomes a file's
_NO_SHARD = -1
_ASKED = 2**17  # pictures that are looked for together: each takes a hundred bytes meanwhile


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
        self._keys = np.zeros(0, KEY)  # sorted
        self._short = np.zeros(0, np.uint64)  # the beginning of each key, as a number: found ten times as fast
        self._file = np.zeros(0, np.int32)
        self._shard = np.zeros(0, np.int32)
        self._row = np.zeros(0, np.int32)
        self._failures: dict[tuple[str, str], Failure] = {}  # by file and picture
        self._checksums: dict[str, int] = {}  # by shard, where a file says it; a shard never changes

    def update(self, names: Set[str], tables: Mapping[str, pa.Table]) -> None:
        """Forget the files that are not among `names` any more, and add the rows of new ones."""
        kept = np.array([name in names for name in self._names], bool)[self._file]
        self._failures = {key: failure for key, failure in self._failures.items() if key[0] in names}
        added = pa.concat_tables(tables.values()) if tables else READ_AS.empty_table()
        lengths = np.array([len(table) for table in tables.values()], np.int64)
        files = np.repeat(np.arange(len(tables), dtype=np.int32), lengths) + np.int32(len(self._names))
        self._names += tables
        failed = added["reason"].is_valid().to_numpy()
        for file, row in zip(files[failed].tolist(), added.filter(failed).to_pylist(), strict=True):
            self._failures[self._names[file], row["sha256"]] = Failure(row["reason"], row["message"])
        shards = {name: code for code, name in enumerate(self._shards)}
        codes = _codes(added["shard"], shards)
        self._shards = list(shards)
        self._checksums |= _checksums(codes, added["crc32"], self._shards)
        rows = added["row"].fill_null(0).to_numpy()
        keys = keys_of(added["sha256"])
        del added
        keys = np.concatenate([self._keys[kept], keys]) if kept.any() else keys
        file = np.concatenate([self._file[kept], files])
        shard = np.concatenate([self._shard[kept], codes])
        row = np.concatenate([self._row[kept], rows])
        rank = np.argsort(np.argsort(np.array(self._names)))[file]
        if (rank[:-1] > rank[1:]).any():
            by_name = np.argsort(rank, kind="stable")
            keys, file, shard, row = keys[by_name], file[by_name], shard[by_name], row[by_name]
        order = key_order(keys)
        self._keys, self._file, self._shard, self._row = keys[order], file[order], shard[order], row[order]
        self._short = beginnings(self._keys)
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
        return [key.decode("ascii") for key in self._keys[_first(self._keys)].tolist()]

    def _find(self, hashes: Sequence[str] | NDArray[np.bytes_]) -> NDArray[np.int64]:
        """The row of each picture that counts; -1 where there is none."""
        asked = np.asarray(hashes, KEY) if len(hashes) else np.zeros(0, KEY)
        found = np.full(len(asked), -1)
        if not len(self._keys):
            return found
        short = beginnings(asked)
        # In the order of the keys, neighbours lie side by side in memory: three times as fast for a million.
        order = np.argsort(short, kind="stable")
        for start in range(0, len(order), _ASKED):
            part = order[start : start + _ASKED]
            found[part] = self._find_sorted(asked[part], short[part])
        return found

    def _find_sorted(self, wanted: NDArray[np.bytes_], short: NDArray[np.uint64]) -> NDArray[np.int64]:
        at = np.minimum(np.searchsorted(self._short, short), len(self._keys) - 1)
        same = self._keys[at] == wanted
        alike = np.flatnonzero((self._short[at] == short) & ~same)
        if len(alike):
            at[alike] = np.minimum(np.searchsorted(self._keys, wanted[alike]), len(self._keys) - 1)
            same[alike] = self._keys[at[alike]] == wanted[alike]
        return np.where(same, at, -1)

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


def write_rows(file: Path, table: pa.Table) -> None:
    """Write rows as an index file."""
    pq.write_table(table.cast(SCHEMA), file, write_page_checksum=True, use_dictionary=_REPEATED)


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of index files, given in the order of their names, that count: one a picture, sorted."""
    rows = pa.concat_tables(tables)
    keys = keys_of(rows["sha256"])
    order = key_order(keys)
    return rows.take(order[_first(keys[order])])


def check_rows(table: pa.Table) -> None:
    """Refuse the rows of an index file that mean nothing.

    Raises:
        ParquetError: a hash or the name of a shard that is none, or a row that has neither record nor reason.
    """
    try:
        sha256_keys(table["sha256"])
    except ValueError as error:
        raise ParquetError(str(error)) from error
    shards, reasons = table["shard"], table["reason"]
    here, failed = shards.is_valid(), pc.and_(reasons.is_valid(), table["message"].is_valid())
    said = pc.if_else(here, pc.greater_equal(table["row"], 0), failed)
    names = [name for name in _coded(shards).dictionary.to_pylist() if name is None or not _SHARD_NAME.match(name)]
    if names or not pc.all(pc.fill_null(said, False), min_count=0).as_py():
        raise ParquetError("it has a row of no shard, or without a record and a reason")


def _first(keys: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Of sorted keys, those that are no repetition of the one before."""
    return np.append(True, keys[1:] != keys[:-1])[: len(keys)]


def _checksums(codes: NDArray[np.int32], checksums: pa.ChunkedArray, shards: Sequence[str]) -> dict[str, int]:
    """Of the shards that rows name; rows of one shard say the same, or nothing in an old file."""
    known = checksums.is_valid().to_numpy() & (codes != _NO_SHARD)
    numbers, at = np.unique(codes[known], return_index=True)
    said = checksums.filter(known).take(at).to_pylist()
    return {shards[number]: checksum for number, checksum in zip(numbers.tolist(), said, strict=True)}


def _coded(names: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column of texts as numbers and the texts that they stand for."""
    if not pa.types.is_dictionary(names.type):
        names = names.dictionary_encode()
    return names.unify_dictionaries().combine_chunks() if len(names) else pa.array([], names.type)


def _codes(names: pa.ChunkedArray, known: dict[str, int]) -> NDArray[np.int32]:
    """The number of each shard, new ones counted on in `known`; `_NO_SHARD` where there is none."""
    coded = _coded(names)
    numbers = [known.setdefault(name, len(known)) for name in coded.dictionary.to_pylist()]
    places: NDArray[np.int32] = pc.fill_null(coded.indices, len(numbers)).to_numpy()
    return np.array([*numbers, _NO_SHARD], np.int32)[places]
