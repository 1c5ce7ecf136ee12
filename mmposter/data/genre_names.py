"""One genre under the many names that people and lists give it: ``Science Fiction``, ``SciFi`` and ``Sci-Fi`` are one.

The names are in ``configs/genre_names.yaml``. They are no part of a vocabulary: they change which raw names lead to a
genre, not what a label column means, so data and runs of earlier versions stay what they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

from mmposter.files.strict_yaml import parse_yaml
from mmposter.suggest import closest

__all__ = ["KnownNames", "plain_name", "says_no_genre", "strict_name"]

_PASSED_OVER = re.compile(r"[\s\-\u2010-\u2015_.'\u2019\"()]+")
_FILM = re.compile(r"(?<=.)(?:film|movie)s?$")
_JOINED = re.compile(r"\s*[/&+,|;]\s*|\s+and\s+", re.IGNORECASE)
_ALIKE = 0.7  # how near a name must be to be proposed, as `difflib` counts it
# Longer texts are no names; nothing is looked for in them.
_LONGEST = 200


def strict_name(name: str) -> str:
    """A name without regard to case and to blanks around it: all that names of one vocabulary must differ in."""
    return name.strip().casefold()


def plain_name(name: str) -> str:
    """A name as it is compared with names of others, without what is written now so and now so.

    >>> plain_name("Sci-Fi") == plain_name("sci fi") == plain_name("SciFi")
    True
    >>> plain_name("Comedies"), plain_name("Film noir"), plain_name("Horror movies")
    ('comedy', 'filmnoir', 'horror')
    """
    plain = _PASSED_OVER.sub("", unicodedata.normalize("NFKC", name[: _LONGEST + 1]).casefold())
    plain = _FILM.sub("", plain)
    if len(plain) > 3 and plain.endswith("s") and not plain.endswith("ss"):
        plain = plain[:-1]
    return f"{plain[:-2]}y" if len(plain) > 3 and plain.endswith("ie") else plain


@dataclass(frozen=True)
class _Table:
    """The file of names, each as `plain_name` has it."""

    same: Mapping[str, str]  # name -> the one that stands for all of them
    kinds: Mapping[str, tuple[str, ...]]  # name -> what it says too
    no_genre: frozenset[str]


@cache
def _table() -> _Table:
    text = (resources.files("mmposter.configs") / "genre_names.yaml").read_text(encoding="utf-8")
    values = parse_yaml(text)
    same = {plain_name(name): plain_name(first) for first, names in values["same"].items() for name in names}
    kinds = {plain_name(name): tuple(map(plain_name, said)) for name, said in values["kinds"].items()}
    return _Table(same, kinds, frozenset(map(plain_name, values["no_genre"])) | {""})


def says_no_genre(names: Iterable[str]) -> bool:
    """Whether none of the names is a genre's: there is none, or only ``N/A``, ``none``, ``TV Movie`` and the like."""
    return all(plain_name(name) in _table().no_genre for name in names)


class KnownNames:
    """The names that a vocabulary knows, found again under other spellings and other names.

    Args:
        names: each name that it knows, as written, and what it leads to.
    """

    def __init__(self, names: Mapping[str, str | None]) -> None:
        self._led = {strict_name(name): target for name, target in names.items()}
        self._written = {strict_name(name): name for name in names}

    @cached_property
    def _plain(self) -> dict[str, str]:
        return self._unambiguous({name: plain_name(name) for name in self._led})

    @cached_property
    def _meant(self) -> dict[str, str]:
        """By the name that stands for all of one genre."""
        same = _table().same
        by_others = self._unambiguous({name: same.get(plain_name(name), plain_name(name)) for name in self._led})
        return {**by_others, **self._plain}

    def _unambiguous(self, spellings: Mapping[str, str]) -> dict[str, str]:
        """Spelling -> the name that it means, without those that mean several genres."""
        meant: dict[str, list[str]] = {}
        for name, spelling in spellings.items():
            meant.setdefault(spelling, []).append(name)
        return {
            spelling: names[0] for spelling, names in meant.items() if len({self._led[name] for name in names}) == 1
        }

    def find(self, name: str) -> tuple[list[str], list[str]]:
        """What a raw name says.

        Returns:
            The known names, as `strict_name` has them; and what is not known: the name as written, or of a joined name
            (``Action/Zombie``) the parts that are not. Both are empty for a name that is known to say no genre.
        """
        whole = self._find_one(name)
        if whole is not None:
            return whole, []
        parts = [part for part in _JOINED.split(name.strip()) if part] if len(name) <= _LONGEST else []
        found = {part: self._find_one(part) for part in parts}
        if not any(found.values()):
            return [], [name]
        known = dict.fromkeys(key for keys in found.values() for key in keys or ())
        return list(known), [part for part, keys in found.items() if keys is None]

    def _find_one(self, name: str) -> list[str] | None:
        strict = strict_name(name)
        if strict in self._led:
            return [strict]
        if len(name) > _LONGEST:
            return None
        table, plain = _table(), plain_name(name)
        if plain in self._plain:
            return [self._plain[plain]]
        stands_for = table.same.get(plain, plain)
        if stands_for in self._meant:
            return [self._meant[stands_for]]
        if kinds := [self._meant[kind] for kind in table.kinds.get(stands_for, ()) if kind in self._meant]:
            return kinds
        return [] if plain in table.no_genre else None

    def nearest(self, name: str) -> str | None:
        """The known name, as written, that an unknown one may have been meant to be; None where none is near."""
        others = {other: self._meant[first] for other, first in _table().same.items() if first in self._meant}
        candidates = {**others, **self._plain}
        near = closest(plain_name(name), candidates, alike=_ALIKE)
        return None if near is None else self._written[candidates[near]]
