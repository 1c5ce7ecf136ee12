"""Words that were read as one: a tight title loses its gaps ("MANTROUBLE"), and is taken apart by a word list.

The list and the search are those of the package wordninja: English words by how often they stand in Wikipedia, and the
likeliest row of them. Only a row of which every piece is a usual word counts; a name or a word of another language,
which such a search would cut into crumbs, is left as it was read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.metadata import version
from typing import Any

_SHORTEST = 5  # letters of what is looked at
_NUMBERED = re.compile("([A-Z]{3,}?)(II|III|IV|VI|VII|VIII|IX)")  # "ROCKYIV"
_RUN = re.compile(rf"[A-Za-z]{{{_SHORTEST},}}")
# A piece of one or two letters is one of these; of three letters and more, among the so many most frequent words.
_PIECES = "a i am an as at be by do go he if in is it me my no of on or so to up us we"
_SHORT = frozenset(_PIECES.split())
_RANK = {3: 1_500, 4: 6_000}
_RANK_LONGER = 20_000


def split_glued(line: str) -> str:
    """A line with gaps between words that were read as one; letters, case and all else stay as they are.

    >>> split_glued("MANTROUBLE by Schwarzenegger")
    'MAN TROUBLE by Schwarzenegger'
    """
    return _RUN.sub(lambda run: " ".join(_words(run.group())), line)


def splitter() -> str:
    """What splits, with its version: another list is another text."""
    return f"wordninja {version('wordninja')}"


@lru_cache(maxsize=4096)  # credits stand on many posters
def _words(run: str) -> tuple[str, ...]:
    model, ranks = _english()
    if run.lower() in ranks:
        return (run,)
    if (numbered := _NUMBERED.fullmatch(run)) and (numbered[1].lower() in ranks or "VII" in run or "III" in run):
        return numbered[1], numbered[2]
    pieces = tuple(model.split(run))
    sure = all(_usual(piece.lower(), ranks) for piece in pieces) and len(pieces[-1]) > 1
    return pieces if sure else (run,)


def _usual(piece: str, ranks: dict[str, int]) -> bool:
    if len(piece) <= 2:
        return piece in _SHORT
    return ranks.get(piece, _RANK_LONGER) < _RANK.get(len(piece), _RANK_LONGER)


@lru_cache(maxsize=1)
def _english() -> tuple[Any, dict[str, int]]:
    """wordninja's model, and the place of each of its words by frequency."""
    import wordninja

    model = wordninja.DEFAULT_LANGUAGE_MODEL
    return model, {word: place for place, word in enumerate(model._wordcost)}
