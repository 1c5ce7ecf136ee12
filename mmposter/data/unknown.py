"""Genre names that a vocabulary does not know: how many posters have them, and when that is too many to go on.

A poster whose genre is not recognised is taught as an example of what that genre is not. A few odd names are noise,
many are a wrong vocabulary or another spelling, which should not pass unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.visible import visible

UNKNOWN_SHARE = 0.05
"""Share of the posters that may have an unknown name; of more the user decides."""

_SHOWN = 10


@dataclass(frozen=True)
class UnknownName:
    """A name that is not known, and the posters that have it."""

    name: str
    posters: int
    beside: int  # of these, how many have known genres too, and count as posters without this one
    nearest: str | None  # the known name that may be meant

    def __str__(self) -> str:
        meant = f" (did you mean {self.nearest}?)" if self.nearest else ""
        return f"{visible(self.name)} {self.posters}{meant}"


def unknown_names(genres: Iterable[Sequence[str]], vocabulary: Vocabulary) -> list[UnknownName]:
    """The unknown among the raw names of posters, commonest first; `nearest` is looked up for those that are shown."""
    posters: dict[str, int] = {}
    beside: dict[str, int] = {}
    for names in genres:
        known, unknown = vocabulary.map(names)
        for name in set(unknown):
            posters[name] = posters.get(name, 0) + 1
            beside[name] = beside.get(name, 0) + bool(known)
    ordered = sorted(posters, key=lambda name: (-posters[name], name))
    return [
        UnknownName(name, posters[name], beside[name], vocabulary.nearest(name) if place < _SHOWN else None)
        for place, name in enumerate(ordered)
    ]


def sum_unknown(parts: Iterable[Sequence[UnknownName]]) -> list[UnknownName]:
    """The unknown names of several sources together, commonest first."""
    sums: dict[str, UnknownName] = {}
    for one in (name for part in parts for name in part):
        before = sums.get(one.name, UnknownName(one.name, 0, 0, None))
        nearest = before.nearest or one.nearest
        sums[one.name] = UnknownName(one.name, before.posters + one.posters, before.beside + one.beside, nearest)
    return sorted(sums.values(), key=lambda name: (-name.posters, name.name))


def first_names(unknown: Sequence[UnknownName]) -> list[str]:
    """A line for each of the commonest, and one for the others."""
    more = len(unknown) - _SHOWN
    return [str(name) for name in unknown[:_SHOWN]] + ([f"and {more} other names"] if more > 0 else [])


def refuse_unknown(posters: Iterable[tuple[str, Sequence[str]]], vocabulary: Vocabulary) -> None:
    """Stop where more than `UNKNOWN_SHARE` of the posters have a name that the vocabulary does not know.

    Args:
        posters: id and raw names of each row; rows of one id are one poster.

    Raises:
        UserError: with the names, how many posters have each, and the nearest known ones.
    """
    genres: dict[str, list[str]] = {}
    for row_id, names in posters:
        genres.setdefault(row_id, []).extend(names)
    hit = sum(bool(vocabulary.map(names)[1]) for names in genres.values())
    if hit <= UNKNOWN_SHARE * len(genres):
        return
    unknown = unknown_names(genres.values(), vocabulary)
    first = unknown[0]
    line = f"{visible(first.name)}: {first.nearest or vocabulary.genres[0]}"
    raise UserError(
        f"{hit} of {len(genres)} posters ({hit / len(genres):.0%}) have genres that vocabulary {vocabulary.name!r} "
        f"does not know; up to {UNKNOWN_SHARE:.0%} is allowed. Those with other genres too would be taught as posters "
        "without these, the others left out:\n  "
        + "\n  ".join(first_names(unknown))
        + "\nMend the names; or choose another --vocabulary, or write your own (a YAML file), whose mapping leads such "
        f"a name to a genre ({line}) or to null; or go on with --allow-unknown."
    )
