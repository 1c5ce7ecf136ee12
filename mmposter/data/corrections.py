"""Corrections of genres by hand, as the page of `mmposter audit` gives them: ``prepare --corrections FILE``.

A table with the columns ``id``, ``action`` (``fix`` or ``keep``), ``add`` and ``remove`` (genres, parted as in any
table), or ``genres`` (all that the poster shall have, in place of the two), and ``source`` where there are several.

They are applied after the split, to `genres` alone: nobody changes sides, so no poster that was held out teaches, and
`raw_genres` stay as the source has them. A row that cannot be applied is counted and named, and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmposter.data.sources.base import Issue, known_text
from mmposter.data.sources.cells import cell_names
from mmposter.data.sources.tables import read_table, require_columns
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.files.spreadsheets import unguarded
from mmposter.visible import visible

FIX, KEEP = "fix", "keep"
ACTIONS = (FIX, KEEP)

UNKNOWN_ID, UNKNOWN_GENRE, BAD_ROW, NOT_POSSIBLE, TWICE = (
    "correction_unknown_id",
    "correction_unknown_genre",
    "correction_bad_row",
    "correction_not_possible",
    "correction_twice",
)

_NEEDED = ("id", "action")
_REMEDY = (
    "Needed: id, action (fix or keep); also read: add, remove, genres, source.\n"
    "The page of mmposter audit downloads such a table."
)


@dataclass(frozen=True)
class Correction:
    """What a row says of one poster."""

    line: int  # of the file
    id: str
    source: str | None
    action: str  # one of `ACTIONS`
    add: tuple[str, ...] = ()  # names as written
    remove: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()  # all that it shall have; empty: what `add` and `remove` make of those it has


@dataclass(frozen=True)
class CorrectionsFile:
    """A table of corrections as it was read."""

    rows: tuple[Correction, ...]
    issues: tuple[Issue, ...]  # rows that are none, and oddities of the file
    digest: str  # of its bytes: by which the same command is known again


def read_corrections(source: Path) -> CorrectionsFile:
    """Read a table, CSV or .xlsx.

    Raises:
        UserError: no file, no rows, or a column is missing.
        OSError: it cannot be read.
    """
    if not source.is_file():
        raise UserError(f"--corrections takes a table with the columns {', '.join(_NEEDED)}; {source} is no file")
    issues: list[Issue] = []
    table = read_table(source, issues)
    require_columns(source, table, _NEEDED, _REMEDY)
    rows = []
    for line, fields in table.rows:
        cells = {name: unguarded(cell) for name, cell in table.cells(fields).items()}
        row = Correction(
            line=line,
            id=cells.get("id", ""),
            source=known_text(cells.get("source")),
            action=cells.get("action", "").strip().casefold(),
            add=cell_names(cells.get("add")),
            remove=cell_names(cells.get("remove")),
            genres=cell_names(cells.get("genres")),
        )
        problem = table.problem(line, fields) or _problem(row)
        if problem is None:
            rows.append(row)
        else:
            issues.append(Issue(BAD_ROW, visible(row.id) or f"line {line}", f"line {line}: {problem}"))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return CorrectionsFile(tuple(rows), tuple(issues), digest[:16])


def _problem(row: Correction) -> str | None:
    if not row.id.strip():
        return "it names no id"
    if row.action not in ACTIONS:
        return f"action must be {' or '.join(ACTIONS)}, got {visible(row.action) or 'nothing'}"
    if row.genres and (row.add or row.remove):
        return "give genres, or add and remove, not both"
    if row.action == FIX and not (row.genres or row.add or row.remove):
        return "a fix needs add, remove or genres"
    return None


def apply_corrections(
    file: CorrectionsFile, table: pd.DataFrame, vocabulary: Vocabulary, name: str
) -> tuple[pd.DataFrame, dict[str, int], list[Issue]]:
    """The manifest with corrected genres; all other columns, and all rows, stay as they are.

    Args:
        file: what was read.
        table: has the columns id, genres and split, and source where there are several.
        vocabulary: of the genres.
        name: of the one source, where there is no column source.

    Returns:
        The table; counts: ``changed`` and of these by split, ``kept``, ``unchanged`` (a fix that is there already) and
        rows that were not applied by the kind of their issue; and these issues.
    """
    places = {row_id: place for place, row_id in enumerate(table["id"])}
    sources = list(table["source"]) if "source" in table else [name] * len(table)
    genres = list(table["genres"])
    counts: Counter[str] = Counter()
    issues = list(file.issues)
    done: dict[int, list[str]] = {}
    for row in file.rows:
        place = _place(row, places, sources)
        if place is None:
            issues.append(Issue(UNKNOWN_ID, row.id, f"line {row.line}: no poster that was kept has this id{_of(row)}"))
            continue
        wanted, problem = _wanted(row, list(genres[place]), vocabulary)
        if problem is None and done.get(place, wanted) != wanted:
            problem = (TWICE, f"line {row.line}: it was corrected otherwise before, which is used")
        if problem is not None:
            issues.append(Issue(problem[0], row.id, problem[1]))
            continue
        if place not in done:
            kind = "kept" if row.action == KEEP else "unchanged" if wanted == list(genres[place]) else "changed"
            counts[kind] += 1
            if kind == "changed":
                counts[f"changed, {table['split'].iloc[place]}"] += 1
        done[place] = wanted
    for place, wanted in done.items():
        genres[place] = wanted
    kinds = (BAD_ROW, UNKNOWN_ID, UNKNOWN_GENRE, NOT_POSSIBLE, TWICE)
    counts.update(issue.kind for issue in issues if issue.kind in kinds)
    return table.assign(genres=pd.Series(genres, index=table.index, dtype=object)), dict(counts), issues


def _place(row: Correction, places: Mapping[str, int], sources: Sequence[str]) -> int | None:
    """The poster that a row means; of several sources one may be named by its own id and its source."""
    if row.source is None:
        return places.get(row.id)
    candidates = (places.get(row.id), places.get(f"{row.source}/{row.id}"))
    return next((place for place in candidates if place is not None and sources[place] == row.source), None)


def _of(row: Correction) -> str:
    return "" if row.source is None else f" in source {visible(row.source)}"


def _wanted(row: Correction, has: list[str], vocabulary: Vocabulary) -> tuple[list[str], tuple[str, str] | None]:
    """The genres that a poster shall have, in the vocabulary's order; or a kind of issue and its message."""
    if row.action == KEEP:
        return has, None
    led: dict[str, list[str]] = {}
    for column, names in (("add", row.add), ("remove", row.remove), ("genres", row.genres)):
        led[column] = []
        for name in names:
            known, _ = vocabulary.map([name])
            if not known:
                near = vocabulary.nearest(name)
                hint = "" if near is None else f" (did you mean {visible(near)}?)"
                message = f"line {row.line}: vocabulary {vocabulary.name} has no genre {visible(name)}{hint}"
                return has, (UNKNOWN_GENRE, message)
            led[column] += known
    both = set(led["add"]) & set(led["remove"])
    wanted = set(led["genres"]) if row.genres else (set(has) | set(led["add"])) - set(led["remove"])
    if both:
        return has, (NOT_POSSIBLE, f"line {row.line}: {visible(sorted(both)[0])} is to be added and removed")
    if not wanted:
        return has, (NOT_POSSIBLE, f"line {row.line}: it would leave the poster without a genre")
    if vocabulary.labels == "first" and len(wanted) > 1:
        return has, (NOT_POSSIBLE, f"line {row.line}: a poster has one genre in this vocabulary, not {len(wanted)}")
    return [genre for genre in vocabulary.genres if genre in wanted], None
