"""Scaling finds what was put in, shrinks what few positives say, and changes no ranking within a genre."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mmposter.errors import UserError
from mmposter.evaluation import mean_average_precision
from mmposter.evaluation.calibration import log_loss
from mmposter.evaluation.scaling import MAX_SLOPE, Scaling, fit_scaling


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def world(seed: int, n: int, slope: float, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from sigmoid(slope * logit + offset), and the probabilities of a model that says the bare logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, (n, len(offsets)))
    target = rng.random(logits.shape) < sigmoid(slope * logits + offsets)
    target[~target.any(axis=1), 0] = True
    return target.astype(int), sigmoid(logits)


def test_the_slope_and_the_offsets_of_many_posters_are_found():
    offsets = np.array([1.5, -1.0, 0.0, 0.5])
    target, probs = world(0, 40_000, 0.6, offsets)
    found = fit_scaling(target, probs)
    assert found.slope == pytest.approx(0.6, abs=0.03)
    # The first genre also got the posters without any other, so it is left out here.
    assert found.offsets[1:] == pytest.approx(offsets[1:], abs=0.08)
    assert log_loss(target, found.apply(probs)) < log_loss(target, probs) - 0.01


def test_without_shrinkage_it_is_a_logistic_regression_over_all_pairs():
    """One column with the logit, one a genre that says which; no intercept and next to no penalty."""
    target, probs = world(1, 2000, 0.7, np.array([0.4, -0.4, 1.0]))
    logits = np.log(probs) - np.log1p(-probs)
    pairs = np.column_stack([logits.ravel(), np.tile(np.eye(3), (2000, 1))])
    other = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-9, max_iter=1000).fit(pairs, target.ravel())
    found = fit_scaling(target, probs, shrinkage=1e-8)
    assert [found.slope, *found.offsets] == pytest.approx(other.coef_[0], abs=1e-4)


@pytest.mark.parametrize("n", [20, 2000])
def test_a_genre_with_few_positives_goes_with_the_others(n):
    """The model says .5 of every poster; of four genres one is true of nine tenths, the others of one tenth.

    At the best offsets the gradient is 0: of the shared one, and of each own one.
    """
    target = np.zeros((n, 4), int)
    target[: n * 9 // 10, 0] = 1
    for g in (1, 2, 3):
        target[-n // 10 :, g] = 1
    offsets = fit_scaling(target, np.full((n, 4), 0.5), shrinkage=20).offsets
    pull = n * sigmoid(offsets) - target.sum(axis=0)
    own = -pull / 20
    shared = offsets - own
    assert shared == pytest.approx(np.full(4, shared[0]), abs=1e-4)
    assert pull.sum() == pytest.approx(0, abs=1e-3 * n)
    free = np.log(np.array([9, 1 / 9, 1 / 9, 1 / 9]))
    if n == 20:
        assert abs(offsets - shared[0]).max() < 1.2
    else:
        assert offsets == pytest.approx(free, abs=0.3)


def test_what_all_genres_share_is_not_shrunk():
    """As of a model with masked branches: it says .5 of everything, on few posters."""
    target = np.tile(np.eye(4, dtype=int), (5, 1))
    found = fit_scaling(target, np.full((20, 4), 0.5), shrinkage=1000)
    assert found.offsets == pytest.approx(np.full(4, np.log(1 / 3)), abs=1e-3)


def test_no_ranking_changes_and_the_ends_stay():
    target, probs = world(3, 500, 0.5, np.array([0.5, -2.0, 0.0]))
    scaling = Scaling(0.4, np.array([3.0, -3.0, 0.1]))
    scaled = scaling.apply(probs)
    assert mean_average_precision(target, scaled) == pytest.approx(mean_average_precision(target, probs), abs=1e-12)
    assert scaling.apply(np.array([[0.0, 1.0, 0.5]])) == pytest.approx(np.array([[0.0, 1.0, sigmoid(0.1)]]))
    assert Scaling(1.0, np.zeros(3)).apply(probs) == pytest.approx(probs, abs=1e-12)
    # By hand: the logit of .2 is -log 4; halved and moved by log 2 it is 0.
    assert Scaling(0.5, np.array([np.log(2)])).apply([[0.2]]) == pytest.approx(0.5)


def test_what_cannot_be_fitted():
    perfect = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    found = fit_scaling(perfect, np.where(perfect, 0.9, 0.1))
    assert 5 < found.slope <= MAX_SLOPE
    assert np.isfinite(found.offsets).all()
    # A model that knows all but hardly says so gets the largest slope, one that is always wrong the smallest.
    assert fit_scaling(perfect, np.where(perfect, 0.55, 0.45)).slope == pytest.approx(20)
    assert fit_scaling(perfect, np.where(perfect, 0.1, 0.9)).slope == pytest.approx(0.05)
    with pytest.raises(UserError, match="must be above 0, got 0"):
        fit_scaling(perfect, np.full((4, 2), 0.5), shrinkage=0)
    with pytest.raises(UserError, match="None of the 4 posters has a genre"):
        fit_scaling(np.zeros((4, 2)), np.full((4, 2), 0.5))
