"""Calibrated probabilities by vector scaling with one slope: sigmoid(slope * logit + offset of the genre).

Vector scaling (Guo et al. 2017, arXiv 1706.04599) has a slope and an offset for every class; there for the softmax,
here for sigmoid outputs. A slope a genre would be fitted on a few dozen positives, so all genres share one. The offset
of a genre is a shared one, free, and its own, shrunk to 0 by a Gaussian prior: a genre with few positives goes with the
others. The shared one is needed, as a model whose branches are masked is off to one side in all genres at once: over
the 15 sets of four branches and 5 folds of 562 validation posters, the mean log loss is .217 with it and .222 without
(shrinkage 20; from 1 to 80 it moves by .003). Within a genre every ranking stays as it is, hence mAP too; between the
genres of a poster it may change.

Unlike what `mmposter.evaluation.calibration` fits, which is reported alone, this one is put into use: see
`mmposter.runs.decisions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmposter.errors import UserError
from mmposter.evaluation.arrays import FloatArray
from mmposter.evaluation.metrics import labelled
from mmposter.evaluation.thresholds import DEFAULT_SHRINKAGE

MIN_SLOPE, MAX_SLOPE = 0.05, 20.0
"""Between them the slope is looked for; posters that the model tells apart without a fault have no best one."""

_NEAREST = 1e-7  # a float32 sigmoid may be exactly 0 or 1, and one such pair would make the loss infinite


@dataclass(frozen=True, eq=False)
class Scaling:
    """A fitted scaling; make it with `fit_scaling`.

    >>> Scaling(slope=0.5, offsets=np.zeros(1)).apply([[0.8]]).round(3).tolist()  # .8 is 4 : 1, then 2 : 1
    [[0.667]]
    """

    slope: float  # of the logits, the same for all genres, above 0
    offsets: FloatArray  # G, added to the scaled logits

    def apply(self, probs: ArrayLike) -> FloatArray:
        """The scaled probabilities N x G, float64."""
        from scipy.special import expit, logit

        values: FloatArray = np.asarray(probs, dtype=np.float64)
        return np.asarray(expit(self.slope * logit(values) + self.offsets))  # of 0 it is 0 again, of 1 1


def fit_scaling(target: ArrayLike, probs: ArrayLike, shrinkage: float = DEFAULT_SHRINKAGE) -> Scaling:
    """The slope and the offsets with the highest penalised likelihood on these posters.

    Minimised is the summed binary cross-entropy plus shrinkage / 2 * sum of the squared own offsets, which is convex.
    Of a rare genre with n positives about n / (n + shrinkage) of its own offset is left.

    Args:
        target: N x G of {0, 1}; posters without a genre are left out.
        probs: N x G in 0-1.
        shrinkage: precision of the prior, above 0.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre, or a `shrinkage` that is not above 0.

    >>> target, probs = [[1, 0]] * 6 + [[1, 1], [0, 1]] * 2, [[0.99, 0.01]] * 10
    >>> fit_scaling(target, probs).apply([[0.99, 0.01]]).round(3).tolist()
    [[0.8, 0.4]]
    """
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    if not shrinkage > 0:
        raise UserError(f"The shrinkage of the offsets must be above 0, got {shrinkage}.")
    truth, scores, _ = labelled(target, probs)
    logits = logit(np.clip(scores, _NEAREST, 1 - _NEAREST))

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        slope, shared, own = parameters[0], parameters[1], parameters[2:]
        scaled = slope * logits + shared + own
        value = (np.logaddexp(0, scaled) - truth * scaled).sum() + shrinkage / 2 * (own**2).sum()
        wrong = expit(scaled) - truth
        gradient = np.concatenate([[(wrong * logits).sum(), wrong.sum()], wrong.sum(axis=0) + shrinkage * own])
        return float(value) / len(truth), gradient / len(truth)

    start = np.concatenate([[1.0], np.zeros(1 + truth.shape[1])])
    bounds = [(MIN_SLOPE, MAX_SLOPE), *[(None, None)] * (1 + truth.shape[1])]
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Scaling(float(found.x[0]), np.asarray(found.x[1] + found.x[2:], dtype=np.float64))
