"""Format `csv`: your own posters and genres in one table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mmposter.data.sources.base import Issue, PosterRow, SourceRows, known_text, split_names
from mmposter.errors import UserError

REQUIRED = ("image", "genres")
OPTIONAL = ("id", "title", "year", "split", "actors")
_LIST_SEPARATORS = "|;,"


def read_csv(source: Path) -> SourceRows:
    """Read a table with the columns image and genres, and if they are there id, title, year, split and actors.

    Column names are compared without case; other columns are ignored. `image` is absolute or relative to the table's
    folder; genres and actors are separated by ``|``, ``;`` or ``,``; without an id column the image is the id. Comma,
    semicolon and tab are found by themselves as the column separator. A row with too many or too few fields, or
    without an image, becomes a row with a `problem`, named by its line.

    Raises:
        UserError: no file, no rows, or a required column is missing.
    """
    if not source.is_file():
        raise UserError(
            f"format csv needs a table file; {source} is none.\nFor a folder of pictures use --format folder."
        )
    found = SourceRows(root=source.resolve().parent)
    text = _decode(source, found.issues)
    header_line = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header_line.count))
    header = [name.strip().casefold() for name in next(reader, [])]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise UserError(
            f"{source} has no column {' and no column '.join(missing)}; its columns: {', '.join(header) or 'none'}.\n"
            f"Needed: {', '.join(REQUIRED)}; also read: {', '.join(OPTIONAL)}.\nName the columns so in the first line."
        )
    try:
        for line, fields in _numbered(reader):
            found.rows.append(_row(header, fields, line, found))
    except csv.Error as error:
        raise UserError(
            f"{source} is no table after line {reader.line_num} ({error}).\nMend that place; quotes must come in pairs."
        ) from error
    if not found.rows:
        raise UserError(f"{source} has a first line and no rows.\nAdd one line for each poster.")
    return found


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line they begin on; empty lines are left out."""
    before = reader.line_num
    for fields in reader:
        if fields:
            yield before + 1, fields
        before = reader.line_num


def _row(header: list[str], fields: list[str], line: int, found: SourceRows) -> PosterRow:
    cells = dict(zip(header, fields, strict=False))
    image = cells.get("image", "").strip()
    row_id = known_text(cells.get("id")) or (
        PurePosixPath(image.replace("\\", "/")).as_posix() if image else f"line {line}"
    )
    if len(fields) != len(header):
        return PosterRow(
            row_id, None, problem=f"line {line} has {len(fields)} fields, the first line has {len(header)}"
        )
    if not image:
        return PosterRow(row_id, None, problem=f"line {line} names no image")
    return PosterRow(
        id=row_id,
        path=found.root / image,  # an absolute image wins over the folder
        title=known_text(cells.get("title")),
        year=_year(known_text(cells.get("year")), row_id, line, found.issues),
        genres=split_names(cells.get("genres"), _LIST_SEPARATORS),
        actors=split_names(known_text(cells.get("actors")), _LIST_SEPARATORS),
        split=known_text(cells.get("split")),
    )


def _year(text: str | None, row_id: str, line: int, issues: list[Issue]) -> int | None:
    if text is None:
        return None
    # Tables that went through pandas or a spreadsheet write 1999.0.
    if re.fullmatch(r"[0-9]{1,4}(\.0)?", text):
        return int(text.partition(".")[0])
    issues.append(Issue("bad_year", row_id, f"line {line}: year {text!r} is no number; the poster has no year"))
    return None


def _decode(source: Path, issues: list[Issue]) -> str:
    data = source.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # latin-1 reads any byte: titles may come out with a wrong sign, the paths and genres of most tables do not.
        message = f"{source.name} is not UTF-8 ({error.reason} at byte {error.start}); it was read as Latin-1"
        issues.append(Issue("bad_encoding", source.name, message))
        return data.decode("latin-1")
