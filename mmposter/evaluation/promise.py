"""Which genres may be given without a person: those of which a precision can be promised for new posters.

**What is promised.** Of all genres given to new posters of the same kind, the share that is true (micro precision) is
at least `a`. A genre is given where its probability reaches one threshold, the same for all genres, and to a poster the
`MOST` surest at most. The threshold is found on validation posters; over draws of those the promise fails with a
probability of at most 1 - confidence.

**How.** Learn then test (Angelopoulos et al. 2021, arXiv 2110.01052): each threshold is a hypothesis "precision below
a", tested from the strictest threshold down (fixed-sequence testing, so many tests cost nothing), and the loosest one
before the first that is not rejected is taken. Conformal risk control (arXiv 2208.02814) was not taken: it asks for a
loss that falls with the threshold, which precision need not, and holds on average over validation sets, not for the
one at hand.

**The test.** The genres of a poster depend on each other, so posters are counted, not genres: with k genres given, t
of them true, a poster is worth X = t - a k, and precision is below `a` exactly where the mean of X is below 0. X is
bounded, so prod(1 + b X) over the posters that get a genre is a bet against the hypothesis: its mean is 1 at most, and
it exceeds 1 / (1 - confidence) with a probability of at most 1 - confidence (Waudby-Smith and Ramdas 2020, arXiv
2010.09686; one fixed b in place of a changing one, so the order of the posters has no say). No normal distribution is
assumed. b depends on the number of posters alone, and suits a precision halfway between `a` and 1.

**Where the sequence begins.** A few posters prove nothing, however good they are, and would end it at once: it begins
at the strictest threshold with as many posters as reject where the precision lies halfway between `a` and 1. That
number looks at no genre. For this start alone it is assumed that precision does not rise as the threshold falls.

Of near-duplicates one counts. Probabilities count in whole percents, rounded down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmposter.errors import UserError
from mmposter.evaluation.arrays import BoolArray, FloatArray, IntArray, check_binary, check_probs, has_genre

CONFIDENCE = 0.95
"""How sure a promise is where nobody says otherwise."""

MOST = 3
"""Genres given to a poster at most: the bound on X, on which the strength of the test depends."""

NOTHING = 101
"""The percent that no probability reaches."""

_LEAST, _CERTAIN = 20, 99
"""Percents: below the first no genre is given, whatever is asked; above the second there is no step."""

_STEPS = np.arange(_CERTAIN, _LEAST - 1, -1)
_LARGEST_BET = 0.99  # of the one that a poster of false genres alone would lose all of
_MANY = 20_000  # posters beyond which no sequence begins

_GIVEN, _TRUE = np.array([(given, true) for given in range(1, MOST + 1) for true in range(given + 1)]).T
_POSTER = re.compile(rf"(?:\d\d[+-]){{1,{MOST}}}")


@dataclass(frozen=True)
class Promise:
    """A precision and from which probability on genres are given for it, as found on validation posters.

    Attributes:
        precision: of the given genres, at least.
        confidence: in that.
        percent: the probability from which a genre is given, in whole percents; `NOTHING` where this precision cannot
            be promised.
        share: of the true genres of the validation posters, those that are given.
        posters: share of the validation posters that get a genre.
        highest: where it cannot, the highest precision in whole percents that can; None: none, or it was not asked.
    """

    precision: float
    confidence: float
    percent: int
    share: float
    posters: float
    highest: float | None = None

    @property
    def holds(self) -> bool:
        """Whether this precision can be promised; else nothing is given."""
        return self.percent < NOTHING

    def text(self) -> str:
        """What is promised, in words.

        >>> Promise(0.8, 0.95, 82, 0.17, 0.41).text()
        'precision .80 is promised (confidence .95) for genres from .82 on'
        >>> Promise(0.9, 0.95, NOTHING, 0, 0, 0.82).text()
        'precision .90 cannot be promised (confidence .95), so no genre is given; the highest that can is .82'
        """
        asked = f"precision {short(self.precision)}"
        sure = f"(confidence {short(self.confidence)})"
        if not self.holds:
            other = f"the highest that can is {short(self.highest)}" if self.highest else "no other can"
            return f"{asked} cannot be promised {sure}, so no genre is given; {other}"
        return f"{asked} is promised {sure} for genres from {short(self.percent / 100)} on"

    def give(self, probs: ArrayLike) -> BoolArray:
        """The genres that are given, N x G, of probabilities N x G."""
        scores = np.asarray(probs, dtype=np.float64)
        given = np.zeros(scores.shape, dtype=np.bool_)
        surest = _surest(scores)
        np.put_along_axis(given, surest, percents(np.take_along_axis(scores, surest, axis=1)) >= self.percent, axis=1)
        return given


@dataclass(frozen=True, eq=False)
class Evidence:
    """What validation posters say of the surest genres; make it with `of`.

    >>> rng = np.random.default_rng(1)
    >>> probs = rng.random((500, 3))
    >>> evidence = Evidence.of(rng.random((500, 3)) < probs, probs)  # probabilities that are true
    >>> evidence.promise(0.8).percent
    66
    >>> evidence.promise(0.99).holds, evidence.promise(0.99).highest
    (False, 0.85)
    """

    percent: IntArray  # N x MOST, the probabilities of the surest genres of each poster, falling
    true: BoolArray  # N x MOST, whether it has them
    count: int  # posters, those without a genre worth keeping among them
    genres: int  # true genres of all posters

    @classmethod
    def of(cls, target: ArrayLike, probs: ArrayLike, groups: Sequence[Any] | NDArray[Any] | None = None) -> Evidence:
        """Of validation posters.

        Args:
            target: N x G of {0, 1}; posters without a genre are left out.
            probs: N x G in 0-1, as they are shown.
            groups: N, what near-duplicates share; the first of each counts. None: each poster is its own.

        Raises:
            ValueError: a wrong shape or value.
        """
        truth = check_binary(target, "target")
        scores = check_probs(probs, truth.shape)
        kept = np.flatnonzero(has_genre(truth))
        if groups is not None:
            names = np.array([str(groups[row]) for row in kept.tolist()])
            kept = kept[np.sort(np.unique(names, return_index=True)[1])]
        truth, scores = truth[kept], scores[kept]
        surest = _surest(scores)
        percent = percents(np.take_along_axis(scores, surest, axis=1))
        true = np.take_along_axis(truth, surest, axis=1)
        lacking = ((0, 0), (0, MOST - percent.shape[1]))  # fewer genres than MOST
        return cls(np.pad(percent, lacking), np.pad(true, lacking), len(truth), int(truth.sum()))

    def promise(self, precision: float, confidence: float = CONFIDENCE) -> Promise:
        """From which probability on genres may be given.

        Raises:
            UserError: `precision` or `confidence` does not lie between 0 and 1.
        """
        require_share(precision, "precision")
        require_share(confidence, "confidence")
        begin = self._begin(precision, confidence)
        steps = int(np.argmin(np.append(self._rejected(slice(begin, None), precision, confidence), False)))
        if not steps:
            return Promise(precision, confidence, NOTHING, 0.0, 0.0, self._highest(precision, confidence))
        found = self._cells[begin + steps - 1]
        share, posters = found @ _TRUE / self.genres, found.sum() / self.count
        return Promise(precision, confidence, int(_STEPS[begin + steps - 1]), float(share), float(posters))

    def _highest(self, below: float, confidence: float) -> float | None:
        """The highest precision in whole percents that can be promised, below one that cannot."""
        for precision in (percent / 100 for percent in range(99, 0, -1)):
            if precision < below:
                begin = self._begin(precision, confidence)
                if self._rejected(slice(begin, begin + 1), precision, confidence).any():
                    return precision
        return None

    def _begin(self, precision: float, confidence: float) -> int:
        """The place in `_STEPS` of the strictest threshold with enough posters; one behind them all if none has."""
        return int(np.searchsorted(self._cells.sum(axis=1), first_count(precision, confidence)))

    def _rejected(self, steps: slice, precision: float, confidence: float) -> BoolArray:
        """At which of these thresholds the bet against a lower precision is won."""
        cells = self._cells[steps]
        bets = bet(cells.sum(axis=1), precision, confidence)
        won = (cells * np.log1p(bets[:, None] * (_TRUE - precision * _GIVEN))).sum(axis=1)
        return np.asarray(won >= -np.log1p(-confidence))

    @cached_property
    def _cells(self) -> IntArray:
        """For each threshold of `_STEPS` how many posters have so many genres given and so many of them true."""
        given = self.percent[None] >= _STEPS[:, None, None]
        count, true = given.sum(axis=2), (given & self.true[None]).sum(axis=2)
        cells = [((count == k) & (true == t)).sum(axis=1) for k, t in zip(_GIVEN, _TRUE, strict=True)]
        return np.stack(cells, axis=1)

    def to_json(self) -> dict[str, Any]:
        """Plain values: of each poster with a genre worth keeping the percents, ``+`` where true, as ``87+42-``."""
        rows = [
            "".join(f"{p:02d}{'-+'[t]}" for p, t in zip(percent, true, strict=True) if p >= _LEAST)
            for percent, true in zip(self.percent.tolist(), self.true.tolist(), strict=True)
        ]
        return {"posters": self.count, "genres": self.genres, "surest": " ".join(sorted(filter(None, rows)))}

    @classmethod
    def from_json(cls, posters: int, genres: int, surest: str) -> Evidence:
        """What `to_json` gave.

        Raises:
            ValueError: it gave something else.
        """
        rows = surest.split()
        wrong = next((row for row in rows if not _POSTER.fullmatch(row)), None)
        if wrong is not None or len(rows) > posters:
            raise ValueError(f"of {posters} posters the surest genres must be written like 87+42-, got {wrong!r}")
        percent, true = np.zeros((len(rows), MOST), np.int64), np.zeros((len(rows), MOST), np.bool_)
        for at, row in enumerate(rows):
            for rank in range(len(row) // 3):
                percent[at, rank], true[at, rank] = int(row[3 * rank : 3 * rank + 2]), row[3 * rank + 2] == "+"
        if (np.diff(percent, axis=1) > 0).any() or true.sum() > genres:
            raise ValueError("the surest genres of a poster must come first, and no more be true than there are")
        return cls(percent, true, posters, genres)


def percents(probs: ArrayLike) -> IntArray:
    """Probabilities in whole percents, rounded down; 1 is 99.

    >>> percents([0.999, 0.1, 1.0]).tolist()
    [99, 10, 99]
    """
    return np.minimum(np.floor(np.asarray(probs, dtype=np.float64) * 100), _CERTAIN).astype(np.int64)


def expected_gain(probs: ArrayLike, given: BoolArray) -> FloatArray:
    """How many genres of each poster (N) a person's look is expected to put right: those it adds and takes away.

    The sum of the probabilities of the genres that are not given, and of 1 - probability of those that are. As sums of
    probabilities are expected numbers, whoever looks in falling order puts right the most genres with any number of
    looks, as far as the probabilities are calibrated.

    >>> expected_gain([[0.9, 0.3, 0.1]], np.array([[True, False, False]])).round(3).tolist()
    [0.5]
    """
    scores = np.asarray(probs, dtype=np.float64)
    return np.asarray(np.where(given, 1 - scores, scores).sum(axis=1))


def bet(posters: ArrayLike, precision: float, confidence: float) -> FloatArray:
    """What is bet on each of so many posters: the best for the variance where the precision is halfway to 1."""
    halfway = (1 + precision) / 2
    count = np.maximum(np.asarray(posters, dtype=np.float64), 1)
    best = np.sqrt(-2 * np.log1p(-confidence) / (count * halfway * (1 - halfway)))
    return np.asarray(np.minimum(best, _LARGEST_BET / (precision * MOST)))


@cache
def first_count(precision: float, confidence: float) -> int:
    """How many posters reject where the precision lies halfway between the promised one and 1 (a genre each).

    >>> first_count(0.7, 0.95), first_count(0.9, 0.95)
    (58, 212)
    """
    halfway, count = (1 + precision) / 2, np.arange(1, _MANY)
    bets = bet(count, precision, confidence)
    grown = halfway * np.log1p(bets * (1 - precision)) + (1 - halfway) * np.log1p(-bets * precision)
    enough = np.flatnonzero(count * grown >= -np.log1p(-confidence))
    return int(count[enough[0]]) if len(enough) else _MANY


def require_share(value: float, name: str) -> None:
    """Refuse what is no share between 0 and 1, both left out.

    Raises:
        UserError: it is none.
    """
    if not 0 < value < 1:
        raise UserError(f"{name} must lie between 0 and 1, such as .85; got {value:g}")


def _surest(scores: FloatArray) -> IntArray:
    """Places of the `MOST` surest genres of each poster, equal ones in genre order."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :MOST]


def short(share: float) -> str:
    """``.80``; as many digits as it takes.

    >>> short(0.8), short(0.825)
    ('.80', '.825')
    """
    return f"{share:.2f}".lstrip("0") if round(share, 2) == share else f"{share:g}".lstrip("0")
