"""Which given labels are probably mistakes, told from probabilities of models that did not learn from these posters.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068) ranks labels by the probability that a model
gives to them, the self-confidence. Here one-vs-rest: each (poster, genre) pair is a yes-or-no label of its own. The
probabilities are calibrated on the same posters first (`mmposter.evaluation.scaling`): those of a rare genre and of a
common one then mean the same. If mistakes are as likely in one genre as in another, no other order of the given genres,
nor of those not given, finds more: the chance of a mistake rises with 1 - self-confidence.

Into one list the two are merged as if as many genres were missing as wrong. Without that 99 of 100 in the first part
are wrong ones: a label that is given contradicts a model more often than one that is not.

Tried beside it, on flipped labels of the benchmark, three folds and three epochs of cnn and ocr; lift in the first 5 %,
where 5 % of all pairs were flipped and where 5 % of the given genres were replaced: this list 11.4 and 11.7; without
the merging 12.8 and 10.1; log-odds above the genre's base rate 3.6 and 6.9; margins to the paper's class thresholds
3.4 and 7.0; the posterior with noise rates from its confident joint, of each genre 12.1 and 10.6, of all together 12.5
and 11.6. The joint itself is no count of mistakes here. The models are weak, and it takes hard posters for mistakes: of
a label that is not given it held 5 to 44 % for wrong, where .1 to 5 % were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import BoolArray, FloatArray, IntArray, check_binary, check_probs
from mmposter.evaluation.scaling import fit_scaling

Kind = Literal["missing", "wrong", "misleading", "twins"]

KINDS: dict[Kind, str] = {
    "missing": "a genre that the poster does not have, and that is seen on it",
    "wrong": "a genre that the poster has, and that is not seen on it",
    "misleading": "none of its genres is seen on the poster, and another one is: the labels or the poster mislead",
    "twins": "posters of one film or one picture that have other genres",
}
"""What can be found, each with its meaning."""


@dataclass(frozen=True)
class Finding:
    """One thing to look at."""

    kind: Kind
    row: int  # of the poster among the N that were looked at
    genre: int | None  # its column; None where the finding is about the poster as a whole
    add: bool | None  # whether the genre is to be added (True) or removed (False); None: nothing is suggested
    probability: float  # that the poster has the genre; of a misleading one that of the surest genre it has not
    score: float  # by which findings of one kind are sorted, 0-1, the highest first; see the function of the kind
    others: tuple[int, ...] = ()  # rows of the other posters, for twins


def calibrated(target: ArrayLike, probs: ArrayLike) -> FloatArray:
    """Out-of-fold probabilities N x G, scaled to the given labels N x G: one slope, and one offset a genre.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.
    """
    return np.asarray(fit_scaling(target, probs).apply(probs))


def suspicion(target: ArrayLike, probs: ArrayLike) -> FloatArray:
    """How much speaks against each given label, N x G in 0-1.

    It is no probability of a mistake, as nobody knows how many there are.

    For a genre that is given it is 1 - p, its odds (1 - p) / p; for one that is not given the odds are p / (1 - p),
    times the number of labels not given by that of given ones: as many are then missing as wrong.

    Args:
        target: N x G of {0, 1}, as given.
        probs: N x G in 0-1, calibrated, of models that did not learn from the poster.

    Raises:
        ValueError: a wrong shape or value.

    >>> suspicion([[1, 0], [0, 0]], [[0.25, 0.25], [0, 0.5]]).tolist()
    [[0.75, 0.5], [0.0, 0.75]]
    """
    given = check_binary(target, "target")
    scores = check_probs(probs, given.shape)
    count = max(int(given.sum()), 1)
    odds = max(given.size - count, 1) / count
    return np.where(given, 1 - scores, odds * scores / (odds * scores + 1 - scores))


def ranks(scores: FloatArray) -> IntArray:
    """The place of every pair in the list of all, from 1: N x G; equal ones by poster, then by genre.

    >>> ranks(np.array([[0.1, 0.9], [0.5, 0.9]])).tolist()
    [[4, 1], [3, 2]]
    """
    places = np.empty(scores.size, np.int64)
    places[np.argsort(-scores, axis=None, kind="stable")] = np.arange(1, scores.size + 1)
    return places.reshape(scores.shape)


def label_findings(target: ArrayLike, probs: ArrayLike, most: int) -> list[Finding]:
    """Genres that are probably missing, and such that are probably wrong: at most `most` of each, surest first.

    The score is `suspicion`. A finding must speak against the label: the probability lies above the genre's share of
    all posters for a missing one, below it for a wrong one.

    Raises:
        ValueError: a wrong shape or value.

    >>> found = label_findings([[1, 0], [0, 1], [1, 0]], [[0.25, 0.75], [0.25, 0.75], [0.75, 0.25]], most=1)
    >>> [(finding.kind, finding.row, finding.genre, finding.score) for finding in found]
    [('missing', 0, 1, 0.75), ('wrong', 0, 0, 0.75)]
    """
    given = check_binary(target, "target")
    scores = check_probs(probs, given.shape)
    doubt, share = suspicion(given, scores), given.mean(axis=0)
    found = []
    kinds: list[tuple[Kind, BoolArray]] = [("missing", ~given & (scores > share)), ("wrong", given & (scores < share))]
    for kind, meant in kinds:
        for row, genre in _highest(np.where(meant, doubt, -1), most):
            value = float(scores[row, genre])
            found.append(Finding(kind, row, genre, kind == "missing", value, float(doubt[row, genre])))
    return found


def misleading_posters(target: ArrayLike, probs: ArrayLike, most: int) -> list[Finding]:
    """Posters on which none of their genres is seen and another is, at most `most`, the furthest apart first.

    Not seen: the probability lies below the genre's share of all posters; seen: above it. The score is how far the
    surest genre that the poster has not lies above the surest that it has. From outside nobody can tell whether the
    poster misleads or all its labels do; a person can.

    Raises:
        ValueError: a wrong shape or value.

    >>> found = misleading_posters([[1, 0], [0, 1]], [[0.125, 0.875], [0.5, 0.5]], most=5)
    >>> [(finding.row, finding.genre, finding.score) for finding in found]
    [(0, 1, 0.75)]
    """
    given = check_binary(target, "target")
    scores = check_probs(probs, given.shape)
    seen = scores > given.mean(axis=0)
    others = np.where(~given & seen, scores, -1)
    surest, best = others.max(axis=1), others.argmax(axis=1)
    margin = surest - np.where(given, scores, 0).max(axis=1)
    meant = given.any(axis=1) & ~(given & seen).any(axis=1) & (surest > 0) & (margin > 0)
    order = np.argsort(np.where(meant, -margin, 1), kind="stable")[: min(most, int(meant.sum()))]
    return [
        Finding("misleading", row, int(best[row]), None, float(surest[row]), float(margin[row]))
        for row in order.tolist()
    ]


def twin_findings(target: ArrayLike, probs: ArrayLike, groups: Sequence[str], most: int) -> list[Finding]:
    """Labels in which posters of one group differ, of the `most` groups that differ most.

    For each genre that some posters of a group have and others have not, the majority is suggested to the minority;
    where both are equal, what the mean probability of the group says. The score is 1 - (genres that all have) /
    (genres that one has), the Jaccard distance for two posters.

    Args:
        target: N x G of {0, 1}, as given.
        probs: N x G in 0-1.
        groups: N names; posters of one film, and near-duplicates, share one.
        most: groups at most.

    Raises:
        ValueError: a wrong shape or value.

    >>> found = twin_findings([[1, 0], [1, 1], [1, 0]], [[0.5, 0.5]] * 3, ["a", "a", "a"], most=5)
    >>> [(finding.row, finding.genre, finding.add, finding.score, finding.others) for finding in found]
    [(1, 1, False, 0.5, (0, 2))]
    """
    given = check_binary(target, "target")
    scores = check_probs(probs, given.shape)
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    differing = []
    for rows in members.values():
        everyone, anyone = given[rows].all(axis=0), given[rows].any(axis=0)
        if (everyone != anyone).any():
            differing.append((1 - everyone.sum() / anyone.sum(), rows))
    differing.sort(key=lambda pair: -pair[0])
    found = []
    for distance, rows in differing[:most]:
        count, mean = given[rows].sum(axis=0), scores[rows].mean(axis=0)
        should = np.where(2 * count == len(rows), mean >= 0.5, 2 * count > len(rows))
        for row in rows:
            others = tuple(other for other in rows if other != row)
            for genre in np.flatnonzero(given[row] != should).tolist():
                add, value = bool(should[genre]), float(scores[row, genre])
                found.append(Finding("twins", row, genre, add, value, float(distance), others))
    return found


def _highest(scores: FloatArray, most: int) -> list[tuple[int, int]]:
    """Row and column of the highest `most` values that are 0 or more; equal ones in the order of the rows."""
    order = np.argsort(-scores, axis=None, kind="stable")[:most]
    places = [np.unravel_index(place, scores.shape) for place in order if scores.flat[place] >= 0]
    return [(int(row), int(column)) for row, column in places]
