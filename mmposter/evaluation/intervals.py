"""From the values on all posters and on half-samples to a 95 % interval, for a metric and for a difference.

`mmposter.evaluation.bootstrap` says why half-samples, and what is done about bias. Here are the rules for where the
sample is small or says too little.

**A metric whose halves all agree**, such as 30 hits on 30 posters, has no spread to measure. What was never seen on n
independent posters may still be of a share of them, at most 1 - .025^(1/n): the limit of Clopper and Pearson (1934,
"The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26, 404-413), with one
end at .05 known as the rule of three (Hanley and Lippman-Hand 1983, JAMA 249, 1743-1745). Such posters may count 0 or
1, so the interval is (value (1 - share), value (1 - share) + share). The average precision of a genre has its positives
for posters. A mean over genres has the worst mean shortfall of the genres that leaves what was seen a chance of .025.

**An interval holds its value.** The correction for bias may put a mAP above its own interval. The interval then ends at
the value: it becomes wider, so it holds the truth no less often.

**Fewer than `MIN_POSTERS` independent posters have no interval.** On 300 simulated sets each with 5, 10 and 20 posters
the interval of R-precision held the truth in 93, 94 and 96 %, but that of mAP (of the genres that the set has) in 68,
77 and 85 %, and that of the calibration error in 0, 16 and 77 %.

**A difference to the constant answer** is paired, and takes two posters more into account than there are: on one the
model is better by 1, on the other the constant (Bonett and Price 2012, "Adjusted Wald confidence interval for a
difference of binomial proportions based on paired data", Journal of Educational and Behavioral Statistics 37, 479-491).
On 1000 posters that changes nothing to speak of. On 20 it is what keeps chance from being called better: a model as
good as the constant in R-precision was, in 18 of 400 sets without them and in 1 with them. The interval of a
difference whose halves all agree is made so, too.

**A genre's average precision minus its prevalence** is told on the logit scale: the average precision of a rare genre
has a long upper tail, by which an interval of the plain difference would reach 0 although it is ten times the
prevalence. On 120 simulated sets of 400 posters with 10 positives or more a genre, blind scores were above 0 in .4 to
1.2 % of the genres, and the interval held the truth in 94-95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.metrics import Metric

Ends = tuple[float, float]

Z_95 = 1.959963984540054
# Metrics lie in 0-1: what is smaller than this is the order of a sum, not a difference.
NEGLIGIBLE = 1e-12
MIN_POSTERS = 20
"""Independent posters (or groups of near-duplicates) below which nothing has an interval; see the module."""


@dataclass(frozen=True)
class Difference:
    """First model minus second, and its 95 % interval (None if it cannot be estimated).

    >>> better = Difference(value=0.04, ci95=(0.01, 0.07))
    >>> better.ci95[0] > 0
    True
    """

    value: float
    ci95: Ends | None


def independent_posters(n: int, groups: ArrayLike | None) -> int:
    """How many of `n` posters say something of their own: near-duplicates (`groups`, one label a poster) count once.

    >>> independent_posters(4, ["a", "a", "b", "c"]), independent_posters(4, None)
    (3, 4)
    """
    return n if groups is None else len(np.unique(np.asarray(groups)))


def enough(values: FloatArray, halves: FloatArray) -> FloatArray | None:
    """The halves in which a metric is defined; None if they are too few, or it is undefined on all posters.

    >>> enough(np.array([0.5]), np.array([[0.4, np.nan, 0.6]])) is None
    True
    """
    known = halves[:, ~np.isnan(halves).any(axis=0)]
    if np.isnan(values).any() or known.shape[1] < max(2, 0.9 * halves.shape[1]):
        return None
    return known


def interval(value: float, halves: FloatArray, n: int, units: float | None = None) -> Ends | None:
    """The interval of a metric in 0-1 with the half-sample values `halves` (R) on `n` posters.

    Halves in which the metric is undefined are left out; None if that is more than one in ten, or if `value` is
    undefined. How many posters are needed is for the caller to say, see `MIN_POSTERS`.

    Args:
        value: the metric on all posters.
        halves: R.
        n: number of posters.
        units: how many independent ones the metric rests on, see `edge_units`; None: `n`.

    >>> low, high = interval(0.5, np.array([0.42, 0.62]), n=100)  # bias .02, standard error .1
    >>> f"{low:.3f} {high:.3f}"
    '0.296 0.669'
    >>> [f"{end:.3f}" for end in interval(1.0, np.ones(10), n=30)]  # 30 hits on 30 posters
    ['0.884', '1.000']
    """
    known = enough(np.array([value]), halves[None])
    if known is None:
        return None
    error = float(known.std())
    if error <= NEGLIGIBLE:
        return edge_interval(value, n if units is None else units)
    return holding(value, logit_interval(2 * value - float(known.mean()), Z_95 * error, n))


def logit_interval(centre: float, reach: float, n: int) -> Ends:
    """`centre` +- `reach` of a metric of `n` posters, on the logit scale and hence within 0-1.

    >>> [f"{end:.3f}" for end in logit_interval(0.9, 0.1, n=50)]
    ['0.748', '0.965']
    """
    # The correction may leave 0-1, where there is no logit: half of one poster is the nearest that counts.
    margin = 0.5 / (n + 1)
    middle = min(max(centre, margin), 1 - margin)
    logit, width = math.log(middle / (1 - middle)), reach / (middle * (1 - middle))
    # tanh is the sigmoid that cannot overflow.
    return 0.5 * (1 + math.tanh((logit - width) / 2)), 0.5 * (1 + math.tanh((logit + width) / 2))


def edge_interval(value: float, units: float) -> Ends:
    """The interval of a metric in 0-1 that is `value` on every part of the sample, of `units` independent posters.

    >>> [f"{end:.3f}" for end in edge_interval(0.0, 30)], [f"{end:.3f}" for end in edge_interval(0.5, 30)]
    (['0.000', '0.116'], ['0.442', '0.558'])
    """
    seen = 0.025 ** (1 / units)
    return value * seen, value * seen + 1 - seen


def holding(value: float, ends: Ends) -> Ends:
    """`ends`, moved out where `value` lies beyond them.

    >>> holding(0.9, (0.5, 0.8))
    (0.5, 0.9)
    """
    return min(ends[0], value), max(ends[1], value)


def edge_units(
    target: BoolArray, metrics: Sequence[Metric], groups: NDArray[Any] | None = None, *, genres: bool = False
) -> FloatArray:
    """On how many independent posters each metric rests, K; with `genres` then the average precision of each genre.

    Args:
        target: N x G, every poster with a genre.
        metrics: rows of `METRICS`.
        groups: near-duplicate group of each poster (N).
        genres: also each genre, which rests on its positives; on 1 if it has none.

    >>> from mmposter.evaluation.metrics import get_metric
    >>> target = np.tile(np.eye(2, dtype=bool), (30, 1))
    >>> edge_units(target, [get_metric("exact_match"), get_metric("macro_f1")]).round(3)
    array([60., 60.])
    """
    positives = target
    if groups is not None:
        unit = np.unique(groups, return_inverse=True)[1]
        positives = np.zeros((int(unit.max()) + 1, target.shape[1]), dtype=np.bool_)
        np.logical_or.at(positives, unit, target)
    counts = positives.sum(axis=0)
    of_mean = _units_of_mean(counts[counts > 0].astype(np.float64))
    found = [of_mean if metric.over_genres else float(len(positives)) for metric in metrics]
    return np.array([*found, *np.maximum(counts, 1)] if genres else found, dtype=np.float64)


def _units_of_mean(counts: FloatArray) -> float:
    """How many posters a mean over genres is worth where no genre shows a fault, with `counts` positives each.

    With q the true share of each genre's positives without a fault, what was seen has the chance prod q^count. The
    smallest mean of q that leaves it .025 has q in proportion to the count, for the rare genres whose q is below 1.
    """
    ordered, surprise = np.sort(counts), -math.log(0.025)
    short = 0.0
    for k in range(1, len(ordered) + 1):
        rare = ordered[:k]
        rate = math.exp(-(surprise + float((rare * np.log(rare)).sum())) / float(rare.sum()))
        short = float((1 - rate * rare).sum()) / len(ordered)
        if k < len(ordered) and rate * ordered[k] >= 1:
            break
    return surprise / -math.log1p(-short)


def two_more_posters(centre: float, variance: float, n: float) -> tuple[float, float]:
    """A difference and its variance with the two posters of the module's docstring beside its own `n`.

    >>> [round(found, 4) for found in two_more_posters(1.0, 0.0, 10)]  # all ten posters: 10/12, and its error
    [0.8333, 0.0255]
    """
    moved = n * centre / (n + 2)
    square = (n * (n * variance + centre**2) + 2) / (n + 2)
    return moved, (square - moved**2) / (n + 2)


def difference(value: float, halves: FloatArray, n: int, *, to_constant: bool = False) -> Difference:
    """The difference of two metrics, with its interval (difference - bias) +- 1.96 standard errors.

    Args:
        value: on all posters.
        halves: R, on the half-samples.
        n: number of independent posters.
        to_constant: whether the second is a constant answer.

    >>> [f"{end:.3f}" for end in difference(0.3, np.array([0.2, 0.4]), 10, to_constant=True).ci95]
    ['-0.040', '0.540']
    """
    known = enough(np.array([value]), halves[None])
    if known is None:
        return Difference(value, None)
    centre, variance = 2 * value - float(known.mean()), float(known.var())
    if to_constant or variance <= NEGLIGIBLE**2:
        centre, variance = two_more_posters(centre, variance, n)
    width = Z_95 * math.sqrt(variance)
    return Difference(value, holding(value, (centre - width, centre + width)))


def difference_on_logits(
    values: tuple[float, float], halves: tuple[FloatArray, FloatArray], n: int, independent: int
) -> Difference:
    """Average precision of a genre minus its prevalence, with the interval of the module's docstring.

    Args:
        values: average precision and prevalence on all posters.
        halves: both on the half-samples, R each.
        n: number of posters.
        independent: those that say something of their own.

    >>> found = difference_on_logits((0.3, 0.1), (np.array([0.2, 0.4]), np.array([0.1, 0.1])), 100, 100)
    >>> [f"{end:.3f}" for end in found.ci95]
    ['0.044', '0.421']
    """
    (value, base), apart = values, halves[0] - halves[1]
    known = enough(np.array(values), np.stack(halves))
    plain = difference(value - base, apart, independent, to_constant=True)
    if known is None or plain.ci95 is None or not 0 < base < 1 or float(apart.std()) <= NEGLIGIBLE:
        return plain
    margin = 0.5 / (n + 1)
    centre = min(max(2 * value - float(known[0].mean()), margin), 1 - margin)
    # The slope of the logit turns the spread of both into that of the difference of their logits.
    error = float((known[0] / (centre * (1 - centre)) - known[1] / (base * (1 - base))).std())
    low, high = logit_interval(centre, Z_95 * error * centre * (1 - centre), n)
    return Difference(value - base, holding(value - base, (low - base, high - base)))
