"""Which genres are decided where a genre is true, beside which genres really come with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import FloatArray
from mmposter.evaluation.intervals import Z_95
from mmposter.evaluation.metrics import labelled
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.weighted import divide

MIN_SUPPORT = 10
"""Posters of the true genre below which a confusion is not put into words."""


@dataclass(frozen=True)
class Confusion:
    """On posters of `genre`, `other` is decided more (or less) often than it is true."""

    genre: str  # the true genre whose posters are looked at
    other: str  # the genre that is decided
    decided: float  # share of those posters where `other` is decided
    true: float  # share of them that have it
    posters: int  # how many there are

    def sentence(self) -> str:
        """In words.

        >>> Confusion("Horror", "Thriller", 0.71, 0.384, 110).sentence()
        'On Horror posters (110) Thriller is decided too often: on 71 %, and true of 38 %.'
        """
        way = "often" if self.decided > self.true else "seldom"
        return (
            f"On {self.genre} posters ({self.posters}) {self.other} is decided too {way}: on "
            f"{self.decided * 100:.0f} %, and true of {self.true * 100:.0f} %."
        )


@dataclass(frozen=True, eq=False)
class CoOccurrence:
    """Two matrices G x G; row i is over the posters that have genre i, and NaN where none has."""

    genres: tuple[str, ...]  # names, G
    support: tuple[int, ...]  # posters of each genre, G
    true: FloatArray  # share of them that also have genre j; 1 on the diagonal
    decided: FloatArray  # share of them where genre j is decided; recall on the diagonal
    too_often: tuple[Confusion, ...]  # most striking first: `other` is decided more often than it is true
    too_seldom: tuple[Confusion, ...]  # the same for less often

    def to_json(self) -> dict[str, Any]:
        """Plain values; a row without posters is null."""
        plain = plain_values(self)
        for name in ("true", "decided"):
            plain[name] = [None if None in row else row for row in plain[name]]
        return {**plain}


def cooccurrence(target: ArrayLike, decisions: ArrayLike, genres: Sequence[str], striking: int = 6) -> CoOccurrence:
    """Count which genres are true and decided together.

    A confusion is the more striking the further the two shares lie apart, less 1.96 standard errors of their
    difference (over the posters of the row's genre), so that a rare genre does not win by luck.

    Args:
        target: N x G of {0, 1}; posters without a genre are left out.
        decisions: N x G of {False, True}.
        genres: the G names.
        striking: how many confusions to name at most, in each direction.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> found = cooccurrence([[1, 0], [1, 1], [0, 1]], [[1, 1], [1, 1], [0, 1]], ["War", "Drama"])
    >>> found.true.tolist(), found.decided.tolist()
    ([[1.0, 0.5], [0.5, 1.0]], [[1.0, 1.0], [0.5, 1.0]])
    """
    truth, _, decided = labelled(target, decisions=decisions)
    has, said = truth.astype(np.float64), decided.astype(np.float64)
    support = has.sum(axis=0)
    rows = support[:, None]
    true_share, decided_share = divide(has.T @ has, rows), divide(has.T @ said, rows)
    # A poster's (decided - true) is -1, 0 or 1; its square is whether the two differ.
    excess, square = decided_share - true_share, divide(has.T @ (said != has).astype(np.float64), rows)
    error = np.sqrt(np.maximum(square - excess**2, 0) / np.maximum(rows, 1))
    named = (rows >= MIN_SUPPORT) & ~np.eye(len(support), dtype=np.bool_)

    def strongest(sign: float) -> tuple[Confusion, ...]:
        bound = np.where(named, sign * excess - Z_95 * error, -np.inf)
        order = np.argsort(-bound, axis=None, kind="stable")[:striking]
        found = [np.unravel_index(place, bound.shape) for place in order if bound.flat[place] > 0]
        return tuple(
            Confusion(genres[i], genres[j], float(decided_share[i, j]), float(true_share[i, j]), int(support[i]))
            for i, j in found
        )

    return CoOccurrence(
        genres=tuple(genres),
        support=tuple(int(count) for count in support),
        true=true_share,
        decided=decided_share,
        too_often=strongest(1.0),
        too_seldom=strongest(-1.0),
    )
