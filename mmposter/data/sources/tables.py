"""Tables: their encoding, their separator, and rows that a stray quote or a lost field has spoilt."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mmposter.data.sources.base import Issue
from mmposter.data.sources.workbook import OLD_EXCEL, ZIP, workbook_rows
from mmposter.errors import UserError
from mmposter.visible import visible

# A cell with line feeds (a plot, a review) is one thing, a quote that is never closed another.
_LONGEST_RECORD = 50  # lines
_PEEK = 65_536  # bytes
_SHOWN, _NAME = 20, 60  # columns that a message names, and letters of each
# The first line of a table that Excel has written, or shall read: the sign between the cells.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
# The longer marks first: that of UTF-32 begins as the one of UTF-16 does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Without a mark: where the zeros are among the first four bytes, as column names begin with Latin letters.
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


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

    Text, or the first sheet of a workbook (.xlsx). Comma, semicolon and tab are found by themselves as the separator,
    or a first line ``sep=`` names it; blanks behind it are no part of a cell, so that a quote may follow.

    A record over several lines that has not as many fields as there are columns, or text behind a closing quote, was
    opened by a stray quote: its first line becomes a row of its own, and reading goes on at the next line, so that one
    quote costs one row.

    Args:
        issues: gets a ``bad_encoding`` where it is not UTF-8, an ``ignored_sheet`` of a workbook with several.
        one_line: no cell of this kind of table has a line feed, so that every line is a row.

    Raises:
        UserError: what csv itself cannot read, such as a cell of more than 128 KiB; no text, and no workbook.
    """
    data = source.read_bytes()
    _require_text(data, source)
    names: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    if data.startswith(ZIP):
        records = workbook_rows(data, source, issues)
    else:
        lines = list(io.StringIO(decode_table(data, source.name, issues), newline=""))
        records = _records(lines, 1 if one_line else _LONGEST_RECORD, source)
    for number, fields in records:
        if not names:
            names = [name.strip() for name in fields]
        else:
            rows.append((number, fields))
    return TextTable(names, rows)


def require_columns(source: Path | str, table: TextTable, needed: Sequence[str], remedy: str) -> None:
    """Refuse a table without the columns of its format, and without any row.

    Raises:
        UserError: naming what is missing; `remedy` says what is needed.
    """
    missing = [name for name in needed if name not in table.header]
    if missing:
        raise UserError(
            f"{source} has no column {' and no column '.join(missing)}; its columns: {_shown(table.header)}.\n{remedy}"
        )
    if not table.rows:
        raise UserError(f"{source} has a first line and no rows.\nAdd one line for each poster.")


def table_header(source: Path) -> list[str]:
    """The column names of a text table, read from its beginning; [] for what is none."""
    try:
        with source.open("rb") as file:
            start = file.read(_PEEK)
        if start.startswith(ZIP):
            _, names = next(workbook_rows(source.read_bytes(), source, []), (0, []))
        else:
            lines = decode_table(start, source.name, []).splitlines()
            _, names = next(_records(lines[:2], 1, source), (0, []))
        return [name.strip().casefold() for name in names]
    except (OSError, UserError):
        return []


def decode_table(data: bytes, name: str, issues: list[Issue]) -> str:
    """Text of a file in UTF-8, UTF-16 or UTF-32 (with or without their marks), Windows-1252 or Latin-1.

    The last two are told apart for the whole file: 1252 leaves five bytes unused, Latin-1 reads any. A file that is not
    UTF-8 is an issue, because titles may come out with a wrong sign; the genres and links of most tables do not.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if wide := _ZEROS.get(_zeros(data)):
        issues.append(Issue("bad_encoding", name, f"{name} has zero bytes and no mark; it was read as {wide.upper()}"))
        return data.decode(wide, errors="replace")
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


def _require_text(data: bytes, source: Path) -> None:
    """Refuse a file of bytes: a table of an old Excel, a picture, a database."""
    if data.startswith(OLD_EXCEL):
        raise UserError(f"{source} is a table of an old Excel (.xls).\nOpen it and save it as .xlsx or as CSV (UTF-8).")
    wide = data.startswith((ZIP, *_MARKS)) or _zeros(data) in _ZEROS
    if not wide and b"\0" in data:
        raise UserError(
            f"{source} is no table: it has zero bytes, which no text has.\n"
            "Needed is a table as text (CSV, in UTF-8), or one of Excel (.xlsx)."
        )


def _zeros(data: bytes) -> tuple[bool, ...]:
    return tuple(byte == 0 for byte in data[:4])


def _shown(names: Sequence[str]) -> str:
    """Column names for a message: none of their characters steers a terminal, and they end somewhere."""
    texts = [visible(name if len(name) <= _NAME else name[:_NAME] + "...") for name in names[:_SHOWN]]
    return ", ".join(texts) + ", ..." * (len(names) > _SHOWN) or "none"


def _records(lines: list[str], longest: int, source: Path) -> Iterator[tuple[int, list[str]]]:
    start = columns = 0
    named = _SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    if named is not None:
        start = 1
    delimiter = named[1] if named is not None else _delimiter(lines[0] if lines else "")
    while start < len(lines):
        fields, used = _strictly(lines[start : start + longest], delimiter)
        if used == 0 or (used > 1 and columns and len(fields) != columns):
            try:
                fields, used = next(_reader([lines[start]], delimiter)), 1
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
        reader = _reader(lines, delimiter, strict=True)
        fields: list[str] = next(reader, [])
    except csv.Error:
        return [], 0
    return fields, reader.line_num


def _reader(lines: list[str], delimiter: str, *, strict: bool = False) -> Any:
    return csv.reader(lines, delimiter=delimiter, strict=strict, skipinitialspace=True)
