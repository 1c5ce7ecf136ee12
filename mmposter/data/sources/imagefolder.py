"""Format `imagefolder`: pictures in folders, as the `datasets` library of Hugging Face reads them.

https://huggingface.co/docs/datasets/image_dataset

With metadata.csv, metadata.jsonl or metadata.parquet at any level, whose `file_name` is relative to its own folder; or
without metadata, where the folder that a picture lies in is its class.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmposter.data.sources.base import (
    Issue,
    PosterRow,
    SourceRows,
    below,
    known_text,
    pictures_below,
    register_source,
    year_of,
)
from mmposter.data.sources.cells import cell_names
from mmposter.data.sources.tables import read_table
from mmposter.errors import UserError
from mmposter.files.strict_json import parse_json

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
GENRES = ("genres", "genre", "labels", "label")
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})


def looks_like_imagefolder(source: Path) -> str:
    """A folder with metadata in it or one level below, or with folders called as sides of a split are."""
    if not source.is_dir():
        return ""
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    for folder in (source, *folders):
        for name in METADATA:
            if (folder / name).is_file():
                return f"the file {(folder / name).relative_to(source).as_posix()}"
    sides = [folder.name for folder in folders if folder.name.casefold() in SPLIT_NAMES]
    return f"the folder{'s' * (len(sides) > 1)} {', '.join(sides)}" if sides else ""


@register_source("imagefolder", looks_like_imagefolder)
def read_imagefolder(source: Path) -> SourceRows:
    """Hugging Face imagefolder: metadata.csv, .jsonl or .parquet with file_name and genres, or class folders.

    The genres' column is the first that is there of genres, genre, labels, label: a list, or text parted by ``|``,
    ``;`` or ``,``. The columns id, title, year, split and actors are read if they are there; without an id it is the
    picture's path. A folder called train, validation or test gives the split, unless a column does. A picture that no
    metadata names has no metadata. Without any metadata file, ``<split>/<genre>/<picture>`` and ``<genre>/<picture>``
    give one genre each. A row of metadata without file_name, or with one outside `source`, is a row with a `problem`.

    Raises:
        UserError: no folder, no picture, metadata without the columns, or neither metadata nor class folders.
    """
    if not source.is_dir():
        raise UserError(f"format imagefolder needs a folder; {source} is none.\nFor a table use --format csv.")
    root = source.resolve()
    found = SourceRows(root=root)
    pictures = pictures_below(root, found, beside=METADATA)
    tables = _metadata_files(root, found.issues)
    if tables:
        seen: set[Path] = set()
        for table in tables:
            for place, cells in _records(table, found.issues):
                row = _row(root, table, place, cells)
                found.rows.append(row)
                if row.path is not None:
                    seen.add(Path(row.path))
        found.rows += [PosterRow(_id(root, path), path, has_record=False) for path in pictures if path not in seen]
    else:
        found.rows = [_from_folders(root, path) for path in pictures]
    if not found.rows:
        raise UserError(f"there is no picture and no metadata below {source}.\nGive the folder that holds them.")
    if not tables and not any(row.genres for row in found.rows):
        raise UserError(
            f"{source} has no {', '.join(METADATA)} and no folders named as genres.\n"
            "For pictures without genres use --format folder."
        )
    return found


def _metadata_files(root: Path, issues: list[Issue]) -> list[Path]:
    """One file a folder; where there are several, the first in the order of METADATA."""
    folders: dict[Path, list[Path]] = {}
    for name in METADATA:
        for path in root.rglob(name):
            folders.setdefault(path.parent, []).append(path)
    for path in (path for files in folders.values() for path in files[1:]):
        first = folders[path.parent][0].name
        issues.append(Issue("ignored_file", _id(root, path), f"it was not read: {first} is in the same folder"))
    return [folders[folder][0] for folder in sorted(folders)]


def _records(path: Path, issues: list[Issue]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place for people, cells by column name in lower case) of each row; a row that cannot be read has no cells."""
    if path.suffix == ".csv":
        table = read_table(path, issues)
        _check_columns(path, table.header)
        for line, fields in table.rows:
            problem = table.problem(line, fields)
            yield f"{path.name} {problem or f'line {line}'}", {} if problem else table.cells(fields)
        return
    columns: dict[str, None] = {}
    rows = list(_json_lines(path) if path.suffix == ".jsonl" else _parquet_rows(path))
    for _, cells in rows:
        columns |= dict.fromkeys(cells)
    _check_columns(path, list(columns))
    yield from rows


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # Not splitlines: that also parts a line at the separators that Unicode allows inside a JSON text.
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line, f"{path.name} line {number}", mend="mend the line")
        except UserError as error:
            value, place = {}, str(error)
        else:
            place = f"{path.name} line {number}"
            if not isinstance(value, dict):
                value, place = {}, f"{place} is no object"
        yield place, {str(name).strip().casefold(): cell for name, cell in value.items()}


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from mmposter.files.strict_parquet import read_parquet  # with pyarrow, which no help should wait for

    try:
        rows = read_parquet(path).to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}).\nMend it or take it away.") from error
    for number, row in enumerate(rows, 1):
        yield f"{path.name} row {number}", {name.strip().casefold(): cell for name, cell in row.items()}


def _check_columns(path: Path, columns: list[str]) -> None:
    if "file_name" not in columns or not set(GENRES) & set(columns):
        lacks = "file_name" if "file_name" not in columns else f"genres (or {', '.join(GENRES[1:])})"
        raise UserError(
            f"{path} has no column {lacks}; its columns: {', '.join(columns) or 'none'}.\n"
            "Name the columns file_name and genres."
        )


def _row(root: Path, table: Path, place: str, cells: Mapping[str, Any]) -> PosterRow:
    where = f"{_id(root, table.parent)}/{place}" if table.parent != root else place
    name = known_text(cells.get("file_name"))
    if not cells:
        return PosterRow(where, None, problem=where)
    if name is None:
        return PosterRow(where, None, problem=f"{where} has no file_name")
    # By the words of the path alone: in the library's own cache the pictures are links to another folder.
    path = Path(os.path.normpath(below(table.parent, name)))
    if "\0" in name or not path.is_relative_to(root):
        return PosterRow(where, None, problem=f"{where}: file_name {name!r} lies outside the folder")
    return PosterRow(
        id=text_of(cells.get("id")) or _id(root, path),
        path=path,
        title=text_of(cells.get("title")),
        year=year_of(cells.get("year")),
        genres=cell_names(next((cells[column] for column in GENRES if column in cells), None)),
        actors=cell_names(cells.get("actors")),
        split=text_of(cells.get("split")) or _side(root, path),
    )


def _from_folders(root: Path, path: Path) -> PosterRow:
    side = _side(root, path)
    folders = path.relative_to(root).parts[1 if side else 0 : -1]
    return PosterRow(_id(root, path), path, genres=folders[-1:], split=side)


def _side(root: Path, path: Path) -> str | None:
    first, *rest = path.relative_to(root).parts
    return first if rest and first.casefold() in SPLIT_NAMES else None


def _id(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def text_of(value: Any) -> str | None:
    """Text of a cell; numbers as they are written, because ids may be numbers."""
    return known_text(str(value)) if isinstance(value, str | int) else None
