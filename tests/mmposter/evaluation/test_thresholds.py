"""Thresholds: hand-worked, shrunk as said, and indifferent to scale and ties."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from mmposter.errors import UserError
from mmposter.evaluation.metrics import get_metric
from mmposter.evaluation.thresholds import (
    ENOUGH,
    MOST,
    NEVER,
    apply_thresholds,
    best_threshold,
    steadied_shares,
    tune_thresholds,
)

freely_tuned = partial(tune_thresholds, most=np.inf)
"""For F1 alone, without the bound on how often a genre is decided."""


def random_case(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.random((n, 4)) < [0.5, 0.3, 0.2, 0.1]
    target[target.sum(axis=1) == 0, 0] = True
    return target, np.clip(0.3 * target + 0.6 * rng.random((n, 4)), 0, 1).round(2)


def test_by_hand_without_shrinkage():
    # Genre 0: positives .8, .6, negative .7, .1 -> F1 is 2/3 above .75, 4/5 above .35: midpoint of .6 and .1.
    # Genre 1: positives are the two highest -> midpoint of .5 and .4.
    target = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    probs = np.array([[0.8, 0.4], [0.6, 0.2], [0.7, 0.9], [0.1, 0.5]])
    assert freely_tuned(target, probs, shrinkage=0) == pytest.approx([0.35, 0.45])


def test_shrinkage_by_hand():
    target = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    probs = np.array([[0.8, 0.4], [0.6, 0.2], [0.7, 0.9], [0.1, 0.5]])
    # Macro F1 of one threshold for both, from above: .85 (0, 2/3), .75 (2/3, 2/3), .65 (1/2, 2/3), .55 (4/5, 2/3),
    # .45 (4/5, 1), .3 (4/5, 4/5) ... -> .45, halfway from .5 to .4.
    assert freely_tuned(target, probs, shrinkage=1e12) == pytest.approx([0.45, 0.45])
    # Two positives a genre and k = 6: a quarter own, three quarters global.
    assert freely_tuned(target, probs, shrinkage=6) == pytest.approx([0.25 * 0.35 + 0.75 * 0.45, 0.45])


def test_rare_genres_are_shrunk_more():
    target, probs = random_case(0)
    own, half, shared = (freely_tuned(target, probs, shrinkage=k) for k in (0, 10, 1e15))
    assert np.ptp(shared) < 1e-9
    weight = target.sum(axis=0) / (target.sum(axis=0) + 10)
    assert half == pytest.approx(weight * own + (1 - weight) * shared)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_has_a_better_f1(seed: int):
    target, probs = random_case(seed)
    thresholds = freely_tuned(target, probs, shrinkage=0)
    shared = freely_tuned(target, probs, shrinkage=1e15)
    best_shared = get_metric("macro_f1").value(target, apply_thresholds(probs, shared))
    for limit in np.linspace(0, 1, 203):
        for g in range(4):
            mine, other = probs[:, g] >= thresholds[g], probs[:, g] >= limit
            assert _f1(target[:, g], mine) >= _f1(target[:, g], other) - 1e-12
        assert best_shared >= get_metric("macro_f1").value(target, probs >= limit) - 1e-12


def _f1(truth: np.ndarray, said: np.ndarray) -> float:
    return 2 * (truth & said).sum() / (truth.sum() + said.sum())


@pytest.mark.parametrize("shrinkage", [0, 20])
def test_scaled_scores_give_scaled_thresholds_and_the_same_decisions(shrinkage: float):
    target, probs = random_case(1)
    thresholds = tune_thresholds(target, probs, shrinkage)
    assert tune_thresholds(target, probs / 4, shrinkage) == pytest.approx(thresholds / 4, rel=1e-12)
    assert (apply_thresholds(probs / 4, thresholds / 4) == apply_thresholds(probs, thresholds)).all()


def test_the_order_of_the_posters_does_not_matter():
    target, probs = random_case(2)
    order = np.random.default_rng(0).permutation(len(target))
    assert (tune_thresholds(target[order], probs[order]) == tune_thresholds(target, probs)).all()


def test_equal_scores_are_never_torn_apart():
    target = np.array([[1, 0], [0, 1], [1, 1], [1, 0]])
    probs = np.full((4, 2), 0.25)
    thresholds = freely_tuned(target, probs, shrinkage=0)
    assert apply_thresholds(probs, thresholds).all()
    # Neighbouring floats have no number between them: the lower one must not pass. Their midpoint is rounded to an
    # even one, so of three neighbours in a row one pair rounds up and the other down. The last one's is rounded to 0.
    for low in (0.3, np.nextafter(0.3, 1), 0.0):
        high = np.nextafter(low, 1)
        target, probs = np.array([[1, 0], [0, 1]]), np.array([[high, low], [low, high]])
        decisions = apply_thresholds(probs, freely_tuned(target, probs, shrinkage=0))
        assert (decisions == target).all(), low
    # A score of exactly 0 that is worth a yes passes.
    assert apply_thresholds(np.zeros((2, 1)), freely_tuned([[1], [1]], np.zeros((2, 1)))).all()


def test_of_equally_good_thresholds_the_highest_is_taken():
    # .9 alone: one of two positives, nothing wrong: 2/3. Down to .2: both, and two wrong: 4/6. So it is .65, not .1.
    positive, scores = np.array([True, False, False, True]), np.array([0.9, 0.4, 0.3, 0.2])
    assert best_threshold(positive, scores) == 0.65
    # The same of the one for all genres: of these two, which see the same, it has macro F1 2/3 in both places.
    both = np.column_stack([positive, positive]), np.column_stack([scores, scores])
    shared = freely_tuned(np.column_stack([both[0], ~positive]), np.column_stack([both[1], np.ones(4)]), 1e15)
    assert shared == pytest.approx([0.65] * 3)


def test_a_genre_without_positives_gets_the_global_threshold():
    target, probs = random_case(3)
    target[:, 3], target[:, 0] = False, True
    thresholds = freely_tuned(target, probs)
    shared = freely_tuned(target, probs, shrinkage=1e15)
    assert thresholds[3] == pytest.approx(shared[0])
    assert np.isfinite(thresholds).all()


def test_calibrated_scores_have_their_best_threshold_at_half_the_best_f1():
    rng = np.random.default_rng(0)
    probs = rng.beta(0.5, 3, size=(40_000, 2))
    target = rng.random(probs.shape) < probs
    keep = target.any(axis=1)  # tune on all posters: give the others a third genre that is always right
    target, probs = np.column_stack([target, ~keep]), np.column_stack([probs, ~keep])
    thresholds = freely_tuned(target, probs, shrinkage=0)[:2]
    best = [_f1(target[:, g], probs[:, g] >= thresholds[g]) for g in range(2)]
    assert thresholds == pytest.approx(np.array(best) / 2, abs=0.03)


def test_posters_without_a_genre_are_left_out():
    target, probs = random_case(0)
    wide = np.vstack([target, np.zeros((30, 4))]), np.vstack([probs, np.full((30, 4), 0.99)])
    assert (tune_thresholds(*wide) == tune_thresholds(target, probs)).all()


def test_empty_policy():
    probs = np.array([[0.5, 0.2], [0.3, 0.35], [0.1, 0.1]])
    limits = [0.5, 0.4]
    assert apply_thresholds(probs, limits).tolist() == [[True, False], [False, False], [False, False]]
    # Equal scores: the first genre.
    assert apply_thresholds(probs, limits, "top1").tolist() == [[True, False], [False, True], [True, False]]


def test_wrong_input_is_named():
    with pytest.raises(UserError, match="empty must be one of allow, top1, got 'none'"):
        apply_thresholds([[0.5]], [0.5], "none")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="shrinkage must be 0 or more, got -1"):
        tune_thresholds([[1]], [[0.5]], -1)
    with pytest.raises(ValueError, match="thresholds must be one a genre of probs"):
        apply_thresholds([[0.5, 0.5]], [0.5])
    with pytest.raises(ValueError, match="thresholds must be numbers, got NaN"):
        apply_thresholds([[0.5]], [np.nan])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_surest_alone_is_one_genre_whatever_the_probabilities(kind):
    probs = np.array([[1, 1, 0], [0.2, 0.5, 0.5], [0, 0, 0], [0, 1, 0], [0.1, 0.2, 0.7]], dtype=kind)
    found = apply_thresholds(probs, [NEVER] * 3, "top1")
    assert found.argmax(axis=1).tolist() == [0, 1, 0, 1, 2]  # of equal ones the first
    assert found.sum(axis=1).tolist() == [1] * 5
    # A threshold of 1 would not do: a saturated sigmoid reaches it twice.
    assert apply_thresholds(probs, [1.0] * 3, "top1")[0].sum() == 2


def weak_case(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six genres, from one that half the posters have to one of one in fifty, and scores that say next to nothing."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.02])
    target = rng.random((n, 6)) < shares
    target[target.sum(axis=1) == 0, 0] = True
    return target, np.clip(shares + 0.01 * target + 0.05 * rng.normal(size=(n, 6)), 0.001, 0.999), target.mean(axis=0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("known", [True, False])
def test_weak_scores_do_not_decide_many_times_the_genres_that_there_are(seed: int, known: bool):
    target, probs, shares = weak_case(seed)
    free = apply_thresholds(probs, freely_tuned(target, probs))
    assert free.sum() > 1.7 * target.sum(), "the case shows nothing"
    bound = apply_thresholds(probs, tune_thresholds(target, probs, shares=shares if known else None))
    assert (bound.sum(axis=0) <= np.maximum(MOST * target.sum(axis=0), 1)).all()
    assert bound.sum() >= target.sum() / MOST


def test_scores_that_hold_the_bound_keep_their_thresholds():
    target, probs = random_case(0, n=200)
    probs = np.clip(probs + 0.6 * target, 0, 1)  # told apart: the best F1 decides as many as there are
    assert (tune_thresholds(target, probs) == freely_tuned(target, probs)).all()


def test_scores_that_are_all_equal_decide_nothing_that_too_few_have():
    target = np.array([[1, 0], [1, 0], [1, 0], [0, 1]] * 10)
    found = apply_thresholds(np.full((40, 2), 0.25), tune_thresholds(target, np.full((40, 2), 0.25)))
    assert found.sum(axis=0).tolist() == [0, 0]  # 40 for 30 is more than allowed, 40 for 10 all the more


def test_a_genre_that_no_training_poster_has_is_never_given():
    target, probs, shares = weak_case(0)
    shares[2] = 0
    for some in (slice(None), slice(10)):
        thresholds = tune_thresholds(target[some], probs[some], shares=shares)
        assert thresholds[2] == NEVER
        assert (np.delete(thresholds, 2) < 1).all()
        # Not as the surest one either, where nothing passes.
        sure = np.full((1, 6), 0.001)
        sure[0, 2] = 0.9
        assert not apply_thresholds(sure, thresholds, "top1")[0, 2]


@pytest.mark.parametrize("count", [1, 2, 5, ENOUGH - 1])
def test_a_handful_of_posters_gives_one_threshold_for_as_many_genres_as_there_are(count: int):
    target, probs, shares = weak_case(1)
    few, scores = target[:count], probs[:count]
    thresholds = tune_thresholds(few, scores, shares=shares)
    assert len(set(thresholds.tolist())) == 1
    wanted = count * steadied_shares(few, shares).sum()
    assert wanted - 1 < (scores >= thresholds).sum() <= max(wanted, 1)
    assert 0.5 < (probs >= thresholds).sum() / target.sum() < 1.5  # and on the others, too


def test_shares_are_steadied_by_those_of_the_training():
    target = np.array([[1, 0, 1]] * 10)
    found = steadied_shares(target, np.array([0.5, 0.1, 0.0]))
    assert found == pytest.approx([(10 + ENOUGH * 0.5) / (10 + ENOUGH), ENOUGH * 0.1 / (10 + ENOUGH), 0])
