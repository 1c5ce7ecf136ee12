"""Format `mmimdb`: the Multimodal IMDb data set (Arevalo et al. 2017, arXiv 1702.01992) as published.

``dataset/<id>.json`` with title, year, genres and cast, ``dataset/<id>.jpeg`` with the poster, and beside the folder
``split.json`` with the ids of train, dev and test.
"""

from __future__ import annotations

from pathlib import Path

from mmposter.data.sources.base import (
    Issue,
    PosterRow,
    SourceRows,
    known_text,
    pictures_below,
    register_source,
    year_of,
)
from mmposter.data.sources.cells import cell_names
from mmposter.errors import UserError
from mmposter.files.strict_json import parse_json, read_json, read_text, shown
from mmposter.images.formats import picture_suffixes

PAIRS, SPLIT = "dataset", "split.json"
_LOOKED_AT = 50


def looks_like_mmimdb(source: Path) -> str:
    """A folder with a picture and a JSON file of one name, or with a folder `dataset` that is so."""
    pairs = source.is_dir() and any(_has_pairs(folder) for folder in (source / PAIRS, source))
    return "pictures and JSON files of the same names" if pairs else ""


@register_source("mmimdb", looks_like_mmimdb)
def read_mmimdb(source: Path) -> SourceRows:
    """MM-IMDb: a folder with dataset/<id>.json and dataset/<id>.jpeg, and split.json if it is there.

    The pairs may also lie directly in the folder. Ids are the files' names, as split.json has them; its split is used
    (``dev`` is the validation). A JSON file that cannot be read is a row with a `problem`, a picture without one has
    no metadata. Issues: ids of split.json that are not there (``unknown_split_id``, one a side), and an id on two sides
    (``two_splits``; it counts as not given).

    Raises:
        UserError: there is no pair, or split.json is no split, or that of other movies.
    """
    folder = source / PAIRS if (source / PAIRS).is_dir() else source
    records = sorted(path for path in folder.glob("*.json") if path.name != SPLIT) if folder.is_dir() else []
    if not records:
        raise UserError(
            f"{source} has no {PAIRS}/<id>.json and no <id>.json.\n"
            "Format mmimdb needs a JSON file and a picture a movie. Give the folder that holds the folder dataset."
        )
    found = SourceRows(root=source.resolve())
    below = pictures_below(folder.resolve(), found, beside=(".json",))
    pictures = {path.stem: path for path in reversed(below) if path.parent == folder.resolve()}
    sides = _read_split(source, folder, found.issues)
    if sides and not sides.keys() & {path.stem for path in records}:
        raise UserError(
            f"{SPLIT} names {len(sides)} movies, and none of those that are here: it has {shown(next(iter(sides)))}, "
            f"the first file is {records[0].name}.\nWrite the names of the files into it, without .json; or take it "
            "away to split anew."
        )
    for path in records:
        found.rows.append(_row(path, pictures.pop(path.stem, None), sides.pop(path.stem, None)))
    found.rows += [PosterRow(id=name, path=path, has_record=False) for name, path in sorted(pictures.items())]
    for side in sorted({side for side in sides.values() if side is not None}):
        absent = [movie for movie, its in sides.items() if its == side]
        message = f"{SPLIT} names {len(absent)} movies of {side} without a JSON file, {absent[0]} first"
        found.issues.append(Issue("unknown_split_id", absent[0], message))
    return found


def _row(path: Path, picture: Path | None, side: str | None) -> PosterRow:
    movie = path.stem
    try:
        record = parse_json(read_text(path), path.name, mend="mend it")
    except UserError as error:
        return PosterRow(movie, picture, problem=str(error))
    genres = record.get("genres") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(genres, list | None):
        return PosterRow(movie, picture, problem=f"{path.name} is no object with a list of genres")
    return PosterRow(
        id=movie,
        path=picture,
        title=known_text(record.get("title")),
        year=year_of(record.get("year")),
        genres=cell_names(genres),
        actors=cell_names(record.get("cast")),
        split=side,
        absence=f"there is no picture beside {path.name}",
    )


def _read_split(source: Path, folder: Path, issues: list[Issue]) -> dict[str, str | None]:
    """Side of each id, None for one that is on two; empty where there is no split file."""
    path = next((place / SPLIT for place in (source, folder) if (place / SPLIT).is_file()), None)
    if path is None:
        return {}
    parts = read_json(path, mend="mend it, or take it away to split anew")
    if not isinstance(parts, dict) or not all(isinstance(ids, list) for ids in parts.values()):
        raise UserError(f'{path} is no split.\nIt must be {{"train": [ids], "dev": [ids], "test": [ids]}}.')
    sides: dict[str, str | None] = {}
    for side, ids in parts.items():
        for movie in dict.fromkeys(map(str, ids)):
            if movie in sides:
                issues.append(Issue("two_splits", movie, f"{SPLIT} names it in {sides[movie]} and in {side}"))
            sides[movie] = None if movie in sides else side
    return sides


def _has_pairs(folder: Path) -> bool:
    records = (path for path in folder.glob("*.json") if path.name != SPLIT)
    some = (path for path, _ in zip(records, range(_LOOKED_AT), strict=False))
    return any(path.with_suffix(suffix).is_file() for path in some for suffix in picture_suffixes())
