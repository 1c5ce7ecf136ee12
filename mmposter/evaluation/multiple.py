"""Many comparisons at once: p-values adjusted so that 5 % still means 5 %."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values so that the chance of any false claim among all of them stays below the level.

    The k-th smallest of m is multiplied by m - k + 1, and none may be smaller than one before it. Holds whatever the
    dependence of the comparisons, such as a reference that all of them share, and is never weaker than Bonferroni's
    factor m for all. Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 65-70.

    Args:
        p_values: one a comparison; None where there was none to make, which is not counted.

    Returns:
        the adjusted p-values in the same order, at most 1; None stays None.

    Raises:
        ValueError: a p-value outside 0-1.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    wrong = [p for p in p_values if p is not None and not 0 <= p <= 1]  # written so that NaN fails as well
    if wrong:
        raise ValueError(f"p_values must lie in 0-1 or be None, got {wrong[0]}")
    ordered = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p))
        adjusted[place] = highest
    return adjusted
