"""Format `ccu`: the movie poster data set of 1980-2015 as published.

https://www.cs.ccu.edu.tw/~wtchu/projects/MoviePoster

`Movie_Poster_Dataset/<year>/<imdbID>.jpg` holds the posters, `Movie_Poster_Metadata/groundtruth/<year>.txt` the
metadata: UTF-16 text, one object of a database dump after another, JSON but for an unquoted ``ObjectId("...")``.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmposter.data.sources.base import Issue, PosterRow, SourceRows, known_text, pictures_below, register_source
from mmposter.data.sources.cells import cell_names
from mmposter.errors import UserError

POSTERS = "Movie_Poster_Dataset"
METADATA = "Movie_Poster_Metadata/groundtruth"

# Whole strings are matched too, and given back as they are, so that an ObjectId inside a plot text stays a text. A
# string ends at its line's end at the latest: one missing quote must not turn the rest of the file inside out.
_STRING_OR_OBJECT_ID = re.compile(r'ObjectId\(\s*("(?:[^"\\\n]|\\.)*")\s*\)|"(?:[^"\\\n]|\\.)*"')
_RECORD_START = re.compile(r"^[ \t]*\{", re.MULTILINE)
_SPACE = re.compile(r"\s*")
_IMDB_ID = re.compile(r'"imdbID"\s*:\s*"([^"\n]+)"')


def looks_like_ccu(source: Path) -> str:
    """A folder with one of the two folders of the published layout."""
    found = [name for name in (POSTERS, METADATA) if (source / name).is_dir()]
    return f"the folder {found[0]}" if found else ""


@register_source("ccu", looks_like_ccu)
def read_ccu(source: Path) -> SourceRows:
    """The 1980-2015 data set as published: a folder with Movie_Poster_Dataset and Movie_Poster_Metadata.

    Records are matched with posters: one row a poster file, one row a movie without a poster.

    Counted as issues: a record that cannot be parsed (``bad_record``), a second record of an id
    (``duplicate_record``; the first is used), a text file with a damaged encoding (``bad_encoding``).

    Raises:
        UserError: the two folders of the published layout are not there.
    """
    root = source.resolve()
    posters, metadata = root / POSTERS, root / METADATA
    missing = [name for name, folder in ((POSTERS, posters), (METADATA, metadata)) if not folder.is_dir()]
    if missing:
        raise UserError(
            f"{source} has no folder {' and no folder '.join(missing)}.\n"
            f"Format ccu needs both {POSTERS}/<year>/<imdbID>.jpg and {METADATA}/<year>.txt.\n"
            "Give the folder that holds both, or choose another --format."
        )
    found = SourceRows(root=root)
    records, counts = _read_records(metadata, found.issues)
    found.records = counts

    files: dict[str, list[Path]] = {}
    for path in pictures_below(posters, found):
        files.setdefault(path.stem, []).append(path)
    for movie, (year, record) in records.items():
        # The year's own folder first: where a movie's poster lies in two folders, that one is kept.
        paths: list[Path | None] = [*sorted(files.pop(movie, []), key=lambda path: path.parent.name != str(year))]
        found.rows += [_row(movie, path, year, record) for path in paths or [None]]
    for movie, strays in sorted(files.items()):
        found.rows += [
            PosterRow(id=movie, path=path, year=_year(path.parent.name), has_record=False) for path in strays
        ]
    return found


def _read_records(
    folder: Path, issues: list[Issue]
) -> tuple[dict[str, tuple[int | None, dict[str, Any]]], dict[str, int]]:
    """First record of each id, with the year of its file; and the counts whose sum is the number of records."""
    records: dict[str, tuple[int | None, dict[str, Any]]] = {}
    duplicates = bad = 0
    for path in sorted(folder.glob("*.txt")):
        text = _decode(path, issues)
        for line, record, problem in parse_records(text):
            movie = record.get("imdbID")
            if not problem and not known_text(movie):
                problem = "it has no imdbID"
            if problem:
                bad += 1
                issues.append(
                    Issue("bad_record", str(movie or f"{path.name}:{line}"), f"{path.name} line {line}: {problem}")
                )
                continue
            movie = str(movie).strip()
            if movie in records:
                duplicates += 1
                first_year, first = records[movie]
                same = "same genres" if first.get("Genre") == record.get("Genre") else "other genres"
                message = f"{path.name} line {line}: second record of {movie} ({same}); the one of {first_year} is used"
                issues.append(Issue("duplicate_record", movie, message))
                continue
            records[movie] = (_year(path.stem), record)
    counts = {
        "records in the text": len(records) + duplicates + bad,
        "movies": len(records),
        "duplicate records": duplicates,
        "malformed records": bad,
    }
    return records, counts


def parse_records(text: str) -> Iterator[tuple[int, dict[str, Any], str | None]]:
    """Yield (line number, record, problem) for each object of the dump.

    After an object that does not parse, reading goes on at the next line that begins with a brace; what was skipped is
    yielded once, with the reason as `problem` and a record that holds the imdbID where one could still be read.
    """
    text = _STRING_OR_OBJECT_ID.sub(lambda match: match.group(1) or match.group(0), text)
    # strict=False: raw tabs and line feeds inside strings are common in dumps and harm nobody.
    decoder = json.JSONDecoder(strict=False)
    position, line, counted = 0, 1, 0
    while True:
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr]  # matches the empty text too
        if position >= len(text):
            return
        line += text.count("\n", counted, position)
        counted = position
        problem: str | None = None
        record: Any = {}
        try:
            if text[position] != "{":
                raise ValueError("text that is no record")
            record, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            start = _RECORD_START.search(text, position + 1)
            end = start.start() if start else len(text)
            movie = _IMDB_ID.search(text, position, end)
            record = {"imdbID": movie.group(1)} if movie else {}
            problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            problem = f"not JSON ({problem})"
        yield line, record, problem
        position = end


def _decode(path: Path, issues: list[Issue]) -> str:
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        place = f"{error.reason} at byte {error.start}"
        message = f"{path.name} is not valid {encoding} ({place}); the damaged signs are replaced"
        issues.append(Issue("bad_encoding", path.name, message))
        return data.decode(encoding, errors="replace")


def _row(movie: str, path: Path | None, year: int | None, record: dict[str, Any]) -> PosterRow:
    return PosterRow(
        id=movie,
        path=path,
        title=known_text(record.get("Title")),
        year=year,
        genres=cell_names(record.get("Genre")),
        actors=cell_names(known_text(record.get("Actors"))),
    )


def _year(name: str) -> int | None:
    return int(name) if re.fullmatch(r"[0-9]{4}", name) else None
