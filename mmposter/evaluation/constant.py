"""The best constant answer: what a metric gives to a predictor that never looks at the poster.

For each metric the one ranking or set for all posters that is best *for that very metric* on the training posters. A
model that is not above it has learned nothing that the metric can see.

| metric | best constant | exact on training? |
|---|---|---|
| R-precision | best of the frequency ranking and the optimal assignment of genres to ranks | yes |
| any-hit@k | the k genres that together cover most posters | yes up to 100 000 sets, greedy beyond |
| micro recall@k | the k most frequent genres | yes |
| mAP, AUROC | any: all posters tie, so average precision is the prevalence and AUROC .5 | yes |
| overall precision, overall F1 | the best prefix of the frequency ranking | yes |
| overall recall, macro F1, weighted F1 | every genre that occurs (F1 of a genre never falls by answering it) | yes |
| samples F1 | for each size the genres with the largest sum of 2 / (size + n_i), then the best size | yes |
| exact match | the most common set | yes |
| element-wise accuracy | the genres with a frequency above .5 | yes |
| accuracy, macro precision, macro recall (one genre a poster) | the most frequent genre (see below) | yes |
| calibration error | the training prevalences (0 on the training posters) | yes |

Ties are broken in genre order.

With one genre a poster and G genres that occur, always answering genre g has accuracy p_g (its share), macro precision
p_g / G and macro recall 1 / G: the most frequent genre is best for the first two, and for the third as good as any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import BoolArray, FloatArray, IntArray, check_binary
from mmposter.evaluation.bootstrap import statistics_and_halves
from mmposter.evaluation.halves import Halves
from mmposter.evaluation.metrics import Metric, get_metric, labelled

EXACT_COVER_LIMIT = 100_000
"""Number of sets up to which any-hit@k tries them all: 3 of 28 genres are 3276, 5 of 28 are 98 280."""


@dataclass(frozen=True)
class ConstantPredictor:
    """One answer for every poster. Make it with `fit`.

    `probs` (G) are scores in the order of the best ranking, or the training prevalences where no ranking of genres is
    asked for; `decisions` (G) is the constant set of a decision metric and all False for the others.

    >>> best = ConstantPredictor.fit([[1, 0], [1, 0], [0, 1]], "r_precision")
    >>> best.score([[1, 0], [0, 1], [0, 1], [0, 1]])  # always the first genre
    0.25
    """

    metric: Metric
    probs: FloatArray
    decisions: BoolArray

    @classmethod
    def fit(cls, train_target: ArrayLike, metric: Metric | str) -> ConstantPredictor:
        """Choose the constant answer that is best for `metric` on the training posters `train_target` (N x G).

        Raises:
            ValueError: `train_target` is not N x G of {0, 1}.
            UserError: an unknown metric, or no training poster has a genre.
        """
        row = get_metric(metric) if isinstance(metric, str) else metric
        truth, _, _ = labelled(train_target)
        nothing = np.zeros(truth.shape[1], dtype=np.bool_)
        if row.name == "r_precision":
            return cls(row, _scores(_best_ranking(truth)), nothing)
        if row.name.startswith("any_hit_at_") and row.k is not None:
            return cls(row, _scores(_best_cover(truth, row.k)), nothing)
        if row.name.startswith("micro_recall_at_") or row.k == 1:  # with k = 1 the first genre is the whole answer
            return cls(row, _scores(_by_frequency(truth)), nothing)
        if row.kind == "decision":
            return cls(row, truth.mean(axis=0), _SETS[row.name](truth))
        return cls(row, truth.mean(axis=0), nothing)

    def score(self, target: ArrayLike) -> float:
        """The metric of this constant answer on the posters of a split (N x G); see `metrics` for what is left out."""
        shape = check_binary(target, "target").shape
        return self.metric.value(
            target, np.broadcast_to(self.decisions if self.metric.kind == "decision" else self.probs, shape)
        )

    def spread(self, count: int) -> tuple[FloatArray, BoolArray]:
        """Probabilities and decisions of `count` posters (count x G each), as a model's that answers all alike."""
        shape = (count, len(self.probs))
        return np.broadcast_to(self.probs, shape), np.broadcast_to(self.decisions, shape)

    def answer(self, genres: Sequence[str]) -> str:
        """The answer in words, for reports.

        >>> ConstantPredictor.fit([[1, 0], [1, 1]], "exact_match").answer(["Drama", "War"])
        'always {Drama}'
        """
        if self.metric.kind == "decision" and self.decisions.all():
            return "always every genre"
        if self.metric.kind == "decision" and not self.decisions.any():
            return "always no genre"
        if self.metric.kind == "decision":
            return "always {" + ", ".join(genres[g] for g in np.flatnonzero(self.decisions).tolist()) + "}"
        if self.metric.name in _RANKS_POSTERS:
            return "the same score for every poster"
        if self.metric.kind == "probability":
            return "the training prevalence of each genre"
        order = np.argsort(-self.probs, kind="stable").tolist()
        shown = [genres[g] for g in order[: self.metric.k or 5]]
        return "always " + " > ".join(shown) if self.metric.k is None else "always {" + ", ".join(shown) + "}"


def constants_and_halves(
    constants: Sequence[ConstantPredictor], target: BoolArray, weights: Halves
) -> tuple[FloatArray, FloatArray]:
    """`bootstrap.values_and_halves` of the best constant answers, for paired differences.

    Args:
        constants: K, each fitted for a metric of its own; its answer is the same on all halves.
        target: N x G, every poster with a genre.
        weights: R x N, from `half_samples`, the same as the model's.

    Returns:
        K + G values on all posters, each metric of its own constant and then the average precision of each genre, which
        is its prevalence; and the same on each half-sample, R x (K + G).
    """
    statistics = [
        # All posters tie, whatever the scores.
        None
        if constant.metric.name == "mean_average_precision"
        else constant.metric.prepare(target, *constant.spread(len(target)))
        for constant in constants
    ]
    return statistics_and_halves(statistics, target, np.full(target.shape, 0.5), weights, genres=True)


# Their rankings are of the posters of a genre, not of the genres of a poster.
_RANKS_POSTERS = ("mean_average_precision", "macro_auroc")


def _scores(order: IntArray) -> FloatArray:
    """Scores in 0-1 that put the genres in `order`."""
    scores = np.empty(len(order))
    scores[order] = 1 - np.arange(len(order)) / len(order)
    return scores


def _by_frequency(truth: BoolArray) -> IntArray:
    return np.argsort(-truth.sum(axis=0), kind="stable")


def _best_ranking(truth: BoolArray) -> IntArray:
    """The ranking with the best R-precision.

    A genre at rank r (from 0) earns 1/n_i on each of its posters with n_i > r, whatever the other ranks hold: an
    assignment problem. Its solution is kept only where it beats the frequency ranking, because the order of ranks that
    no training poster reaches is arbitrary in it.
    """
    from scipy.optimize import linear_sum_assignment

    sizes = truth.sum(axis=1)
    reached = (sizes[:, None] > np.arange(truth.shape[1])) / sizes[:, None]
    gain = truth.astype(np.float64).T @ reached  # G genres x G ranks
    frequency = _by_frequency(truth)
    genre, rank = linear_sum_assignment(gain, maximize=True)
    plain = gain[frequency, np.arange(len(frequency))].sum()
    if gain[genre, rank].sum() <= plain + 1e-9 * len(truth):
        return frequency
    order = np.empty(len(frequency), dtype=np.int64)
    order[rank] = genre
    return order


def _best_cover(truth: BoolArray, k: int) -> IntArray:
    """A ranking whose first k genres cover most posters; the others follow by frequency."""
    frequency = _by_frequency(truth).tolist()  # tried first, so of equally good sets the one of frequent genres wins
    size = min(k, len(frequency))
    sets, counts = np.unique(truth, axis=0, return_counts=True)  # a few hundred sets stand for thousands of posters

    def covered(chosen: tuple[int, ...]) -> int:
        return int(counts[sets[:, chosen].any(axis=1)].sum())

    best: tuple[int, ...] = ()
    if comb(len(frequency), size) <= EXACT_COVER_LIMIT:
        best = max(combinations(frequency, size), key=covered)
    else:
        for _ in range(size):
            best = max(((*best, genre) for genre in frequency if genre not in best), key=covered)
    return np.array([*best, *(genre for genre in frequency if genre not in best)], dtype=np.int64)


def _prefix(order: IntArray, size: int) -> BoolArray:
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[:size]] = True
    return chosen


def _every_genre(truth: BoolArray) -> BoolArray:
    return np.asarray(truth.any(axis=0))


def _most_frequent(truth: BoolArray) -> BoolArray:
    return _prefix(_by_frequency(truth), 1)


def _best_overall_f1(truth: BoolArray) -> BoolArray:
    # For a given size only the hits count, and the most frequent genres have most.
    order = _by_frequency(truth)
    hits = np.cumsum(truth.sum(axis=0)[order])
    size = int(np.argmax(2 * hits / (len(truth) * np.arange(1, len(order) + 1) + hits[-1]))) + 1
    return _prefix(order, size)


def _best_samples_f1(truth: BoolArray) -> BoolArray:
    sizes = truth.sum(axis=1)
    best, best_value = _most_frequent(truth), -1.0
    for size in range(1, truth.shape[1] + 1):
        gain = (2.0 / (size + sizes)) @ truth
        order = np.argsort(-gain, kind="stable")
        value = float(gain[order[:size]].sum())
        if value > best_value + 1e-9:
            best, best_value = _prefix(order, size), value
    return best


def _most_common_set(truth: BoolArray) -> BoolArray:
    sets, counts = np.unique(truth, axis=0, return_counts=True)
    chosen: BoolArray = sets[np.argmax(counts)]
    return chosen


_SETS: dict[str, Callable[[BoolArray], BoolArray]] = {
    "overall_precision": _most_frequent,
    "overall_recall": _every_genre,
    "overall_f1": _best_overall_f1,
    "macro_f1": _every_genre,
    "weighted_f1": _every_genre,
    "samples_f1": _best_samples_f1,
    "exact_match": _most_common_set,
    "elementwise_accuracy": lambda truth: truth.mean(axis=0) > 0.5,
}
