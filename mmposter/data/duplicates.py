"""Posters that a split must not part: of one film, and near-duplicates.

Three things join posters to a group:

- the film: the IMDb id (``tt0111161``) where the poster's own id holds one, else the title without case, accents and
  punctuation, together with the year;
- the 64-bit perceptual hash, up to a distance. How it was chosen, on the 5636 different files of the 1980-2015 posters
  (15.9 million pairs): the hash compares with a median, so distances are even; at distance 4 there is one pair, a true
  one (two years of the same short-film programme, blue and green); none at 0, 2 and 6; one at 8, a false one (two dark
  posters with a figure in the middle); five at 10, all false by their titles and three by eye; 90 at 12. It finds what
  was saved again, shrunk, stretched or made grey. dhash was worse: its chance pairs begin at distance 5, and at 7 and
  less it has twelve pairs, of which one is true;
- the picture (`mmposter.data.likeness`), where the hash does not hold: cut, framed, mirrored, another title.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmposter.data.likeness import HEIGHT, WIDTH, Sketches, alike_pairs, same_picture
from mmposter.data.near_hashes import Pairs, near_pairs
from mmposter.data.sources.base import Issue

DUPLICATE_DISTANCE = 6
# Past this the chance pairs of any large set join into one group.
MAX_DISTANCE = 16
SAME_PICTURE = "same_picture"
"""The kind of an issue: a poster whose picture was found where its hash does not show it."""
_IMDB = re.compile(r"(?<![a-z0-9])tt[0-9]{1,10}(?![0-9])", re.IGNORECASE)
_TITLE_YEAR = re.compile(r"(.*\S)\s*\(([0-9]{4})\)\s*")


def film(poster: str, title: str | None, year: int | None) -> str | None:
    """What is the same for all posters of a film; None where too little is known of it.

    Two films of one name in one year are one here: better too few sides than a film on two.
    """
    return imdb_id(poster) or title_year(title, year)


def imdb_id(poster: str) -> str | None:
    """The film's number in a poster's id, in small letters; None where it holds none."""
    found = _IMDB.search(poster)
    return None if found is None else found.group().lower()


def title_year(title: str | None, year: int | None) -> str | None:
    """The title without case, accents and punctuation, and the year; None where one of them is not known."""
    if title is None:
        return None
    if year is None and (dated := _TITLE_YEAR.fullmatch(title)):
        title, year = dated.group(1), int(dated.group(2))
    plain = plain_title(title)
    return f"{plain} {year}" if plain and year is not None else None


def plain_title(title: str) -> str:
    """Letters and digits alone, without case and accents.

    >>> plain_title("Am\u00e9lie (2001)")
    'amelie2001'
    """
    return "".join(c for c in unicodedata.normalize("NFKD", title.casefold()) if c.isalnum())


def group_posters(
    table: pd.DataFrame, distance: int, alone: Sequence[str] | None = None
) -> tuple[list[str], list[str], list[Issue]]:
    """Name of each poster's group, the smallest id in it; that by film and hash; and what sketches joined further.

    Args:
        table: N rows with the columns id, title, year, phash and sketch. With a column source, posters of several
            sources are of one film by title and year too, whatever their ids say: sources may count films otherwise.
        distance: Hamming distance, 0-64, up to which two hashes are near.
        alone: for N rows of several sources the group that each has in its own source; pictures are then compared
            between sources alone, for within them it was done.
    """
    ids = list(table["id"])
    rows = [
        (name, title, None if pd.isna(year) else int(year))
        for name, title, year in table[["id", "title", "year"]].itertuples(index=False)
    ]
    pairs = np.concatenate(
        [_of_one_film([film(*row) for row in rows]), hash_pairs(table["phash"].to_numpy(), distance)]
    )
    if "source" in table:
        dated = [title_year(title, year) for _, title, year in rows]
        pairs = np.concatenate([pairs, _of_one_film(_shared(dated, list(table["source"])))])
    apart = None
    if alone is not None:
        own = [f"{source} {group}" for source, group in zip(table["source"], alone, strict=True)]
        pairs, apart = np.concatenate([pairs, _of_one_film(own)]), list(table["source"])
    found = _unknown_pairs(list(table["sketch"]), _chains(len(ids), pairs), apart)
    issues = [Issue(SAME_PICTURE, ids[max(pair)], f"shows the picture of {ids[min(pair)]}") for pair in found]
    groups = name_groups(ids, np.concatenate([pairs, np.array(found, np.intp).reshape(-1, 2)]))
    return groups, name_groups(ids, pairs), issues


def hash_pairs(hashes: NDArray[np.uint64], distance: int) -> Pairs:
    """Enough pairs to join all hashes that a chain of near ones connects."""
    # A placeholder picture saved many times is one hash: compare different hashes only, or its pairs fill the memory.
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    same = np.stack([np.arange(len(hashes)), first[inverse]], axis=1)
    return np.concatenate([same, *(first[near] for near in near_pairs(unique, distance))])


def name_groups(ids: Sequence[str], pairs: Pairs) -> list[str]:
    """The smallest id that a chain of pairs reaches from each."""
    chain = _chains(len(ids), pairs)
    named: list[str] = pd.Series(ids, dtype=object).groupby(chain).transform("min").tolist()
    return named


def _unknown_pairs(
    sketches: Sequence[Sketches], group: NDArray[Any], sources: Sequence[str] | None
) -> list[tuple[int, int]]:
    """Pairs of posters of one picture that are of two groups, no more than it takes to join them.

    With `sources`, those of two sources alone.
    """
    # Of equal sketches one: see `hash_pairs`. They are joined by their hashes.
    first = sorted({sketch.tobytes(): at for at, sketch in reversed(list(enumerate(sketches)))}.values())
    group, found = group.copy(), []
    for pair in alike_pairs(np.array([sketches[at] for at in first], np.uint8).reshape(-1, HEIGHT, WIDTH)):
        one, other = first[pair.one], first[pair.other]
        if sources is not None and sources[one] == sources[other]:
            continue
        if group[one] != group[other] and same_picture(sketches[one], sketches[other], pair):
            group[group == group[one]] = group[other]
            found.append((one, other))
    return found


def _of_one_film(names: Sequence[str | None]) -> Pairs:
    """Each poster of a film with the film's first."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(name, at), at) for at, name in enumerate(names) if name is not None]
    return np.array(pairs, np.intp).reshape(-1, 2)


def _shared(names: Sequence[str | None], sources: Sequence[str]) -> list[str | None]:
    """The names that are in several sources; None for the others."""
    where: dict[str, set[str]] = {}
    for name, source in zip(names, sources, strict=True):
        if name is not None:
            where.setdefault(name, set()).add(source)
    return [name if name is not None and len(where[name]) > 1 else None for name in names]


def _chains(count: int, pairs: Pairs) -> NDArray[Any]:
    """The number of each one's group, where pairs join `count` things."""
    near = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    chain: NDArray[Any] = connected_components(near, directed=False)[1]
    return chain
