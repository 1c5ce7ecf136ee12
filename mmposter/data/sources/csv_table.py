"""Format `csv`: your own posters and genres in one table."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mmposter.data.sources.base import Issue, PosterRow, SourceRows, below, known_text, register_source
from mmposter.data.sources.cells import cell_names
from mmposter.data.sources.tables import TextTable, read_table, require_columns, table_header
from mmposter.errors import UserError
from mmposter.files.spreadsheets import unguarded
from mmposter.objects import is_object

REQUIRED = ("image", "genres")
OPTIONAL = ("id", "title", "year", "split", "actors")


def looks_like_csv(source: Path) -> str:
    """A table with our own column names."""
    return f"the columns {', '.join(REQUIRED)}" if set(REQUIRED) <= set(table_header(source)) else ""


@register_source("csv", looks_like_csv)
def read_csv(source: Path) -> SourceRows:
    """Your table, CSV or .xlsx, with the columns image and genres; if it has them also id, title, year, split, actors.

    Column names are compared without case; other columns are ignored. `image` is absolute or relative to the table's
    folder, with slashes or, as Windows writes them, backslashes, or a link into an object store (``s3://``); genres
    and actors are separated by ``|``, ``;`` or ``,``, or written as a list; without an id column the image is the id.
    Comma, semicolon and tab are found by themselves as the column separator. A row with too many or too few fields,
    without an image, or with one outside the table's folder, becomes a row with a `problem`, named by its line. The
    single quote that our own tables have before what a spreadsheet would run is no part of a cell.

    Raises:
        UserError: no file, no rows, or a required column is missing.
    """
    if not source.is_file():
        raise UserError(
            f"format csv needs a table file; {source} is none.\nFor a folder of pictures use --format folder."
        )
    found = SourceRows(root=source.resolve().parent)
    table = read_table(source, found.issues)
    read_rows(table, found, source, "Name the columns so in the first line.")
    return found


def read_rows(table: TextTable, found: SourceRows, source: Path | str, remedy: str) -> None:
    """Read the rows of a table of this format into `found`, whose root is there already.

    Args:
        source: where the table comes from, for an error.
        remedy: how its columns are given their names.

    Raises:
        UserError: there are no rows, or a required column is missing.
    """
    known = f"Needed: {', '.join(REQUIRED)}; also read: {', '.join(OPTIONAL)}.\n{remedy}"
    require_columns(source, table, REQUIRED, known)
    found.rows = [_row(table, fields, line, found) for line, fields in table.rows]


def _row(table: TextTable, fields: list[str], line: int, found: SourceRows) -> PosterRow:
    cells = {name: unguarded(cell) for name, cell in table.cells(fields).items()}
    image = cells.get("image", "").strip()
    row_id = known_text(cells.get("id")) or (_image_id(image) if image else f"line {line}")
    problem = table.problem(line, fields) or (None if image else f"line {line} names no image")
    path = image if is_object(image) else below(found.root, image)
    if not problem and isinstance(path, Path) and not _is_inside(path, found.root, image):
        problem = f"line {line}: the image {image!r} lies outside the table's folder; write its absolute path"
    if problem:
        return PosterRow(row_id, None, problem=problem)
    return PosterRow(
        id=row_id,
        path=path,
        title=known_text(cells.get("title")),
        year=_year(known_text(cells.get("year")), row_id, line, found.issues),
        genres=cell_names(cells.get("genres")),
        actors=cell_names(known_text(cells.get("actors"))),
        split=known_text(cells.get("split")),
    )


def _image_id(image: str) -> str:
    return image if is_object(image) else PurePosixPath(image.replace("\\", "/")).as_posix()


def _is_inside(path: Path, root: Path, image: str) -> bool:
    return Path(image).is_absolute() or Path(os.path.normpath(path)).is_relative_to(root)


def _year(text: str | None, row_id: str, line: int, issues: list[Issue]) -> int | None:
    if text is None:
        return None
    # Tables that went through pandas or a spreadsheet write 1999.0.
    if re.fullmatch(r"[0-9]{1,4}(\.0)?", text):
        return int(text.partition(".")[0])
    issues.append(Issue("bad_year", row_id, f"line {line}: year {text!r} is no number; the poster has no year"))
    return None
