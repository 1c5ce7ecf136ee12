"""Format `kaggle`: the IMDb table "Movie Genre from its Poster", as it goes round.

https://www.kaggle.com/datasets/neha1703/movie-genre-from-its-poster

Columns imdbId, Imdb Link, Title, IMDB Score, Genre, Poster, and whatever index columns pandas left in front of them.
The pictures are not with it: `Poster` is a link.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmposter.data.sources.base import PosterRow, SourceRows, known_text, register_source
from mmposter.data.sources.cells import cell_names
from mmposter.data.sources.tables import TextTable, read_table, require_columns, table_header
from mmposter.errors import UserError

REQUIRED = ("imdbid", "genre", "poster")

# 160905, tt0160905, and 160905.0 of a table that went through pandas with a missing value.
_NUMBER = re.compile(r"(?:tt)?([0-9]{1,10})(?:\.0)?")
_TITLE_YEAR = re.compile(r"(.*\S)\s*\(([0-9]{4})[^()]*\)")


def looks_like_kaggle(source: Path) -> str:
    """A table with this table's column names."""
    return "the columns imdbId, Genre, Poster" if set(REQUIRED) <= set(table_header(source)) else ""


@register_source("kaggle", looks_like_kaggle)
def read_kaggle(source: Path) -> SourceRows:
    """The IMDb table of Kaggle (imdbId, Title, Genre, Poster); its posters are downloaded into --posters.

    The id is written as IMDb does, ``tt`` and the number with seven digits or more: 160905 becomes tt0160905. The title
    ``Spooky House (2002)`` is parted into title and year, `Genre` at ``|`` or ``,``. Columns are found by name, without
    case; others are ignored. A row with a wrong number of fields or without an id is a row with a `problem`, one
    without a link has no poster; both are named by their line.

    Raises:
        UserError: no file, no rows, or a required column is missing.
    """
    if not source.is_file():
        raise UserError(f"format kaggle needs the table file; {source} is none.\nGive the path of MovieGenre.csv.")
    found = SourceRows(root=source.resolve().parent)
    table = read_table(source, found.issues, one_line=True)
    require_columns(source, table, REQUIRED, "Format kaggle needs imdbId, Genre and Poster, and reads Title.")
    found.rows = [_row(table, fields, line) for line, fields in table.rows]
    return found


def _row(table: TextTable, fields: list[str], line: int) -> PosterRow:
    cells = table.cells(fields)
    text = cells.get("imdbid", "").strip()
    number = _NUMBER.fullmatch(text)
    problem = table.problem(line, fields)
    if not problem and not number:
        problem = f"line {line} has the imdbId {text!r}, which is no number" if text else f"line {line} has no imdbId"
    if problem or not number:
        return PosterRow(f"line {line}", None, problem=problem)
    title, year = _title_and_year(known_text(cells.get("title")))
    url, absence = _link(cells["poster"].strip(), line)
    return PosterRow(
        id=f"tt{int(number.group(1)):07d}",
        path=None,
        title=title,
        year=year,
        genres=cell_names(cells["genre"]),
        url=url,
        absence=absence,
    )


def _title_and_year(text: str | None) -> tuple[str | None, int | None]:
    match = _TITLE_YEAR.fullmatch(text or "")
    return (match.group(1), int(match.group(2))) if match else (text, None)


def _link(text: str, line: int) -> tuple[str | None, str | None]:
    """The link, or why there is none."""
    if not text:
        return None, f"line {line} has no link to a poster"
    from mmposter.data.downloading.options import split_link  # with requests, which no help should wait for

    return (text, None) if split_link(text) else (None, f"line {line}: {text!r} is no link of http or https")
