"""Which genres of a vocabulary are hardly told apart: two names for what looks alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import check_binary, check_probs
from mmposter.evaluation.intervals import Z_95

MIN_SUPPORT = 10
"""Posters with one of two genres and not the other below which nothing is said of the pair."""

_NEAREST = 1e-7


@dataclass(frozen=True)
class GenrePair:
    """How well two genres are told apart on posters that have just one of them."""

    first: str
    second: str
    only_first: int  # posters with the first genre and without the second
    only_second: int
    both: int  # posters with both
    auroc: float  # share of all pairs of such posters that the probabilities put in the right order; chance: 0.5
    ci95: tuple[float, float]  # its interval

    def sentence(self) -> str:
        """In words.

        >>> GenrePair("Mystery", "Thriller", 120, 700, 310, 0.584, (0.53, 0.64)).sentence()
        'Mystery or Thriller, where a poster has one of them (120 and 700): told apart in 58 % (53 to 64; chance: 50); \
310 posters have both.'
        """
        low, high = self.ci95
        return (
            f"{self.first} or {self.second}, where a poster has one of them ({self.only_first:,} and "
            f"{self.only_second:,}): told apart in {self.auroc * 100:.0f} % ({low * 100:.0f} to {high * 100:.0f}; "
            f"chance: 50); {self.both:,} posters have both."
        )


def confused_genres(target: ArrayLike, probs: ArrayLike, genres: Sequence[str], most: int = 10) -> list[GenrePair]:
    """The pairs of genres that are told apart worst, by the upper end of the interval.

    Of posters with exactly one of two genres: the area under the ROC curve of the difference of the two logits. It does
    not depend on how common either genre is. Standard error: Hanley and McNeil 1982, Radiology 143, 29-36.

    Args:
        target: N x G of {0, 1}, as given.
        probs: N x G in 0-1, of models that did not learn from the poster.
        genres: the G names.
        most: pairs at most; only such whose interval lies below `TOLD_APART` are named.

    Raises:
        ValueError: a wrong shape or value.
    """
    from scipy.special import logit
    from scipy.stats import rankdata

    given = check_binary(target, "target")
    logits = logit(np.clip(check_probs(probs, given.shape), _NEAREST, 1 - _NEAREST))
    found = []
    for first, second in combinations(range(given.shape[1]), 2):
        has, other = given[:, first], given[:, second]
        only, wrong = has & ~other, other & ~has
        n, m = int(only.sum()), int(wrong.sum())
        if min(n, m) < MIN_SUPPORT:
            continue
        one = only | wrong
        places = rankdata(logits[one, first] - logits[one, second])
        area = float((places[only[one]].sum() - n * (n + 1) / 2) / (n * m))
        error = _standard_error(area, n, m)
        ends = (max(area - Z_95 * error, 0.0), min(area + Z_95 * error, 1.0))
        found.append(GenrePair(genres[first], genres[second], n, m, int((has & other).sum()), area, ends))
    found.sort(key=lambda pair: pair.ci95[1])
    return [pair for pair in found if pair.ci95[1] < TOLD_APART][:most]


TOLD_APART = 0.75
"""Genres that are told apart better than this are not called confused."""


def _standard_error(area: float, n: int, m: int) -> float:
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)
    return float(np.sqrt(max(variance, 0) / (n * m)))
