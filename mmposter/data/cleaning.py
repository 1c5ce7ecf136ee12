"""Cleaning: each step takes a table and gives (kept, dropped), so that no poster disappears without a reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from mmposter.data.genre_names import says_no_genre
from mmposter.data.sources.base import Issue
from mmposter.data.vocabulary import Vocabulary
from mmposter.objects import is_object

# Kept rows with all their columns; dropped rows with the columns of DROPPED_COLUMNS.
Cut: TypeAlias = tuple[pd.DataFrame, pd.DataFrame]

DROPPED_COLUMNS = ("id", "path", "reason", "message")


def cut(table: pd.DataFrame, bad: Iterable[bool], reason: str | Iterable[str], message: str | Iterable[str]) -> Cut:
    """Part `table` by the mask `bad`.

    Args:
        table: has the columns id and path.
        bad: True for a row to drop, one value a row.
        reason: short word for the count; one for all, or one for each dropped row.
        message: for people; one for all, or one for each dropped row.
    """
    mask = np.fromiter(bad, dtype=bool, count=len(table))
    dropped = table.loc[mask, ["id", "path"]].copy()
    dropped["reason"] = reason if isinstance(reason, str) else list(reason)
    dropped["message"] = message if isinstance(message, str) else list(message)
    return table.loc[~mask].reset_index(drop=True), dropped.reset_index(drop=True)


def drop_problem_rows(table: pd.DataFrame) -> Cut:
    """Rows that the source itself could not read (``bad_row``)."""
    bad = table["problem"].notna()
    return cut(table, bad, "bad_row", table.loc[bad, "problem"])


def drop_missing_posters(table: pd.DataFrame) -> Cut:
    """Movies without a poster: the source knows no file, or the file is not there (``missing_poster``)."""
    bad = ~has_poster(table)
    messages = [
        absence or ("the source has no poster for it" if path is None else "there is no such file")
        for path, absence in table.loc[bad, ["path", "absence"]].itertuples(index=False)
    ]
    return cut(table, bad, "missing_poster", messages)


def has_poster(table: pd.DataFrame) -> pd.Series[bool]:
    """True where the row's file exists. Whether an object of a store does is seen when it is read."""
    exists = [isinstance(path, str) and (is_object(path) or os.path.isfile(path)) for path in table["path"]]
    return pd.Series(exists, index=table.index, dtype=bool)


def drop_posters_without_metadata(table: pd.DataFrame) -> Cut:
    """Poster files that no record speaks of (``no_metadata``)."""
    return cut(table, ~table["has_record"], "no_metadata", "no metadata record has this id")


def map_genres(table: pd.DataFrame, vocabulary: Vocabulary) -> tuple[pd.DataFrame, pd.DataFrame, list[Issue]]:
    """Lead raw genres to the vocabulary's; the raw names stay in the column raw_genres.

    Dropped: a row without any genre (``no_genre``: none, or only ``N/A`` and the like) where the vocabulary has no
    class for these, and one that has genres of which none is in the vocabulary (``no_known_genre``). A name that the
    vocabulary does not know at all is an issue (``unknown_genre``), whose message says what becomes of the row.
    """
    table = table.rename(columns={"genres": "raw_genres"})
    mapped, reasons, messages, issues = [], [], [], []
    for row_id, raw in table[["id", "raw_genres"]].itertuples(index=False):
        genres, unknown = vocabulary.map(raw)
        mapped.append(genres)
        fate = f"the poster stays with {name_list(genres)}" if genres else "the poster is left out"
        issues += [
            Issue("unknown_genre", row_id, f"genre {name!r} is not known to vocabulary {vocabulary.name!r}; {fate}")
            for name in unknown
        ]
        if not genres:
            reasons.append("no_genre" if says_no_genre(raw) else "no_known_genre")
            messages.append(f"its genres: {name_list(raw)}" if raw else "it has no genre")
    table["genres"] = mapped
    kept, dropped = cut(table, [not genres for genres in mapped], reasons, messages)
    return kept, dropped, issues


def name_list(names: Sequence[str]) -> str:
    """Names for a message."""
    return ", ".join(names) or "none"
