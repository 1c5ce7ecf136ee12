"""Films that teach the words and have no poster: a title and its genres, beside the posters of a data set.

A film of the validation or test posters gives nothing: it is left out by its id, and by its title alone, whatever its
year. A poster's title is often the surest of its words, so that a remake would tell what its namesake on the test side
is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmposter.data.duplicates import film, plain_title
from mmposter.data.sources.base import Issue, known_text, year_of
from mmposter.data.sources.cells import cell_names
from mmposter.data.sources.tables import read_table, require_columns
from mmposter.data.splitting import NO_SPLIT
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path
from mmposter.files.spreadsheets import unguarded
from mmposter.files.strict_parquet import read_parquet

TITLES = "titles.parquet"

_NEEDED = ("title", "genres")
_ID_COLUMNS = ("id", "imdb_id", "imdbid")
_SCHEMA = pa.schema({"title": pa.string(), "year": pa.int32(), "genres": pa.list_(pa.string())})
_REMEDY = "Needed: title, genres; also read: id (or imdb_id), year.\nName the columns so in the first line."


@dataclass(frozen=True)
class Titles:
    """Films without a poster: M of them."""

    titles: tuple[str, ...]  # M
    years: tuple[int | None, ...]  # M
    genres: tuple[tuple[str, ...], ...]  # M, raw names, as the source has them

    def __len__(self) -> int:
        return len(self.titles)

    def labels(self, vocabulary: Vocabulary) -> NDArray[np.float32]:
        """Multi-hot matrix M x G; a row of zeros for a film that has no genre of this vocabulary."""
        return vocabulary.encode_all([vocabulary.map(names)[0] for names in self.genres])


@dataclass(frozen=True)
class TitlesFile:
    """A table of titles as it was read, before it is known which films are measured on."""

    name: str
    rows: tuple[tuple[str, str | None, int | None, tuple[str, ...]], ...]  # title, id, year, raw genres
    bad: int  # rows without a title, or with too many or too few fields
    issues: tuple[Issue, ...]


def read_titles_file(source: Path) -> TitlesFile:
    """Read a table, CSV or .xlsx, with the columns title and genres; if it has them, also id (or imdb_id) and year.

    Raises:
        UserError: no file, no rows, or a column is missing.
    """
    if not source.is_file():
        raise UserError(f"--titles takes a table with the columns {', '.join(_NEEDED)}; {source} is no file")
    issues: list[Issue] = []
    table = read_table(source, issues)
    require_columns(source, table, _NEEDED, _REMEDY)
    named = next((name for name in _ID_COLUMNS if name in table.header), None)
    rows, bad = [], 0
    for line, fields in table.rows:
        cells = {name: unguarded(cell) for name, cell in table.cells(fields).items()}
        title = known_text(cells.get("title"))
        if title is None or table.problem(line, fields) is not None:
            bad += 1
            continue
        known = None if named is None else known_text(cells.get(named))
        rows.append((title, known, year_of(cells.get("year")), cell_names(cells.get("genres"))))
    return TitlesFile(source.name, tuple(rows), bad, tuple(issues))


def choose_titles(file: TitlesFile, table: pd.DataFrame, vocabulary: Vocabulary) -> tuple[Titles, Mapping[str, int]]:
    """The films that may teach beside the posters of a manifest.

    Args:
        file: what was read.
        table: of the posters, with id, title, year and split.
        vocabulary: of the posters' genres.

    Returns:
        The films; and how many were left out, by reason: ``bad_row``, ``measured_on`` (a film of a poster that is not
        for training), ``no_genre``, ``double`` (there before with the same title and year).
    """
    measured = table[~table["split"].isin(["train", NO_SPLIT])]
    ids = set(measured["id"])
    for name, title, year in zip(*(measured[column] for column in ("id", "title", "year")), strict=True):
        if (found := film(name, title, None if pd.isna(year) else int(year))) is not None:
            ids.add(found)
    names = {plain_title(title) for title in measured["title"] if title}
    out: Counter[str] = Counter({"bad_row": file.bad} if file.bad else {})
    kept: dict[tuple[str, int | None], tuple[str, int | None, tuple[str, ...]]] = {}
    for title, known, year, raw in file.rows:
        plain = plain_title(title)
        if plain in names or known in ids or (known is not None and film(known, title, year) in ids):
            out["measured_on"] += 1
        elif not vocabulary.map(raw)[0]:
            out["no_genre"] += 1
        elif (plain, year) in kept:
            out["double"] += 1
        else:
            kept[plain, year] = (title, year, raw)
    rows = list(kept.values())
    return Titles(*map(tuple, zip(*rows, strict=True))) if rows else Titles((), (), ()), dict(out)


def write_titles(folder: Path, titles: Titles | None) -> None:
    """Write ``titles.parquet`` atomically; without titles, see that there is none."""
    if titles is None:
        (folder / TITLES).unlink(missing_ok=True)
        return
    columns: dict[str, Sequence[Any]] = {"title": titles.titles, "year": titles.years, "genres": titles.genres}
    rows = pa.table({name: list(values) for name, values in columns.items()}, schema=_SCHEMA)
    with atomic_path(folder / TITLES) as temporary:
        pq.write_table(rows, temporary, compression="zstd")


def read_titles(source: bytes) -> Titles:
    """What `write_titles` wrote, from its bytes.

    Raises:
        ValueError: it is no such table, or lacks a title or a genre.
    """
    table = read_parquet(source, _SCHEMA)
    if table["title"].null_count or table["genres"].null_count or pc.list_flatten(table["genres"]).null_count:
        raise ValueError("a film has no title or no genres")
    rows = table.to_pydict()
    return Titles(tuple(rows["title"]), tuple(rows["year"]), tuple(map(tuple, rows["genres"])))
