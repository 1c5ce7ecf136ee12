"""How an ablation's numbers are written, the same in sentences, tables and figures.

Metrics lie in 0-1 and are written without the leading zero, with three decimals: ``.321``. Differences carry their
sign: ``+.012``. What is undefined is a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from mmposter.document import numbers
from mmposter.document.numbers import LEVEL
from mmposter.evaluation.ablation import Provenance
from mmposter.evaluation.seeds import Estimate

number = partial(numbers.number, zero=False)
"""``.321``; ``1.000``; a dash for NaN."""

signed = partial(numbers.signed, zero=False)
"""``+.012``, ``-.004``; a number that rounds to zero keeps its side: ``-.000``."""

interval = partial(numbers.interval, zero=False)
"""``.283 to .321``; a dash where there is none."""

signed_interval = partial(numbers.interval, sign=True, zero=False)
"""``-.004 to +.006``; a dash where there is none."""

p_value = partial(numbers.p_value, zero=False)
"""``.012``, ``< .001``; never rounded over the level of .05."""


def value_in_words(estimate: Estimate) -> str:
    """``.321 (.283 to .340)``, without the brackets where there is no interval."""
    return numbers.with_interval(estimate.value, estimate.ci95, zero=False)


def difference_in_words(estimate: Estimate) -> str:
    """``+.012 (+.004 to +.020)``, without the brackets where there is no interval."""
    return numbers.with_interval(estimate.value, estimate.ci95, sign=True, zero=False)


def size_in_words(estimate: Estimate) -> str:
    """How large a difference is, whatever its sign: a fall of ``.012 (.004 to .020)``."""
    return value_in_words(flipped(estimate) if estimate.value < 0 else estimate)


def flipped(difference: Estimate) -> Estimate:
    """The second minus the first, from the first minus the second."""
    ends = None if difference.ci95 is None else (-difference.ci95[1], -difference.ci95[0])
    return replace(difference, value=-difference.value, ci95=ends)


def carried(difference: Estimate) -> int:
    """What may be said of a difference: 1 more, -1 less, 0 not told apart.

    It is more or less only where Holm's p-value is below .05 *and* the 95 % interval lies on the side of the value.
    No p-value, no interval or no value means not told apart.
    """
    if difference.adjusted is None or not difference.adjusted < LEVEL or difference.ci95 is None:
        return 0
    low, high = difference.ci95
    if difference.value > 0 and low > 0:
        return 1
    return -1 if difference.value < 0 and high < 0 else 0


def verdict(difference: Estimate) -> str:
    """`carried` as a word of a table: ``better``, ``worse`` or ``not told apart``."""
    return {1: "better", -1: "worse", 0: "not told apart"}[carried(difference)]


def seeds_in_words(seeds: Sequence[int]) -> str:
    """``5 seeds (0-4)``, ``2 seeds (1, 5)``, ``1 seed (0)``."""
    if not seeds:
        return "no seed"
    ordered = sorted(seeds)
    run = len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1))
    listed = f"{ordered[0]}-{ordered[-1]}" if run else ", ".join(map(str, ordered))
    return f"{len(ordered)} seed{'s' if len(ordered) > 1 else ''} ({listed})"


def origin(provenance: Provenance) -> str:
    """One line that says what the numbers were made from; it stands below every figure and in every caption."""
    source = f"commit {provenance.commit}" if provenance.commit else f"mmposter {provenance.version}"
    return (
        f"{provenance.data}, {provenance.split}: {provenance.posters} posters; {seeds_in_words(provenance.seeds)}; "
        f"{source}; {provenance.bootstrap} half-samples"
    )
