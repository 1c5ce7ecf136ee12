"""Rows of one poster become one: its genres are those of all of them.

Tables often have one row a poster and genre, and folders one copy of the poster a genre. Only the first row of a poster
is kept; what the others say of its genres goes to it, unless they are of another film or another picture.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from mmposter.data.cleaning import Cut, cut, name_list
from mmposter.data.dataset import relative_path
from mmposter.data.sources.base import Issue
from mmposter.data.vocabulary import Vocabulary

Row: TypeAlias = Mapping[Hashable, Any]

UNITED = "united"
# What rows of one poster should agree on beside its genres; a missing value contradicts nothing.
_SAID_ONCE = ("title", "year", "split")


def unite_ids(table: pd.DataFrame) -> tuple[Cut, list[Issue]]:
    """Keep the first row of each id, in the source's order.

    A further row of the same picture gives its genres to the first (``united``), or brings none that is new
    (``duplicate_id``); one with another picture gives nothing (``duplicate_id``).

    Returns:
        Kept and dropped rows; and issues: ``contradiction`` for rows that say another title, year or split, and
        ``genres_differ`` for another picture of the id with other genres.
    """
    firsts = _firsts(table["id"])
    rows = _rows(table, firsts)
    genres = {first: list(rows[first]["genres"]) for first in firsts.values()}
    reasons, messages = [], []
    issues: list[Issue] = []
    for place, first in firsts.items():
        here, there = rows[place], rows[first]
        where = f"the id is there before, in row {there['row']}"
        if _one_picture(here["path"], there["path"]):
            reason, message = _add(genres[first], here["genres"], where)
        else:
            reason, message = "duplicate_id", f"{where}, with another picture, {there['path']}, which is kept"
            if not set(here["genres"]) <= set(genres[first]):
                message += f"; genres differ: kept {name_list(genres[first])}, here {name_list(here['genres'])}"
                issues.append(Issue("genres_differ", here["id"], f"row {here['row']}: {message}"))
        issues += _contradictions(here, there)
        reasons.append(reason)
        messages.append(message)
    table = table.assign(genres=[genres.get(place, names) for place, names in enumerate(table["genres"])])
    return cut(table, _among(firsts, len(table)), reasons, messages), issues


def unite_files(table: pd.DataFrame, vocabulary: Vocabulary | None, root: Path) -> tuple[Cut, list[Issue]]:
    """Keep the first of the files with the same bytes, by order of ids.

    Where both ids are no more than the files' paths, as in class folders, and titles and years do not contradict, the
    two are one poster: genres are united (``united``). Otherwise one picture under two ids is two movies with one
    poster (two parts of a film, two editions): the second is dropped (``same_file``), and the message says so when
    their genres differ, because then the label of the kept poster is only half of the truth.

    Args:
        table: has the columns sha256, genres and raw_genres.
        vocabulary: leads the united raw genres; None for posters without labels.
        root: folder of the posters.

    Returns:
        Kept and dropped rows; and issues: ``genres_differ`` for a dropped file with other genres, ``contradiction``
        for united ones that say another split.
    """
    table = table.sort_values("id", kind="stable").reset_index(drop=True)
    firsts = _firsts(table["sha256"])
    rows = _rows(table, firsts)
    genres = {first: list(rows[first]["raw_genres"]) for first in firsts.values()}
    reasons, messages = [], []
    issues: list[Issue] = []
    for place, first in firsts.items():
        here, there = rows[place], rows[first]
        reason, message = "same_file", f"same bytes as {there['id']}, which is kept"
        nameless = all(side["id"] == relative_path(side["path"], root) for side in (here, there))
        if nameless and not any(_differ(here, there, name) for name in ("title", "year")):
            united, message = _add(genres[first], here["raw_genres"], message)
            reason = UNITED if united == UNITED else reason
            issues += _contradictions(here, there)
        elif set(here["raw_genres"]) != set(there["raw_genres"]):
            message += f"; genres differ: kept {name_list(there['raw_genres'])}, here {name_list(here['raw_genres'])}"
            issues.append(Issue("genres_differ", here["id"], message))
        reasons.append(reason)
        messages.append(message)
    raw = [genres.get(place, names) for place, names in enumerate(table["raw_genres"])]
    table = table.assign(raw_genres=raw)
    if vocabulary is not None:
        table["genres"] = [vocabulary.map(names)[0] for names in raw]
    return cut(table, _among(firsts, len(table)), reasons, messages), issues


def _firsts(values: pd.Series[str]) -> dict[int, int]:
    """Of each value that is there before: its place -> the place of the first."""
    places: dict[str, int] = {}
    return {place: places[value] for place, value in enumerate(values) if places.setdefault(value, place) != place}


def _rows(table: pd.DataFrame, firsts: Mapping[int, int]) -> dict[int, Row]:
    """The rows that are there again, and those that they are compared with, by place."""
    places = sorted({*firsts, *firsts.values()})
    return dict(zip(places, table.iloc[places].to_dict("records"), strict=True))


def _among(firsts: Mapping[int, int], count: int) -> list[bool]:
    return [place in firsts for place in range(count)]


def _add(genres: list[str], more: list[str], where: str) -> tuple[str, str]:
    """Add what is new to the first row's genres; the reason and the message for the other row."""
    new = [name for name in more if name not in genres]
    genres += new
    if new:
        return UNITED, f"{where}; {name_list(new)} goes to its genres"
    return "duplicate_id", f"{where}, with the same genres or more"


def _one_picture(path: str, other: str) -> bool:
    try:
        return path == other or os.path.samefile(path, other) or filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False


def _contradictions(here: Row, there: Row) -> Iterator[Issue]:
    for name in _SAID_ONCE:
        if _differ(here, there, name):
            message = f"row {here['row']} says {name} {here[name]}, row {there['row']} {there[name]}, which is used"
            yield Issue("contradiction", there["id"], message)


def _differ(here: Row, there: Row, name: str) -> bool:
    values = [side[name] for side in (here, there)]
    return not any(pd.isna(value) for value in values) and len({str(value).strip().casefold() for value in values}) > 1
