"""Reliability by hand and by scikit-learn; calibrators that find what was put in and change no ranking."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression

from mmposter.errors import UserError
from mmposter.evaluation.bootstrap import bootstrap_ci, bootstrap_difference
from mmposter.evaluation.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    calibrate,
    cross_entropy,
    fit_isotonic,
    fit_temperature,
    log_loss,
    reliability,
)
from mmposter.evaluation.metrics import get_metric
from mmposter.evaluation.plain import plain_values


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def world(seed: int, n: int = 3000, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the true probabilities; the model says them with its logits times `scale`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, (n, 4))
    target = (rng.random((n, 4)) < sigmoid(logits)).astype(int)
    return target, sigmoid(scale * logits)


def test_reliability_by_hand():
    # Bins of a half: four pairs below, with one positive; two above, both positive.
    found = reliability([[1, 0], [0, 1], [0, 1]], [[0.2, 0.4], [0.1, 0.5], [0.3, 1.0]], bins=2)
    assert found.count.tolist() == [4, 2]
    assert found.mean_probability == pytest.approx([0.25, 0.75])
    assert found.share == pytest.approx([0.25, 1.0])
    assert found.calibration_error() == pytest.approx((4 * 0 + 2 * 0.25) / 6)


def test_reliability_agrees_with_scikit_learn_and_with_the_metric():
    target, probs = world(0, 400, 1.7)
    target[0] = [1, 0, 0, 0]
    target[target.sum(axis=1) == 0, 0] = 1  # scikit-learn leaves nothing out
    found = reliability(target, probs)
    share, mean = calibration_curve(target.ravel(), probs.ravel(), n_bins=15)
    filled = found.count > 0
    assert found.share[filled] == pytest.approx(share)
    assert found.mean_probability[filled] == pytest.approx(mean)
    assert found.calibration_error() == pytest.approx(
        get_metric("expected_calibration_error").value(target, probs), abs=1e-12
    )


def test_empty_bins_are_null_and_posters_without_a_genre_are_left_out():
    found = reliability([[1, 0], [0, 0]], [[0.05, 0.05], [0.9, 0.9]], bins=2)
    assert found.count.tolist() == [2, 0]
    assert plain_values(found)["share"] == [0.5, None]
    json.dumps(plain_values(found), allow_nan=False)
    assert found.calibration_error() == pytest.approx(0.45)
    with pytest.raises(UserError, match="None of the 1 posters has a genre"):
        reliability([[0, 0]], [[0.5, 0.5]])


def test_log_loss_agrees_with_scikit_learn():
    target, probs = world(1, 200)
    target[target.sum(axis=1) == 0, 0] = 1
    assert log_loss(target, probs) == pytest.approx(sk.log_loss(target.ravel(), probs.ravel()))
    assert cross_entropy([[1, 0]], [[0.25, 0.5]]) == pytest.approx(-np.log([[0.25, 0.5]]))
    assert np.isfinite(cross_entropy([[1, 0]], [[0.0, 1.0]])).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_temperature_finds_the_scale_that_was_put_in(scale):
    target, probs = world(2, 20_000, scale)
    kept = target.any(axis=1)
    # Posters without a genre are left out, which would shift the truth: give each a column that is always there.
    target, probs = np.column_stack([target, ~kept]), np.column_stack([probs, np.where(kept, 0.0, 1.0)])
    assert fit_temperature(target, probs).temperature == pytest.approx(scale, rel=0.03)


def test_temperature_is_the_minimum_of_the_loss():
    target, probs = world(3, 300, 1.8)
    found = fit_temperature(target, probs)
    best = log_loss(target, found.apply(probs))
    for factor in (0.8, 0.98, 1.02, 1.2):
        other = sigmoid(np.log(probs / (1 - probs)) / (found.temperature * factor))
        assert log_loss(target, other) > best


def test_temperature_changes_no_ranking_and_keeps_the_ends():
    target, probs = world(4, 200, 2.0)
    after = fit_temperature(target, probs).apply(probs)
    assert (np.argsort(after, axis=None) == np.argsort(probs, axis=None)).all()
    assert fit_temperature(target, probs).apply([0.0, 0.5, 1.0]).tolist() == [0.0, 0.5, 1.0]


def test_a_faultless_model_gets_the_lowest_temperature_and_a_hopeless_one_the_highest():
    assert (MIN_TEMPERATURE, MAX_TEMPERATURE) == (0.05, 20)
    target = np.array([[1, 0], [0, 1]] * 5)
    assert fit_temperature(target, 0.2 + 0.6 * target).temperature == pytest.approx(MIN_TEMPERATURE, rel=1e-3)
    assert fit_temperature(target, 0.8 - 0.6 * target).temperature == pytest.approx(MAX_TEMPERATURE, rel=1e-3)


def test_isotonic_is_scikit_learns_and_never_falls():
    target, probs = world(5, 300, 2.0)
    kept = target.any(axis=1)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probs[kept].ravel(), target[kept].ravel())
    ours = fit_isotonic(target, probs)
    places = np.linspace(0, 1, 501)
    assert ours.apply(places) == pytest.approx(theirs.predict(places))
    assert (np.diff(ours.apply(places)) >= 0).all()
    assert fit_isotonic(target[kept], probs[kept]).apply(probs[kept]).mean() == pytest.approx(target[kept].mean())


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibrating_a_model_that_is_too_sure_helps_on_other_posters(method):
    fit, (target, probs) = world(6, 1500, 2.5), world(7, 1500, 2.5)
    groups = np.arange(len(target)) // 2
    found = calibrate(method, fit, (target, probs), n_boot=100, groups=groups)
    assert found.error_after.value < found.error_before.value - 0.03
    assert found.change.value == pytest.approx(found.error_after.value - found.error_before.value)
    assert found.change.ci95[1] < 0
    assert found.log_loss_after < found.log_loss_before
    assert found.fitted_posters == fit[0].any(axis=1).sum()
    # The intervals are the house's own.
    metric = [get_metric("expected_calibration_error")]
    nothing, after = np.zeros_like(target), found.calibrator.apply(probs)
    assert found.error_before.ci95 == bootstrap_ci(target, probs, nothing, metric, 100, 0, groups)[metric[0].name]
    pair = bootstrap_difference(target, (after, nothing), (probs, nothing), metric, 100, 0, groups)[metric[0].name]
    assert found.change == pair
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (plain["temperature"] is None) == (method == "isotonic")
    assert plain["calibration_error"]["after"]["value"] == found.error_after.value
