"""What a promised precision makes of many posters: how many may stand without a look, and how many genres that is."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mmposter.evaluation.promise import CONFIDENCE, Evidence, Promise
from mmposter.inference.task import Prediction

USUAL = (0.7, 0.8, 0.9)
"""Precisions of which the share of genres is told whichever is asked for."""

_FIRST = 3


@dataclass(frozen=True)
class Share:
    """One precision, and the share of all genres of the counted posters that is given under it without a person.

    The true genres of new posters are not known: what is given, and what there is, are sums of probabilities.
    """

    promise: Promise
    expected: float  # 0 where nothing was counted


class Tally:
    """Counts predictions that were made with a precision, one after another; memory does not grow.

    Args:
        evidence: of the branches that are looked through (`GenrePredictor.evidence`).
        precision: the one that was asked for.
        confidence: in it.

    Attributes:
        asked: the promise of that precision.
        accepted: posters that may stand.
        genres: given to them.
        review: posters for review.
        others: posters that could not be used, and have no verdict.
    """

    def __init__(self, evidence: Evidence, precision: float, confidence: float = CONFIDENCE) -> None:
        self.asked = evidence.promise(precision, confidence)
        self._promises = [evidence.promise(value, confidence) for value in sorted({*USUAL, precision})]
        self._given, self._all = np.zeros(len(self._promises)), 0.0
        self._first: list[tuple[float, int, str]] = []
        self.accepted = self.genres = self.review = self.others = 0

    def add(self, prediction: Prediction) -> None:
        """Count one more."""
        if prediction.verdict == "accept":
            self.accepted += 1
            self.genres += len(prediction.genres)
        elif prediction.verdict == "review":
            self.review += 1
            # Of equal ones the earlier is first.
            entry = (prediction.gain or 0.0, -self.review, str(prediction.path))
            (heapq.heappush if len(self._first) < _FIRST else heapq.heappushpop)(self._first, entry)
        else:
            self.others += 1
            return
        probs = np.array([list(prediction.scores.values())])
        self._all += probs.sum()
        if prediction.error is None:
            self._given += [probs[promise.give(probs)].sum() for promise in self._promises]

    def counted(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The same predictions, each counted as it comes by."""
        for prediction in predictions:
            self.add(prediction)
            yield prediction

    @property
    def first(self) -> list[tuple[str, float]]:
        """The posters to look at first, and how many genres a look is expected to put right on each."""
        return [(path, gain) for gain, _, path in sorted(self._first, reverse=True)]

    def shares(self) -> list[Share]:
        """Of the usual precisions and the one that was asked for, in rising order."""
        found = self._given / self._all if self._all else self._given
        return [Share(promise, float(share)) for promise, share in zip(self._promises, found, strict=True)]
