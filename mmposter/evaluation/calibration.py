"""Does .7 mean 70 %? Reliability of the probabilities, and what fitting them on validation posters would mend.

All (poster, genre) pairs are looked at together, in 15 bins of equal width, as the calibration error (ECE) of
`mmposter.evaluation.METRICS` does. Two ways to calibrate, both increasing functions of the probability and the same for
all genres:

- **temperature** (Guo et al. 2017, arXiv 1706.04599): one number T, logit / T; there for the softmax, here for sigmoid
  outputs. It leaves every ranking as it is, and every decision too where the thresholds are moved along with it.
- **isotonic** (Zadrozny and Elkan 2002): any non-decreasing step function. Can bend where temperature cannot, and ties
  what falls on one step.

Both are reported, never put into the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import FloatArray, IntArray
from mmposter.evaluation.bootstrap import bootstrap_ci, bootstrap_difference
from mmposter.evaluation.intervals import Difference
from mmposter.evaluation.metrics import get_metric, labelled
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.weighted import ECE_BINS, divide

Method = Literal["temperature", "isotonic"]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
"""Between them T is looked for; validation posters that the model tells apart without a fault have no best T."""

_NEAREST = 1e-7  # a float32 sigmoid may be exactly 0 or 1, and one such pair would make the loss infinite


@dataclass(frozen=True, eq=False)
class Reliability:
    """One entry a bin, from 0 to 1; a bin is [low, high), the last one closed."""

    count: IntArray  # (poster, genre) pairs
    mean_probability: FloatArray  # NaN where there is no pair
    share: FloatArray  # of pairs where the poster has the genre; NaN where there is no pair

    def calibration_error(self) -> float:
        """Mean over pairs of |mean probability - share| of their bin."""
        gaps = np.abs(np.nan_to_num(self.mean_probability - self.share))
        return float((self.count * gaps).sum() / self.count.sum())


@dataclass(frozen=True, eq=False)
class Calibrator:
    """A fitted, non-decreasing function of the probability; make it with `fit_temperature` or `fit_isotonic`.

    >>> Calibrator("temperature", temperature=2.0).apply([0.8, 0.5]).round(3).tolist()  # .8 is 4 : 1, then 2 : 1
    [0.667, 0.5]
    """

    method: Method  # which of the two
    temperature: float | None = None  # T; None for isotonic
    # Probabilities and what they become, 2 x K, linear in between; None for temperature.
    knots: FloatArray | None = None

    def apply(self, probs: ArrayLike) -> FloatArray:
        """The calibrated probabilities, float64 of the same shape."""
        from scipy.special import expit, logit

        values: FloatArray = np.asarray(probs, dtype=np.float64)
        if self.knots is not None:
            return np.asarray(np.interp(values, self.knots[0], self.knots[1]))
        assert self.temperature is not None
        return np.asarray(expit(logit(values) / self.temperature))  # of 0 it is 0 again, of 1 1


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    """What a calibrator, fitted on some posters, does to the probabilities of a split."""

    calibrator: Calibrator  # what was fitted
    fitted_on: str  # name of the split it was fitted on
    fitted_posters: int  # posters with a genre in it
    before: Reliability  # reliability of the probabilities as they are
    after: Reliability  # reliability of the calibrated ones
    error_before: Difference  # calibration error and its 95 % interval
    error_after: Difference  # the same of the calibrated ones
    change: Difference  # after minus before, paired by poster
    log_loss_before: float  # mean binary cross-entropy over all pairs, in nats
    log_loss_after: float  # the same of the calibrated probabilities

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        error = {"before": self.error_before, "after": self.error_after, "change": self.change}
        return {
            **plain_values(self.calibrator),
            "fitted_on": self.fitted_on,
            "fitted_posters": self.fitted_posters,
            "calibration_error": plain_values(error),
            "log_loss": {"before": self.log_loss_before, "after": self.log_loss_after},
            "reliability": plain_values({"before": self.before, "after": self.after}),
        }


def reliability(target: ArrayLike, probs: ArrayLike, bins: int = ECE_BINS) -> Reliability:
    """Count, mean probability and share of true pairs in each of `bins` bins of equal width.

    Posters without a genre are left out, as in every metric.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> found = reliability([[1, 0], [0, 1]], [[0.9, 0.2], [0.3, 0.6]], bins=2)
    >>> found.count.tolist(), found.mean_probability.tolist(), found.share.tolist()
    ([2, 2], [0.25, 0.75], [0.0, 1.0])
    >>> found.calibration_error()
    0.25
    """
    truth, scores, _ = labelled(target, probs)
    which = np.minimum((scores * bins).astype(np.int64), bins - 1).ravel()
    count = np.bincount(which, minlength=bins)
    pairs = count.astype(np.float64)
    return Reliability(
        count=count,
        mean_probability=divide(_sums(which, scores.ravel(), bins), pairs),
        share=divide(_sums(which, truth.ravel().astype(np.float64), bins), pairs),
    )


def _sums(which: IntArray, values: FloatArray, bins: int) -> FloatArray:
    return np.bincount(which, weights=values, minlength=bins).astype(np.float64)


def log_loss(target: ArrayLike, probs: ArrayLike) -> float:
    """Mean binary cross-entropy over all (poster, genre) pairs, in nats.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> log_loss([[1, 0]], [[0.5, 0.5]])
    0.6931471805599453
    """
    truth, scores, _ = labelled(target, probs)
    return float(cross_entropy(truth, scores).mean())


def cross_entropy(target: ArrayLike, probs: ArrayLike) -> FloatArray:
    """-log of the probability given to what is true, N x G; a probability counts as at least 1e-7.

    >>> cross_entropy([[1, 0]], [[0.5, 0.25]]).round(3).tolist()
    [[0.693, 0.288]]
    """
    given = np.where(np.asarray(target, dtype=np.bool_), probs, 1 - np.asarray(probs, dtype=np.float64))
    return np.asarray(-np.log(np.clip(given, _NEAREST, 1)))


def fit_temperature(target: ArrayLike, probs: ArrayLike) -> Calibrator:
    """The T that minimises the mean binary cross-entropy of sigmoid(logit / T) on these posters.

    The loss is convex in 1 / T, so there is one best value.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> target = [[1, 0]] * 8 + [[0, 1]] * 2  # it says 99 %, and 80 % is true: 99 : 1 become 4 : 1
    >>> found = fit_temperature(target, [[0.99, 0.01]] * 10)
    >>> found.apply([0.99]).round(4).tolist()
    [0.8]
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logit

    truth, scores, _ = labelled(target, probs)
    logits = logit(np.clip(scores, _NEAREST, 1 - _NEAREST))

    def loss(log_scale: float) -> float:
        scaled = logits * np.exp(-log_scale)
        return float((np.logaddexp(0, scaled) - truth * scaled).mean())

    bounds = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return Calibrator("temperature", temperature=float(np.exp(found.x)))


def fit_isotonic(target: ArrayLike, probs: ArrayLike) -> Calibrator:
    """The non-decreasing function with the least squared error on these posters, all genres together.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> found = fit_isotonic([[1, 0], [1, 1]], [[0.9, 0.6], [0.7, 0.5]])
    >>> found.apply([0.55, 0.9]).tolist()  # of .5 and .6 one in two
    [0.5, 1.0]
    """
    from sklearn.isotonic import IsotonicRegression

    truth, scores, _ = labelled(target, probs)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores.ravel(), truth.ravel())
    return Calibrator("isotonic", knots=np.stack([fitted.X_thresholds_, fitted.y_thresholds_]).astype(np.float64))


def calibrate(
    method: Method,
    fit: tuple[ArrayLike, ArrayLike],
    measure: tuple[ArrayLike, ArrayLike],
    *,
    fitted_on: str = "val",
    n_boot: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> CalibrationResult:
    """Fit on some posters, measure on others.

    Args:
        method: ``temperature`` or ``isotonic``.
        fit: target and probabilities (M x G) of the posters to fit on.
        measure: target and probabilities (N x G) of the posters to measure.
        fitted_on: name of the first ones' split.
        n_boot: number of half-samples behind the intervals.
        seed: of the half-samples.
        groups: near-duplicate group of each measured poster (N).

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre, in either part.

    >>> target, probs = [[1, 0]] * 8 + [[0, 1]] * 2, [[0.99, 0.01]] * 10
    >>> found = calibrate("temperature", (target, probs), (target, probs), n_boot=20)
    >>> f"{found.error_before.value:.3f} {found.error_after.value:.3f}"
    '0.190 0.000'
    """
    calibrator = fit_temperature(*fit) if method == "temperature" else fit_isotonic(*fit)
    target, probs = measure
    calibrated = calibrator.apply(probs)
    before, after = reliability(target, probs), reliability(target, calibrated)
    metric = [get_metric("expected_calibration_error")]
    nothing = np.zeros(np.shape(target), dtype=np.bool_)  # the calibration error reads no decisions

    def error(of: Reliability, scores: ArrayLike) -> Difference:
        intervals = bootstrap_ci(target, scores, nothing, metric, n_boot, seed, groups)
        return Difference(of.calibration_error(), intervals[metric[0].name])

    change = bootstrap_difference(target, (calibrated, nothing), (probs, nothing), metric, n_boot, seed, groups)
    return CalibrationResult(
        calibrator=calibrator,
        fitted_on=fitted_on,
        fitted_posters=len(labelled(fit[0])[0]),
        before=before,
        after=after,
        error_before=error(before, probs),
        error_after=error(after, calibrated),
        change=change[metric[0].name],
        log_loss_before=log_loss(target, probs),
        log_loss_after=log_loss(target, calibrated),
    )
