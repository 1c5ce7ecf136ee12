"""Tables as text files: their encoding, their separator, and rows that a stray quote or a lost field has spoilt."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mmposter.data.sources.base import Issue
from mmposter.errors import UserError

# A cell with line feeds (a plot, a review) is one thing, a quote that is never closed another.
_LONGEST_RECORD = 50  # lines
_PEEK = 65_536  # bytes


@dataclass(frozen=True)
class TextTable:
    """A table's column names and rows."""

    names: list[str]  # as the first line writes them, without blanks around them
    rows: list[tuple[int, list[str]]] = field(repr=False)  # with the line on which each begins

    @cached_property
    def header(self) -> list[str]:
        """The names in lower case: how columns are looked up."""
        return [name.casefold() for name in self.names]

    def problem(self, line: int, fields: list[str]) -> str | None:
        """Why a row cannot be matched with the columns, or None."""
        if len(fields) == len(self.header):
            return None
        return f"line {line} has {len(fields)} fields, the first line has {len(self.header)}"

    def cells(self, fields: list[str]) -> dict[str, str]:
        """A row by column name; where a name stands twice, its first column."""
        return dict(reversed(list(zip(self.header, fields, strict=False))))


def read_table(source: Path, issues: list[Issue], *, one_line: bool = False) -> TextTable:
    """Read a table with its column names in the first line; empty lines are left out.

    Comma, semicolon and tab are found by themselves as the separator. A record over several lines that has not as many
    fields as there are columns, or text behind a closing quote, was opened by a stray quote: its first line becomes a
    row of its own, and reading goes on at the next line, so that one quote costs one row.

    Args:
        issues: gets a ``bad_encoding`` where it is not UTF-8.
        one_line: no cell of this kind of table has a line feed, so that every line is a row.

    Raises:
        UserError: what csv itself cannot read, such as a cell of more than 128 KiB.
    """
    lines = list(io.StringIO(decode_table(source.read_bytes(), source.name, issues), newline=""))
    delimiter = _delimiter(lines[0]) if lines else ","
    names: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    for number, fields in _records(lines, delimiter, 1 if one_line else _LONGEST_RECORD, source):
        if not names:
            names = [name.strip() for name in fields]
        else:
            rows.append((number, fields))
    return TextTable(names, rows)


def require_columns(source: Path, table: TextTable, needed: Sequence[str], remedy: str) -> None:
    """Refuse a table without the columns of its format, and without any row.

    Raises:
        UserError: naming what is missing; `remedy` says what is needed.
    """
    missing = [name for name in needed if name not in table.header]
    if missing:
        raise UserError(
            f"{source} has no column {' and no column '.join(missing)}; its columns: "
            f"{', '.join(table.header) or 'none'}.\n{remedy}"
        )
    if not table.rows:
        raise UserError(f"{source} has a first line and no rows.\nAdd one line for each poster.")


def table_header(source: Path) -> list[str]:
    """The column names of a text table, read from its beginning; [] for what is none."""
    try:
        with source.open("rb") as file:
            start = file.read(_PEEK)
        if b"\0" in start:  # no text, or a kind of text that is not read
            return []
        line = decode_table(start, source.name, []).splitlines()[0]
        return [name.strip().casefold() for name in next(csv.reader([line], delimiter=_delimiter(line)), [])]
    except (OSError, IndexError, csv.Error):
        return []


def decode_table(data: bytes, name: str, issues: list[Issue]) -> str:
    """Text of a file in UTF-8 (with or without its mark), UTF-16 with its mark, Windows-1252 or Latin-1.

    The last two are told apart for the whole file: 1252 leaves five bytes unused, Latin-1 reads any. A file that is not
    UTF-8 is an issue, because titles may come out with a wrong sign; the genres and links of most tables do not.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            text, encoding = data.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            text, encoding = data.decode("latin-1"), "Latin-1"
        message = f"{name} is not UTF-8 ({error.reason} at byte {error.start}); it was read as {encoding}"
        issues.append(Issue("bad_encoding", name, message))
        return text


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _records(lines: list[str], delimiter: str, longest: int, source: Path) -> Iterator[tuple[int, list[str]]]:
    start = columns = 0
    while start < len(lines):
        fields, used = _strictly(lines[start : start + longest], delimiter)
        if used == 0 or (used > 1 and columns and len(fields) != columns):
            try:
                fields, used = next(csv.reader([lines[start]], delimiter=delimiter)), 1
            except csv.Error as error:
                raise UserError(
                    f"{source} is no table at line {start + 1} ({error}).\nMend that place; quotes must come in pairs."
                ) from error
        if fields:
            columns = columns or len(fields)
            yield start + 1, fields
        start += used


def _strictly(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    """The first record and its number of lines; no lines where its quotes are not those of a table.

    Strict, because a stray quote reaches to the next one, and what follows that is no separator.
    """
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        fields = next(reader, [])
    except csv.Error:
        return [], 0
    return fields, reader.line_num
