"""The evaluation on eight fixed posters gives exactly these numbers, to 1e-6.

They were worked out in float64 by other means: scikit-learn's average precision, fractions over all thresholds,
permutations of branches, a root of the derivative, a search without gradients, and loops over the halves.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mmposter.evaluation import bootstrap_ci, bootstrap_difference, get_metric, mean_average_precision, tune_thresholds
from mmposter.evaluation.bootstrap import values_and_halves
from mmposter.evaluation.calibration import fit_isotonic, fit_temperature, log_loss
from mmposter.evaluation.halves import half_samples
from mmposter.evaluation.intervals import interval, logit_interval
from mmposter.evaluation.metrics import labelled
from mmposter.evaluation.multiple import holm
from mmposter.evaluation.scaling import fit_scaling
from mmposter.evaluation.seeds import estimate_difference, estimate_metric
from mmposter.evaluation.shapley import shapley_weights

TARGET = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1]])
PROBS = np.array(
    [
        [0.574, 0.508, 0.640],
        [0.594, 0.698, 0.173],
        [0.251, 0.219, 0.118],
        [0.574, 0.513, 0.868],  # its first genre ties with the first poster's
        [0.841, 0.380, 0.429],
        [0.083, 0.220, 0.120],
        [0.588, 0.518, 0.642],
        [0.587, 0.687, 0.423],
    ]
)


def test_average_precision(genre_precisions):
    assert genre_precisions(TARGET, PROBS) == pytest.approx([0.684523810, 0.732142857, 0.7], abs=1e-6)
    assert mean_average_precision(TARGET, PROBS) == pytest.approx(0.705555556, abs=1e-6)


def test_thresholds():
    """The second genre has F1 2/3 at .6025 and at .1095: the higher one is taken."""
    assert tune_thresholds(TARGET, PROBS, shrinkage=0, most=np.inf) == pytest.approx([0.167, 0.6025, 0.298], abs=1e-6)
    assert tune_thresholds(TARGET, PROBS, shrinkage=1e15, most=np.inf) == pytest.approx([0.196] * 3, abs=1e-6)
    assert tune_thresholds(TARGET, PROBS, most=np.inf) == pytest.approx([0.191166667, 0.26375, 0.209304348], abs=1e-6)


def test_half_samples_of_a_seed():
    """numpy promises the same permutations for a seed; intervals in reports and documents rest on it."""
    drawn = ["".join(map(str, row)) for row in half_samples(8, 4, seed=7)[:].astype(int)]
    assert drawn == ["10100011", "01011100", "00110011", "11001100"]


def test_bootstrap_intervals_of_a_seed():
    metrics = [get_metric("mean_average_precision"), get_metric("macro_f1")]
    values, halves = values_and_halves(*labelled(TARGET, PROBS, PROBS >= 0.5), metrics, half_samples(8, 8, seed=7))
    found = [interval(float(values[k]), halves[:, k], 8) for k in range(2)]
    assert found[0] == pytest.approx((0.437488399, 0.859305169), abs=1e-6)
    assert found[1] == pytest.approx((0.355265833, 0.589165094), abs=1e-6)
    # Eight posters are too few to show them.
    assert set(bootstrap_ci(TARGET, PROBS, PROBS >= 0.5, metrics, n_boot=8, seed=7).values()) == {None}
    first, second = (PROBS, PROBS >= 0.5), (PROBS, PROBS >= 0.3)
    difference = bootstrap_difference(TARGET, first, second, metrics, n_boot=8, seed=7)["macro_f1"]
    assert difference.value == pytest.approx(-0.124074074, abs=1e-6)
    assert difference.ci95 == pytest.approx((-0.242864366, -0.020892248), abs=1e-6)


def test_the_margin_of_a_corrected_value_is_half_a_poster():
    """A value that the correction moves to 1 or beyond counts as 1 - .5 / (n + 1): 21/22 of ten posters."""
    beyond = logit_interval(1.2, 0.1, n=10)
    assert beyond == logit_interval(21 / 22, 0.1, n=10)
    assert beyond == pytest.approx((0.676943489, 0.995270920), abs=1e-6)
    assert logit_interval(-0.2, 0.1, n=10) == pytest.approx((0.004729080, 0.323056511), abs=1e-6)
    # And so through `interval`: .98 and a mean of halves of .9 give 1.06, an error of .08.
    corrected = interval(0.98, np.array([0.82, 0.98]), n=10)
    assert corrected == pytest.approx(logit_interval(21 / 22, 1.959963984540054 * 0.08, n=10), abs=1e-12)


def test_calibration():
    found = fit_temperature(TARGET, PROBS)
    assert found.temperature == pytest.approx(1.793569750, abs=1e-5)  # the search stops at 1e-7 of its logarithm
    assert log_loss(TARGET, PROBS) == pytest.approx(0.671339275, abs=1e-6)
    assert log_loss(TARGET, found.apply(PROBS)) == pytest.approx(0.650122160, abs=1e-6)
    assert get_metric("expected_calibration_error").value(TARGET, PROBS) == pytest.approx(0.374, abs=1e-6)
    # Pooled by hand: no genre up to .173, 7 of 16 pairs from .219 to .642, all from .687 on; linear in between.
    found = fit_isotonic(TARGET, PROBS).apply([0.0, 0.2, 0.3, 0.665, 0.9])
    assert found == pytest.approx([0, 0.256793478, 0.4375, 0.725, 1], abs=1e-6)


def test_scaling():
    found = fit_scaling(TARGET, PROBS)
    assert found.slope == pytest.approx(0.546621747, abs=1e-6)
    assert found.offsets == pytest.approx([-0.077671758, -0.06966898, -0.10570343], abs=1e-6)


def test_shapley_values():
    game = {"": 0.1, "a": 0.3, "b": 0.25, "c": 0.1, "ab": 0.4, "ac": 0.33, "bc": 0.3, "abc": 0.45}
    names = {frozenset(some): "".join(some) for size in range(4) for some in combinations("abc", size)}
    values = {
        branch: sum(weight * game[names[subset]] for subset, weight in weights.items())
        for branch, weights in shapley_weights(["a", "b", "c"]).items()
    }
    assert values == pytest.approx({"a": 0.18, "b": 0.14, "c": 0.03}, abs=1e-12)


def test_holm():
    assert holm([0.01, None, 0.04, 0.03, 0.5]) == pytest.approx([0.04, None, 0.09, 0.09, 0.5], abs=1e-12)


VALUES = np.array([0.52, 0.56, 0.51])
HALVES = np.array([[0.50, 0.55, 0.53, 0.51], [0.57, 0.58, 0.52, 0.56], [0.49, 0.53, 0.52, 0.50]])


def test_three_seeds_on_the_same_halves():
    """Variances: .000183 over halves of the mean, .0000854 of it all seeds', .000233 between seeds; t has 2 degrees."""
    found = estimate_metric(VALUES, HALVES, 200)
    assert found.value == pytest.approx(0.53, abs=1e-12)
    assert found.ci95 == pytest.approx((0.461690345, 0.597203912), abs=1e-6)
    assert found.standard_error == pytest.approx(0.017853571, abs=1e-6)
    difference = estimate_difference(VALUES - 0.49, HALVES - 0.49, 200)
    assert difference.ci95 == pytest.approx((-0.028174649, 0.108174649), abs=1e-6)
    assert difference.p_value == pytest.approx(0.133390242, abs=1e-6)
