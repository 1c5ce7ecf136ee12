"""Every metric as a function of poster weights, so that 1000 resamples cost matrix products, not loops.

A resample of N posters is a vector of N counts: how often each poster was drawn (half-samples: 0 or 1). A `Statistic`
takes R such vectors at once (R x N) and gives R values; the plain metric is the same statistic at weights of 1, so a
metric and its interval cannot disagree. What does not depend on the weights (ranks, sorted scores, hits) is worked out
once, when the statistic is made.

The inputs have been checked and hold only posters with a genre; see `mmposter.evaluation.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.evaluation.arrays import BoolArray, FloatArray, IntArray, rank_genres

Weights = NDArray[Any]  # R x N: boolean for half-samples, quick and exact; or any number
Statistic = Callable[[Weights], FloatArray]  # weights -> values R (or R x G for the statistics by genre)

ECE_BINS = 15

MIN_ANSWERS = 3
"""Answers below which a genre's precision, 0 or 1 or a half, says nothing of what it would be on other posters."""


def poster_mean(values: FloatArray) -> Statistic:
    """The mean of one number a poster.

    >>> poster_mean(np.array([1.0, 2.0]))(np.array([[1.0, 1.0], [0.0, 1.0]]))
    array([1.5, 2. ])
    """
    return lambda weights: divide(weights @ values, weights.sum(axis=1))


def divide(numerator: FloatArray, denominator: FloatArray, empty: float = np.nan) -> FloatArray:
    """Divide element by element; `empty` where the denominator is 0.

    >>> divide(np.array([1.0, 1.0]), np.array([2.0, 0.0]), empty=0.0)
    array([0.5, 0. ])
    """
    out: FloatArray = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), empty)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def mean_over_genres(values: FloatArray) -> FloatArray:
    """Mean over G of R x G, leaving out the NaN of genres where the metric is undefined; NaN if all are.

    >>> mean_over_genres(np.array([[0.2, np.nan, 0.4]])).round(6)
    array([0.3])
    """
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


# Ranking of the genres of one poster -------------------------------------------------------------------------------


def r_precision(target: BoolArray, probs: FloatArray) -> Statistic:
    """mean_i |top_{n_i} & Y_i| / n_i, with Y_i the true set of poster i and n_i its size; also "average accuracy".

    >>> r_precision(np.array([[True, True, False]]), np.array([[0.9, 0.1, 0.5]]))(np.ones((1, 1)))
    array([0.5])
    """
    sizes = target.sum(axis=1)
    hits = (target & (rank_genres(probs) < sizes[:, None])).sum(axis=1)
    return poster_mean(np.asarray(hits / sizes))


def any_hit_at_k(target: BoolArray, probs: FloatArray, k: int) -> Statistic:
    """mean_i [top_k & Y_i is not empty].

    >>> any_hit_at_k(np.eye(3, dtype=bool), np.full((3, 3), 0.5), k=2)(np.ones((1, 3))).round(3)
    array([0.667])
    """
    hits = (target & (rank_genres(probs) < k)).any(axis=1)
    return poster_mean(np.asarray(hits, dtype=np.float64))


def micro_recall_at_k(target: BoolArray, probs: FloatArray, k: int) -> Statistic:
    """sum_i |top_k & Y_i| / sum_i n_i.

    >>> micro_recall_at_k(np.array([[True, True, False]]), np.array([[0.9, 0.1, 0.5]]), k=2)(np.ones((1, 1)))
    array([0.5])
    """
    hits = (target & (rank_genres(probs) < k)).sum(axis=1).astype(np.float64)
    sizes = target.sum(axis=1).astype(np.float64)
    return lambda weights: divide(weights @ hits, weights @ sizes)


# Ranking of the posters of one genre -------------------------------------------------------------------------------


class _RankedGenre:
    """The posters of one genre from the highest score down, equal scores as one group.

    Only groups with a positive matter to average precision and to AUROC, hence only those are kept, K of them.
    """

    def __init__(self, positive: BoolArray, scores: FloatArray) -> None:
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[order]) != 0) + 1, len(order))
        starts = np.append(0, ends[:-1])
        positives_until = np.append(0, np.cumsum(positive[order]))
        kept = positives_until[ends] > positives_until[starts]
        self.groups = int(kept.sum())
        self.starts, self.ends = starts[kept], ends[kept]  # K each
        self.order: IntArray = order[: self.ends[-1]] if self.groups else order[:0]  # none that matters is behind
        self.positives: IntArray = self.order[positive[self.order]]
        self.positives_until = positives_until[self.ends]  # K
        # A constant answer ties all posters: their sum is enough, and quick.
        self.tied = self.groups == 1 and self.starts[0] == 0 and len(self.order) == len(scores)

    def positives_before_and_until(self, weights: Weights) -> tuple[FloatArray, FloatArray]:
        """Weight of the positives before each group and until its end, R x K."""
        sums = _running_sums(weights, self.positives)
        until = _at(sums, self.positives_until)
        before = np.zeros_like(until)
        before[:, 1:] = until[:, :-1]
        return before, until

    def everyone_until(self, weights: Weights, total: FloatArray) -> FloatArray:
        """Weight of all posters until the end of each group, R x K; `total` is that of all there are (R)."""
        return total[:, None] if self.tied else _at(_running_sums(weights, self.order), self.ends)

    def everyone_before_and_until(self, weights: Weights, total: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The same before each group, and until its end."""
        if self.tied:
            return np.zeros((len(weights), 1)), total[:, None]
        sums = _running_sums(weights, self.order)
        return np.where(self.starts > 0, _at(sums, self.starts), 0.0), _at(sums, self.ends)


def _running_sums(weights: Weights, order: IntArray) -> Weights:
    """Sums of the weights R x N in that order: with the first poster, with the first two, ...: R x len(order).

    The columns are taken row by row: a row of bytes stays in the processor's cache, which one of float64 does not.
    """
    exact = np.int32 if weights.dtype == np.bool_ else np.float64
    return np.cumsum(np.take(weights, order, axis=1), axis=1, dtype=exact)


def _at(sums: Weights, counts: IntArray) -> FloatArray:
    """The sums of the first `counts` posters (1 or more; for 0 it is no sum)."""
    return np.take(sums, np.maximum(counts - 1, 0), axis=1).astype(np.float64)


def average_precision_by_genre(target: BoolArray, probs: FloatArray) -> Statistic:
    """Average precision, R x G: sum over score groups of (recall gained) * (precision), as scikit-learn defines it.

    NaN where the weighted posters hold no positive of the genre.

    >>> target, probs = np.array([[True], [False], [True]]), np.array([[0.9], [0.5], [0.4]])
    >>> average_precision_by_genre(target, probs)(np.ones((1, 3))).round(3)
    array([[0.833]])
    """
    genres = [_RankedGenre(target[:, g], probs[:, g]) for g in range(target.shape[1])]

    def statistic(weights: Weights) -> FloatArray:
        total = weights.sum(axis=1).astype(np.float64)
        values = np.full((len(weights), len(genres)), np.nan)
        for g, genre in enumerate(genres):
            if genre.groups:
                before, until = genre.positives_before_and_until(weights)
                precision = divide(until, genre.everyone_until(weights, total), empty=0.0)
                values[:, g] = divide(((until - before) * precision).sum(axis=1), until[:, -1])
        return values

    return statistic


def mean_average_precision(target: BoolArray, probs: FloatArray) -> Statistic:
    """Mean over genres of average precision.

    >>> target, probs = np.array([[True], [False], [True]]), np.array([[0.9], [0.5], [0.4]])
    >>> mean_average_precision(target, probs)(np.ones((1, 3))).round(3)
    array([0.833])
    """
    by_genre = average_precision_by_genre(target, probs)
    return lambda weights: mean_over_genres(by_genre(weights))


def macro_auroc(target: BoolArray, probs: FloatArray) -> Statistic:
    """Mean over genres of P(positive scores above negative) + P(equal) / 2; .5 is chance.

    >>> macro_auroc(np.array([[True], [False], [True]]), np.array([[0.9], [0.5], [0.4]]))(np.ones((1, 3)))
    array([0.5])
    """
    genres = [_RankedGenre(target[:, g], probs[:, g]) for g in range(target.shape[1])]

    def statistic(weights: Weights) -> FloatArray:
        total = weights.sum(axis=1).astype(np.float64)
        values = np.full((len(weights), len(genres)), np.nan)
        for g, genre in enumerate(genres):
            if genre.groups:
                everyone_before, everyone = genre.everyone_before_and_until(weights, total)
                before, until = genre.positives_before_and_until(weights)
                positives = until[:, -1]
                negatives = total - positives
                above, upto = everyone_before - before, everyone - until
                below = negatives[:, None] - (above + upto) / 2
                values[:, g] = divide(((until - before) * below).sum(axis=1), positives * negatives)
        return mean_over_genres(values)

    return statistic


# Decisions -----------------------------------------------------------------------------------------------------------


def overall_precision(target: BoolArray, decisions: BoolArray) -> Statistic:
    """OP, micro precision: right decisions / decisions over all (poster, genre) pairs; 0 where nothing is decided.

    >>> overall_precision(np.array([[True, False]]), np.array([[True, True]]))(np.ones((1, 1)))
    array([0.5])
    """
    hits, decided = (target & decisions).sum(axis=1, dtype=np.float64), decisions.sum(axis=1, dtype=np.float64)
    return lambda weights: divide(weights @ hits, weights @ decided, empty=0.0)


def overall_recall(target: BoolArray, decisions: BoolArray) -> Statistic:
    """OR, micro recall: right decisions / true labels over all (poster, genre) pairs.

    >>> overall_recall(np.array([[True, False]]), np.array([[True, True]]))(np.ones((1, 1)))
    array([1.])
    """
    hits, sizes = (target & decisions).sum(axis=1, dtype=np.float64), target.sum(axis=1, dtype=np.float64)
    return lambda weights: divide(weights @ hits, weights @ sizes)


def overall_f1(target: BoolArray, decisions: BoolArray) -> Statistic:
    """OF1, the same as micro F1, the harmonic mean of the two: 2 TP / (decided + true).

    >>> overall_f1(np.array([[True, False]]), np.array([[True, True]]))(np.ones((1, 1))).round(3)
    array([0.667])
    """
    hits = (target & decisions).sum(axis=1, dtype=np.float64)
    both = target.sum(axis=1, dtype=np.float64) + decisions.sum(axis=1)
    return lambda weights: divide(2 * (weights @ hits), weights @ both)


def f1_by_genre(target: BoolArray, decisions: BoolArray) -> Callable[[Weights], tuple[FloatArray, FloatArray]]:
    """F1 of each genre and its support, R x G each; F1 is NaN where the support is 0.

    >>> f1_by_genre(np.array([[True, False], [True, False]]), np.eye(2, dtype=bool))(np.ones((1, 2)))[0].round(3)
    array([[0.667,   nan]])
    """
    hits = (target & decisions).astype(np.float64)
    positives = target.astype(np.float64)
    both = positives + decisions

    def statistic(weights: Weights) -> tuple[FloatArray, FloatArray]:
        support = weights @ positives
        f1 = divide(2 * (weights @ hits), weights @ both)
        return np.where(support > 0, f1, np.nan), support

    return statistic


def macro_f1(target: BoolArray, decisions: BoolArray) -> Statistic:
    """Mean over genres of F1, leaving out genres without a positive.

    >>> macro_f1(np.array([[True, False], [True, True]]), np.eye(2, dtype=bool))(np.ones((1, 2))).round(3)
    array([0.833])
    """
    by_genre = f1_by_genre(target, decisions)
    return lambda weights: mean_over_genres(by_genre(weights)[0])


def weighted_f1(target: BoolArray, decisions: BoolArray) -> Statistic:
    """Mean over genres of F1, weighted by support.

    >>> weighted_f1(np.array([[True, False], [True, True]]), np.eye(2, dtype=bool))(np.ones((1, 2))).round(3)
    array([0.778])
    """
    by_genre = f1_by_genre(target, decisions)

    def statistic(weights: Weights) -> FloatArray:
        f1, support = by_genre(weights)
        return divide((np.nan_to_num(f1) * support).sum(axis=1), support.sum(axis=1))

    return statistic


def samples_f1(target: BoolArray, decisions: BoolArray) -> Statistic:
    """Mean over posters of 2 |decided & true| / (|decided| + |true|).

    >>> samples_f1(np.array([[True, False], [True, True]]), np.eye(2, dtype=bool))(np.ones((1, 2))).round(3)
    array([0.833])
    """
    return poster_mean(2 * (target & decisions).sum(axis=1) / (target.sum(axis=1) + decisions.sum(axis=1)))


def exact_match(target: BoolArray, decisions: BoolArray) -> Statistic:
    """Share of posters whose decided set is the true set.

    >>> exact_match(np.array([[True, False], [True, True]]), np.eye(2, dtype=bool))(np.ones((1, 2)))
    array([0.5])
    """
    return poster_mean((target == decisions).all(axis=1).astype(np.float64))


def elementwise_accuracy(target: BoolArray, decisions: BoolArray) -> Statistic:
    """Share of right (poster, genre) pairs, 1 - Hamming loss; an all-zero answer scores about .88 with 20 genres.

    >>> elementwise_accuracy(np.array([[True, False], [True, True]]), np.eye(2, dtype=bool))(np.ones((1, 2)))
    array([0.75])
    """
    return poster_mean((target == decisions).mean(axis=1))


# One genre a poster: the surest genre is the answer -----------------------------------------------------------------


def surest(probs: FloatArray) -> IntArray:
    """The genre with the highest probability (N), the first in genre order of equal ones.

    >>> surest(np.array([[0.2, 0.5, 0.5]]))
    array([1])
    """
    answer: IntArray = probs.argmax(axis=1)
    return answer


def accuracy(target: BoolArray, probs: FloatArray) -> Statistic:
    """Share of posters whose surest genre is the true one.

    >>> accuracy(np.eye(2, dtype=bool), np.array([[0.9, 0.1], [0.6, 0.4]]))(np.ones((1, 2)))
    array([0.5])
    """
    return poster_mean((surest(probs) == target.argmax(axis=1)).astype(np.float64))


def shares_by_genre(hits: FloatArray, of: FloatArray, other: FloatArray) -> FloatArray:
    """hits / of (R x G each), 0 where `of` is 0, and NaN where `other` is 0 too: there is no such genre.

    With `of` the answers and `other` the true posters of each genre its mean is macro precision, the other way round
    macro recall, both as scikit-learn has them with ``zero_division=0``.

    >>> shares_by_genre(np.array([[1.0, 0.0, 0.0]]), np.array([[2.0, 0.0, 0.0]]), np.array([[1.0, 1.0, 0.0]]))
    array([[0.5, 0. , nan]])
    """
    return np.where(of + other > 0, divide(hits, of, empty=0.0), np.nan)


def macro_precision(target: BoolArray, probs: FloatArray, *, unsure: float | None = None) -> Statistic:
    """Mean over genres, true or answered, of: right answers / answers; 0 if never answered.

    With `unsure`, genres answered fewer than `MIN_ANSWERS` times on all posters count this, and not their precision.

    >>> macro_precision(np.eye(2, dtype=bool), np.array([[0.9, 0.1], [0.6, 0.4]]))(np.ones((1, 2)))
    array([0.25])
    """
    true, answered = target.astype(np.float64), np.eye(target.shape[1])[surest(probs)]
    hits, total = true * answered, answered.sum(axis=0)
    few = (total > 0) & (total < MIN_ANSWERS)

    def statistic(weights: Weights) -> FloatArray:
        values = shares_by_genre(weights @ hits, weights @ answered, weights @ true)
        return mean_over_genres(values if unsure is None else np.where(few, unsure, values))

    return statistic


def macro_recall(target: BoolArray, probs: FloatArray) -> Statistic:
    """Mean over genres, true or answered, of: right answers / posters of the genre; 0 if never true.

    >>> macro_recall(np.eye(2, dtype=bool), np.array([[0.9, 0.1], [0.6, 0.4]]))(np.ones((1, 2)))
    array([0.5])
    """
    true, answered = target.astype(np.float64), np.eye(target.shape[1])[surest(probs)]
    hits = true * answered
    return lambda weights: mean_over_genres(shares_by_genre(weights @ hits, weights @ true, weights @ answered))


# Probabilities -------------------------------------------------------------------------------------------------------


def expected_calibration_error(target: BoolArray, probs: FloatArray, bins: int) -> Statistic:
    """sum over equal-width bins of (share of pairs) * |mean probability - share of positives|.

    A bin is [low, high), the last one closed. Source: Guo et al. 2017, arXiv 1706.04599, there for the top class only.

    >>> expected_calibration_error(np.array([[True, False]]), np.array([[0.9, 0.2]]), bins=2)(np.ones((1, 1))).round(3)
    array([0.15])
    """
    which = np.minimum((probs * bins).astype(np.int64), bins - 1)
    # One number a poster and bin: the sum of (probability - label) over its pairs in that bin.
    gaps = np.zeros((len(probs), bins))
    np.add.at(gaps, (np.arange(len(probs))[:, None], which), probs - target)
    pairs = float(probs.shape[1])
    return lambda weights: divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1) * pairs)
