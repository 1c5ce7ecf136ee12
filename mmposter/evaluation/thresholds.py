"""From probabilities to decisions: one threshold a genre, tuned on validation posters only.

The threshold that maximises F1 on a few positives is mostly noise, so each genre's own best threshold is shrunk toward
one global threshold: w * own + (1 - w) * global with w = n_pos / (n_pos + k). For calibrated probabilities the best
threshold is half of the best F1 (Lipton et al. 2014, arXiv 1402.1892), hence far below .5 for a rare genre.

For scores that say little the best F1 lies where nearly every poster gets the genre: a model of objects alone gave 8.6
genres a poster in place of 2.3. So each threshold is raised until its genre is decided on at most `MOST` times as many
posters as have it. On the 562 validation posters of the shipped model (four times four folds, each fitted on the other
three) that leaves 2.8 genres a poster in place of 3.5, macro F1 .353 in place of .359 and overall F1 .514 in place of
.507; of objects alone 3.0 genres in place of 8.6. A bound of 1.5 gives 3.1 genres and .355.

Too few posters tell nothing of a single genre: below `ENOUGH` there is one threshold for all, above which as many
genres are decided on these posters as there should be.

Where the answer is the surest genre alone, every threshold is `NEVER` and `empty` is "top1".
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from mmposter.errors import UserError
from mmposter.evaluation.arrays import BoolArray, FloatArray, check_probs
from mmposter.evaluation.metrics import labelled

EmptyPolicy = Literal["allow", "top1"]

NEVER = 2.0
"""A threshold above every probability. 1 is not: a saturated sigmoid reaches it, and for several genres of one poster.
(Not infinity, which JSON lacks, nor the number next to 1, which is 1 in float32.)"""

DEFAULT_SHRINKAGE = 20.0
"""A genre with 20 validation positives gets the mean of its own and the global threshold. Tried on simulated validation
sets of 300, 600 and 1200 posters and 20 genres: 5, 10 and 20 give the same macro F1 on new posters (.341 at 300), none
(.338) and the global threshold alone (.331) less."""


MOST = 1.25
"""On how many posters a genre is decided at most, for each that has it."""

ENOUGH = 30
"""Validation posters with a genre below which no genre gets a threshold of its own."""

TELLING = 10
"""Posters with a genre below which their mAP says nothing: one poster gives 1 as easily as .1."""


def fallback_notice(count: int) -> str | None:
    """What is done where `count` validation posters with a genre are too few to tune on; None where they are enough.

    >>> fallback_notice(562)
    """
    if count >= ENOUGH:
        return None
    return (
        f"{count} validation poster{'s' * (count != 1)} with a genre {'is' if count == 1 else 'are'} too few for "
        f"thresholds genre by genre ({ENOUGH} are enough): all genres share one, under which as many genres are given "
        "as the training posters have"
    )


def _midpoints(descending: FloatArray) -> FloatArray:
    """A threshold below each of the distinct scores: halfway to the next lower one, the last halfway to 0."""
    lower = np.append(descending[1:], 0.0)
    middle = lower + (descending - lower) / 2
    # Between neighbouring floats the midpoint may round down onto the lower score and let it pass.
    return np.where(middle > lower, middle, descending)


def _f1_at(positive: BoolArray, scores: FloatArray, thresholds: FloatArray) -> FloatArray:
    """F1 of one genre at each of many thresholds (score >= threshold is a yes)."""
    order = np.argsort(scores)
    hits_below = np.append(0, np.cumsum(positive[order]))
    below = np.searchsorted(scores[order], thresholds, side="left")
    hits = hits_below[-1] - hits_below[below]
    f1: FloatArray = 2 * hits / (len(scores) - below + hits_below[-1])
    return f1


def best_threshold(positive: BoolArray, scores: FloatArray) -> float:
    """The threshold of one genre with the best F1 on these N posters; of equally good ones the highest.

    >>> # F1 is 2/3 above .65, where one of two is found, and above .1, where both are and two others.
    >>> best_threshold(np.array([True, False, False, True]), np.array([0.9, 0.4, 0.3, 0.2]))
    0.65
    """
    candidates = _midpoints(np.unique(scores)[::-1])
    return float(candidates[np.argmax(_f1_at(positive, scores, candidates))])


def tune_thresholds(
    target: ArrayLike,
    probs: ArrayLike,
    shrinkage: float = DEFAULT_SHRINKAGE,
    *,
    shares: ArrayLike | None = None,
    most: float = MOST,
) -> FloatArray:
    """One threshold a genre (G) for validation posters `target`, `probs` (N x G); use with `apply_thresholds`.

    Candidates are the midpoints between neighbouring observed scores, so equal scores are never torn apart; of equally
    good ones the highest is taken. The global threshold is the one that, used for all genres, maximises macro F1; the
    one that maximises micro F1 is too high for rare genres and made the simulations above worse. A genre without a
    positive gets the global threshold. Then each is raised to hold the bound. (See above for why.)

    Args:
        target: N x G of {0, 1}; posters without a genre are left out.
        probs: N x G in 0-1.
        shrinkage: k, the number of positives at which own and global threshold count alike; 0 is no shrinkage.
        shares: of each genre among the training posters (G). A genre with none is never given. Where they are known,
            fewer than `ENOUGH` posters give one threshold for all.
        most: the bound on the posters with a genre decided for each one that has it; infinite: none.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre, or `shrinkage` is below 0.

    >>> target, probs = [[1, 0], [1, 0], [0, 1], [0, 1]], [[0.8, 0.4], [0.6, 0.2], [0.7, 0.9], [0.1, 0.5]]
    >>> tune_thresholds(target, probs, shrinkage=0, most=np.inf).round(6).tolist()  # between .6 and .1, and .5 and .4
    [0.35, 0.45]
    >>> tune_thresholds(target, probs, shrinkage=6, most=np.inf).round(6).tolist()  # a quarter of it, the rest of .45
    [0.425, 0.45]
    >>> tune_thresholds(target, probs, shrinkage=0).round(6).tolist()  # two posters have the first genre: no third one
    [0.65, 0.45]
    """
    if not shrinkage >= 0:
        raise UserError(
            f"The threshold shrinkage must be 0 or more, got {shrinkage}. The default is {DEFAULT_SHRINKAGE:g}."
        )
    truth, scores, _ = labelled(target, probs)
    if shares is None:
        positives = truth.sum(axis=0)
        return _bounded(_for_f1(truth, scores, shrinkage), scores, most * np.maximum(positives, 1), positives > 0)
    expected = len(truth) * steadied_shares(truth, np.asarray(shares, dtype=np.float64))
    if len(truth) < ENOUGH:
        thresholds = np.full(truth.shape[1], _as_many(scores[:, expected > 0], expected.sum()))
    else:
        thresholds = _bounded(_for_f1(truth, scores, shrinkage), scores, most * expected, expected > 0)
    return np.where(expected > 0, thresholds, NEVER)


def _for_f1(truth: BoolArray, scores: FloatArray, shrinkage: float) -> FloatArray:
    """Each genre's best threshold, shrunk toward the global one."""
    positives = truth.sum(axis=0)
    present = np.flatnonzero(positives)
    own = np.zeros(truth.shape[1])
    for g in present:
        own[g] = best_threshold(truth[:, g], scores[:, g])
    candidates = _midpoints(np.unique(scores[:, present])[::-1])
    macro = np.zeros(len(candidates))  # times the number of genres; one after another, as candidates may be millions
    for g in present:
        macro += _f1_at(truth[:, g], scores[:, g], candidates)
    shared = candidates[np.argmax(macro / len(present))]
    weight = np.zeros(truth.shape[1])
    weight[present] = positives[present] / (positives[present] + shrinkage)
    thresholds: FloatArray = weight * own + (1 - weight) * shared
    return thresholds


def steadied_shares(truth: BoolArray, shares: FloatArray) -> FloatArray:
    """The share of each genre (G) among N posters, shrunk toward that among many others, which counts as `ENOUGH`.

    It is 0 where none of the many has the genre.
    """
    found = (truth.sum(axis=0) + ENOUGH * shares) / (len(truth) + ENOUGH)
    return np.where(shares > 0, found, 0.0)


def _bounded(thresholds: FloatArray, scores: FloatArray, most: FloatArray, bounded: BoolArray) -> FloatArray:
    """Raised until each of the `bounded` genres is decided on at most so many of the posters; one is allowed always."""
    raised = thresholds.copy()
    for g in np.flatnonzero(bounded):
        candidates = _midpoints(np.unique(scores[:, g])[::-1])
        decided = len(scores) - np.searchsorted(np.sort(scores[:, g]), candidates, side="left")
        allowed = candidates[decided <= max(most[g], 1.0)]
        above_all = np.nextafter(scores[:, g].max(), np.inf)  # where too many posters share the highest score
        raised[g] = max(raised[g], allowed[-1] if len(allowed) else above_all)
    return raised


def _as_many(scores: FloatArray, wanted: float) -> float:
    """The threshold above which so many of all (poster, genre) pairs lie, or at least one."""
    candidates = _midpoints(np.unique(scores)[::-1])
    decided = scores.size - np.searchsorted(np.sort(scores, axis=None), candidates, side="left")
    return float(candidates[max(int(np.searchsorted(decided, wanted, side="right")) - 1, 0)])


def apply_thresholds(probs: ArrayLike, thresholds: ArrayLike, empty: EmptyPolicy = "allow") -> BoolArray:
    """Decisions N x G: probability >= threshold.

    Args:
        probs: N x G in 0-1.
        thresholds: G, one a genre.
        empty: for a poster where nothing passes, "allow" leaves it without a genre, "top1" gives it the genre with the
            highest probability (the first in genre order of equal ones) among those that are given to any.

    Raises:
        ValueError: a wrong shape or value.
        UserError: an unknown `empty`.

    >>> apply_thresholds([[0.7, 0.2], [0.3, 0.35]], [0.5, 0.4]).tolist()
    [[True, False], [False, False]]
    >>> apply_thresholds([[0.7, 0.2], [0.3, 0.35]], [0.5, 0.4], "top1").tolist()
    [[True, False], [False, True]]
    """
    if empty not in get_args(EmptyPolicy):
        raise UserError(f"empty must be one of {', '.join(get_args(EmptyPolicy))}, got {empty!r}.")
    scores = check_probs(probs, np.shape(probs))
    limits = np.asarray(thresholds, dtype=np.float64)
    if scores.ndim != 2 or limits.shape != scores.shape[1:]:
        raise ValueError(f"thresholds must be one a genre of probs {scores.shape}, got the shape {limits.shape}")
    if np.isnan(limits).any():
        raise ValueError("thresholds must be numbers, got NaN")
    decisions: BoolArray = scores >= limits
    if empty == "top1":
        none = np.flatnonzero(~decisions.any(axis=1))
        given = limits < NEVER if (limits < NEVER).any() else np.ones_like(limits, dtype=np.bool_)
        decisions[none, np.where(given, scores[none], -1).argmax(axis=1)] = True
    return decisions
