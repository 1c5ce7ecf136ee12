"""Format `onehot`: a table with one column a genre, and the pictures under their ids (published system P7)."""

from __future__ import annotations

from pathlib import Path

from mmposter.data.genre_names import plain_name, says_no_genre
from mmposter.data.sources.base import Issue, PosterRow, SourceRows, known_text, register_source, year_of
from mmposter.data.sources.cells import cell_names
from mmposter.data.sources.tables import TextTable, read_table, table_header
from mmposter.errors import UserError
from mmposter.images.formats import picture_suffixes

# Columns that are no genres by their names; pandas names a stray index "" or Unnamed: 0.
_OTHERS = ("id", "genre", "title", "year", "split", "actors")
_BITS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
_FOLDERS = ("", "Images", "images")


def looks_like_onehot(source: Path) -> str:
    """A table with the columns Id and Genre and several more, none of which is a picture."""
    header = table_header(source)
    if {"id", "genre"} <= set(header) and len(header) > 3 and not {"image", "poster"} & set(header):
        return "the columns Id, Genre, and one a genre"
    return ""


@register_source("onehot", looks_like_onehot)
def read_onehot(source: Path) -> SourceRows:
    """A table with the columns Id and Genre and one column of 0 and 1 a genre; pictures are <Id>.jpg.

    Pictures are looked for beside the table, in its folder `Images`, and in the folder of ``--posters``, with the
    suffix .jpg or another of a picture. Genres are the columns; `Genre` may be missing, and where it says something
    else than they do, they win and it is an issue (``genres_disagree``). A column in which most cells are neither 0 nor
    1 is no genre (``ignored_column``); another cell in a genre's column makes a row with a `problem`, as a wrong number
    of fields and a missing or unsafe id do.

    Raises:
        UserError: no file, no rows, no column Id, or no genre.
    """
    if not source.is_file():
        raise UserError(f"format onehot needs a table file; {source} is none.\nGive the path of the table.")
    root = source.resolve().parent
    found = SourceRows(root=root)
    table = read_table(source, found.issues)
    if not table.rows:
        raise UserError(f"{source} has no rows under its first line.\nAdd one line for each poster.")
    genres = _genre_columns(source, table, found.issues)
    if "id" not in table.header or not genres:
        raise UserError(
            f"{source} has {'no column of 0 and 1' if 'id' in table.header else 'no column Id'}; its columns: "
            f"{', '.join(table.header)}.\nFormat onehot needs Id and one column a genre, 1 where a poster has it."
        )
    found.rows = [_row(root, table, genres, fields, line, found.issues) for line, fields in table.rows]
    return found


def _genre_columns(source: Path, table: TextTable, issues: list[Issue]) -> dict[int, str]:
    """Place -> name, as the first line writes it, of the columns that are genres."""
    named = [
        (place, name)
        for place, name in enumerate(table.names)
        if name and name.casefold() not in _OTHERS and not name.casefold().startswith("unnamed:")
    ]
    genres = {}
    for place, name in named:
        cells = [fields[place].strip().casefold() for _, fields in table.rows if place < len(fields)]
        if 2 * sum(cell in _BITS for cell in cells) > len(cells):
            genres[place] = name
        else:
            message = f"column {name!r} of {source.name} was not read: most of its cells are neither 0 nor 1"
            issues.append(Issue("ignored_column", name, message))
    return genres


def _row(
    root: Path, table: TextTable, genres: dict[int, str], fields: list[str], line: int, issues: list[Issue]
) -> PosterRow:
    cells = table.cells(fields)
    row_id = cells.get("id", "").strip()
    problem = table.problem(line, fields)
    if not problem and not row_id:
        problem = f"line {line} has no Id"
    if not problem and (Path(row_id).name != row_id or "\\" in row_id):
        problem = f"line {line}: the Id {row_id!r} is no file name"
    odd = [(name, fields[place]) for place, name in genres.items() if not problem and _bit(fields[place]) is None]
    if odd:
        problem = f"line {line}: {odd[0][0]} is {odd[0][1]!r}, neither 0 nor 1"
    if problem:
        return PosterRow(row_id or f"line {line}", None, problem=problem)
    names = tuple(name for place, name in genres.items() if _bit(fields[place]))
    said = cell_names(cells.get("genre"))
    if not says_no_genre(said) and set(map(plain_name, said)) != set(map(plain_name, names)):
        message = f"line {line}: Genre says {', '.join(said)}, the columns say {', '.join(names) or 'none'}"
        issues.append(Issue("genres_disagree", row_id, message))
    return PosterRow(
        id=row_id,
        path=_picture(root, row_id),
        title=known_text(cells.get("title")),
        year=year_of(cells.get("year")),
        genres=names,
        actors=cell_names(known_text(cells.get("actors"))),
        split=known_text(cells.get("split")),
        absence=f"there is no {row_id}.jpg beside the table, in its folder Images or in --posters",
    )


def _bit(cell: str) -> bool | None:
    return _BITS.get(cell.strip().casefold())


def _picture(root: Path, row_id: str) -> Path | None:
    suffixes = dict.fromkeys((".jpg", *picture_suffixes()))
    places = (root / folder / f"{row_id}{suffix}" for folder in _FOLDERS for suffix in suffixes)
    return next((path for path in places if path.is_file()), None)
