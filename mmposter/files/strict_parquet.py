"""Parquet files that somebody else may have written, or that were damaged: read in bounded memory, or refused.

What a footer says of the sizes need not be true: a page of a few bytes may unpack to gigabytes, and one long text in a
dictionary may stand in millions of rows. So the headers of all pages are looked at before anything is unpacked.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["ParquetError", "parquet_batches", "parquet_schema", "read_metadata", "read_parquet"]

_Bytes: TypeAlias = "bytes | mmap.mmap"

FREE, RATIO = 64 * 2**20, 64
"""A file may unpack to `FREE` bytes and `RATIO` times its own size; ours take 3 to 10 times."""

_TEXT_LIMIT, _LIST_LIMIT = 16 * 2**20, 100_000  # of the footer
_VALUE = 8  # bytes that a value takes at least: an offset, or the levels of a list
_TEXTS = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
_SHARED_STARTS = 7  # the encoding DELTA_BYTE_ARRAY, by which a text may grow in every row
_BY_DICTIONARY = (2, 8)  # the encodings PLAIN_DICTIONARY and RLE_DICTIONARY
_CODECS = {"UNCOMPRESSED": None, "SNAPPY": "snappy", "ZSTD": "zstd", "GZIP": "gzip", "BROTLI": "brotli"}
_SMALL = 2**22  # bytes of a dictionary that is looked through; pyarrow writes 1 MiB at most
_LENGTH = 4  # bytes before each text of a dictionary, which say how long it is (the encoding PLAIN)
_MOST_NESTED = 8


class ParquetError(ValueError):
    """The file is no Parquet, is damaged, has other columns than asked for, or unpacks to too much."""


def read_parquet(source: Path | bytes, schema: pa.Schema | None = None, *, optional: Collection[str] = ()) -> pa.Table:
    """The table of a file, its pages' checksums compared where it has any.

    Args:
        source: the file, or its bytes.
        schema: the columns to read, in this order; None: all, with the types that the file has.
        optional: columns of `schema` that may be missing; they are null then.

    Raises:
        FileNotFoundError: there is no file.
        ParquetError: see there.
    """
    coded = [] if schema is None else [field.name for field in schema if pa.types.is_dictionary(field.type)]
    with _reading():
        data = source if isinstance(source, bytes) else source.read_bytes()
        file = _open(data, dictionaries=coded)
        _check_size(data, file)
        if schema is None:
            return file.read().replace_schema_metadata(None)
        here = [name for name in schema.names if name not in optional or name in file.schema_arrow.names]
        table = file.read(columns=here)
        return pa.table([_column(table, field) for field in schema], schema=schema)


def read_metadata(data: bytes) -> dict[bytes, bytes]:
    """What a file says beside its table (ParquetError: it is no Parquet)."""
    with _reading():
        return dict(_open(data).metadata.metadata or {})


def parquet_schema(source: Path) -> pa.Schema:
    """The columns of a file, and what it says of them (FileNotFoundError, ParquetError: as `read_parquet`)."""
    with _reading(), _mapped(source) as data:
        return _open(data).schema_arrow


def parquet_batches(source: Path, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    """A file that is larger than the memory, some rows at a time.

    Args:
        source: the file.
        columns: to read; ``a.b`` is the part b of the struct a.
        rows: of a batch at most.

    Raises:
        FileNotFoundError: there is no file.
        ParquetError: see there.
    """
    with _reading(), _mapped(source) as data:
        file = _open(data)
        _check_size(data, file)
        yield from file.iter_batches(batch_size=rows, columns=list(columns))


@contextmanager
def _mapped(source: Path) -> Iterator[_Bytes]:
    with source.open("rb") as file:
        # Not closed: what was read may still lie in it, and it goes with the last of that.
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ParquetError):
        raise
    # pyarrow has OSError for much that is wrong in a file, and own classes for the rest.
    except (OSError, pa.ArrowException, ValueError, LookupError, ArithmeticError, TypeError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ParquetError(first[:300]) from error


def _open(data: _Bytes, *, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.BufferReader(data),
        read_dictionary=list(dictionaries) or None,
        thrift_string_size_limit=_TEXT_LIMIT,
        thrift_container_size_limit=_LIST_LIMIT,
        page_checksum_verification=True,
    )


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    return table[field.name].cast(field.type)  # `table[...]` refuses a name that is there twice


@dataclass
class _Chunk:
    """What the pages of one column in one row group unpack to."""

    bytes: int = 0
    values: int = 0
    repeated: int = 0  # of these, how many stand for a text of the dictionary
    longest: int = 0  # bytes of a text of the dictionary at most


def _check_size(data: _Bytes, file: pq.ParquetFile) -> None:
    """Refuse a file that unpacks to more than the limit (ParquetError: it does)."""
    limit = FREE + RATIO * len(data)
    most = values = certain = 0
    repeated: dict[str, None] = {}
    for group in range(file.metadata.num_row_groups):
        row_group = file.metadata.row_group(group)
        most += _VALUE * row_group.num_rows
        for column in range(row_group.num_columns):
            said = row_group.column(column)
            chunk = _measure(data, said)
            values += chunk.values
            certain += chunk.bytes
            if certain > limit:  # at once: of thousands of dictionaries none more is looked through
                raise _too_large(certain, limit)
            most += chunk.bytes + _VALUE * chunk.values
            if said.physical_type in _TEXTS and chunk.longest:
                most += chunk.repeated * chunk.longest  # as if all had the longest text there is
                repeated[said.path_in_schema] = None
        if most > limit and not repeated:
            raise _too_large(most, limit)
    if most <= limit:
        return
    # Too much in the worst case: unpack the texts once each, and count how often they are repeated (slow).
    if (sure := _VALUE * values) > limit:
        raise _too_large(sure, limit)
    exact = _exact_size(data, list(repeated), limit)
    if exact > limit:
        raise _too_large(exact, limit)


def _measure(data: _Bytes, said: Any) -> _Chunk:
    """Add up the pages of a column chunk; `said` is what the footer says of it."""
    start = said.data_page_offset
    if said.has_dictionary_page and said.dictionary_page_offset is not None:
        start = min(start, said.dictionary_page_offset) if said.dictionary_page_offset > 0 else start
    found = _Chunk()
    for header, packed in _pages(data, start, start + said.total_compressed_size):
        size, body = header.get(2), header.get(5) or header.get(8) or header.get(7)
        count = body.get(1) if isinstance(body, dict) else 0
        if not isinstance(size, int) or not isinstance(count, int) or size < 0 or count < 0:
            raise ParquetError("the header of a page is damaged")
        found.bytes += size
        if isinstance(header.get(7), dict):
            found.longest = max(found.longest, _longest(packed, said, size, count))
            continue
        encoding = body.get(4 if 8 in header else 2) if isinstance(body, dict) else None
        if encoding == _SHARED_STARTS:
            raise ParquetError("it has the encoding DELTA_BYTE_ARRAY, which is not read here; write it with another")
        found.values += count
        found.repeated += count if encoding in _BY_DICTIONARY else 0
    return found


def _longest(packed: _Bytes, said: Any, size: int, count: int) -> int:
    """Bytes of the longest text of a dictionary's page; those of all where only unpacking much would tell.

    Args:
        packed: the page as the file has it.
        size: bytes that it says it unpacks to.
        count: texts that it says it has.
    """
    if said.physical_type != "BYTE_ARRAY" or size > _SMALL or count * _LENGTH > size:
        return size
    try:
        codec = _CODECS[said.compression]
        texts = bytes(packed) if codec is None else pa.Codec(codec).decompress(packed, size, asbytes=True)
    except (KeyError, OSError, ValueError):
        return size
    longest = at = 0
    for _ in range(count):
        length = int.from_bytes(texts[at : at + _LENGTH], "little")
        longest, at = max(longest, length), at + _LENGTH + length
    return longest if at == len(texts) == size else size


def _exact_size(data: _Bytes, columns: Sequence[str], limit: int) -> int:
    """Bytes of the texts in `columns` with every repetition; stops beyond `limit`."""
    total = 0
    file = _open(data, dictionaries=columns)
    for group in range(file.metadata.num_row_groups):
        for column in file.read_row_group(group, columns=list(columns)).columns:
            for array in column.chunks:
                while hasattr(array, "flatten") and not hasattr(array, "dictionary"):  # lists, to what is in them
                    inner = array.flatten()
                    array = inner[0] if isinstance(inner, list) else inner
                if hasattr(array, "dictionary"):
                    lengths = pc.fill_null(pc.binary_length(array.dictionary).cast("int64"), 0)
                    total += pc.sum(lengths.take(array.indices.drop_null())).as_py() or 0
                else:
                    total += array.nbytes
                if total > limit:
                    return total
    return total


def _too_large(size: int, limit: int) -> ParquetError:
    mib = 2**20
    return ParquetError(f"it unpacks to {size // mib:,} MiB or more; a file of its size may have {limit // mib:,} MiB")


# The header of a page is a struct of Thrift's compact protocol; its fields are numbered in parquet.thrift.
# https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS, _LISTS = (4, 5, 6), (9, 10)


def _pages(data: _Bytes, start: int, end: int) -> Iterator[tuple[Mapping[int, Any], _Bytes]]:
    """The headers of the pages between two places of a file, and the packed bytes of those that are dictionaries."""
    if not 0 <= start <= end <= len(data):
        raise ParquetError("the footer names places outside of the file")
    at = start
    while at < end:
        header, at = _struct(data, at, 0)
        packed = header.get(3)
        if not isinstance(packed, int) or packed < 0 or at + packed > end:
            raise ParquetError("the header of a page is damaged")
        yield header, data[at : at + packed] if 7 in header else b""
        at += packed


def _struct(data: _Bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Fields by number: integers and structs; others are passed over."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        fields[number], at = _value(data, at, head & 15, depth)
    return fields, at + 1


def _value(data: _Bytes, at: int, kind: int, depth: int, *, in_list: bool = False) -> tuple[Any, int]:
    if depth > _MOST_NESTED:
        raise ParquetError("the header of a page is damaged")
    if kind in (_TRUE, _FALSE):
        return None, at + in_list  # of a field, the kind is the value
    if kind == _BYTE:
        return None, at + 1
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind == _DOUBLE:
        return None, at + 8
    if kind == _BINARY:
        size, at = _varint(data, at)
        return None, at + size
    if kind == _STRUCT:
        return _struct(data, at, depth + 1)
    if kind in _LISTS:
        size, inner, at = data[at] >> 4, data[at] & 15, at + 1
        if size == 15:
            size, at = _varint(data, at)
        for _ in range(size):
            _, at = _value(data, at, inner, depth + 1, in_list=True)
            if at > len(data):
                break
        return None, at
    raise ParquetError("the header of a page is damaged")  # a map, which no page has


def _integer(data: _Bytes, at: int) -> tuple[int, int]:
    folded, at = _varint(data, at)
    return (folded >> 1) ^ -(folded & 1), at


def _varint(data: _Bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise ParquetError("the header of a page is damaged")
