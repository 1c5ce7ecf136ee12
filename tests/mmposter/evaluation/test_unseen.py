"""What is said of posters of which nothing was seen: the base rates, and the genres of the best constant."""

from __future__ import annotations

import numpy as np
import pytest

from mmposter.evaluation import ConstantPredictor
from mmposter.evaluation.thresholds import ENOUGH, NEVER
from mmposter.evaluation.unseen import Unseen, best_constant_set, unseen_of_kind


@pytest.mark.parametrize("seed", range(6))
def test_the_set_is_that_of_the_best_constant_for_overall_f1(seed):
    rng = np.random.default_rng(seed)
    target = rng.random((150, 8)) < rng.random(8) * 0.6
    target[~target.any(axis=1), 0] = True
    expected = ConstantPredictor.fit(target, "overall_f1").decisions
    assert best_constant_set(target.mean(axis=0)).tolist() == expected.tolist()
    assert 0 < expected.sum() < 8


def test_genres_follow_thresholds_that_the_configuration_fixes():
    shares = [0.6, 0.4, 0.1]
    assert Unseen.of(shares).genres.tolist() == [True, True, False]
    assert Unseen.of(shares, [0.5] * 3).genres.tolist() == [True, False, False]
    assert Unseen.of(shares, [0.7] * 3, "allow").genres.tolist() == [False] * 3
    assert Unseen.of(shares, [NEVER] * 3).genres.tolist() == [True, False, False]


def test_only_posters_that_were_not_seen_get_it():
    answer = Unseen.of([0.5, 0.25])
    probs, seen = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32), np.array([True, False])
    np.testing.assert_array_equal(answer.fill(probs, seen), np.array([[0.9, 0.1], [0.5, 0.25]], np.float32))
    decided = np.array([[False, True], [False, True]])
    assert answer.fill_genres(decided, seen).tolist() == [[False, True], answer.genres.tolist()]
    assert answer.fill(probs, np.array([True, True])) is probs


def test_posters_of_the_kind_move_it_as_far_as_there_are_many():
    shares, target = np.array([0.5, 0.2, 0.0]), np.array([[0, 1, 1]] * 10)
    found = unseen_of_kind(target, shares).probs
    assert found == pytest.approx([ENOUGH * 0.5 / (10 + ENOUGH), (10 + ENOUGH * 0.2) / (10 + ENOUGH), 0])
    assert unseen_of_kind(np.zeros((0, 3)), shares).probs.tolist() == shares.tolist()
