"""What is said of a poster of which nothing was seen: no words for `ocr` alone, no objects for `yolo` alone.

A network says something of it too, but what it says is an accident of its training: all genres, for instance. The
honest answer is what is known before anybody looks, the share of each genre, and the best constant answer's genres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.thresholds import EmptyPolicy, apply_thresholds, steadied_shares


@dataclass(frozen=True, eq=False)
class Unseen:
    """The answer for posters without evidence. Make it with `of`.

    >>> answer = Unseen.of([0.5, 0.4, 0.1])
    >>> answer.fill(np.array([[0.9, 0.9, 0.9], [0.2, 0.3, 0.4]], np.float32), np.array([False, True])).tolist()[0]
    [0.5, 0.4000000059604645, 0.10000000149011612]
    """

    probs: FloatArray  # G
    genres: BoolArray  # G, those that are given

    @classmethod
    def of(cls, shares: ArrayLike, thresholds: ArrayLike | None = None, empty: EmptyPolicy = "top1") -> Unseen:
        """The base rates, and the genres that a constant would answer.

        Args:
            shares: of the posters that have each genre (G).
            thresholds: G, where the configuration fixes them; None: they are tuned, and the genres are the set with the
                best overall F1.
            empty: with `thresholds`, see `apply_thresholds`.
        """
        probs = np.asarray(shares, dtype=np.float64)
        if thresholds is None:
            return cls(probs, best_constant_set(probs))
        return cls(probs, apply_thresholds(probs[None], thresholds, empty)[0])

    def fill(self, probs: NDArray[np.float32], seen: BoolArray) -> NDArray[np.float32]:
        """Probabilities N x G with this answer where a poster was not `seen` (N)."""
        return probs if seen.all() else np.where(seen[:, None], probs, self.probs.astype(np.float32))

    def fill_genres(self, decisions: BoolArray, seen: BoolArray) -> BoolArray:
        """Decisions N x G with this answer where a poster was not `seen` (N)."""
        return decisions if seen.all() else np.where(seen[:, None], decisions, self.genres)


def unseen_of_kind(target: ArrayLike, shares: ArrayLike) -> Unseen:
    """The answer fitted on posters without evidence, shrunk toward the base rates of all, as such posters are few.

    Args:
        target: N x G of {0, 1} of the posters of that kind; N may be 0.
        shares: of all posters that have each genre (G).
    """
    return Unseen.of(steadied_shares(np.asarray(target, dtype=np.bool_), np.asarray(shares, dtype=np.float64)))


def best_constant_set(shares: ArrayLike) -> BoolArray:
    """The genres (G) that have the best overall F1 when every poster gets them: some of the most frequent.

    As `ConstantPredictor` finds them for that metric, for which the shares of the genres are enough. (Macro F1 would
    ask for all genres.)

    >>> best_constant_set([0.5, 0.1, 0.4]).tolist()  # F1 of one .5, of two .6, of all three .5
    [True, False, True]
    """
    values = np.asarray(shares, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(values[order])
    size = int(np.argmax(2 * hits / (np.arange(1, len(order) + 1) + hits[-1]))) + 1
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[:size]] = True
    return chosen
