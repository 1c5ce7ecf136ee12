"""What each branch adds, averaged over all the company it may find itself in: its Shapley value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb


def shapley_weights(branches: Sequence[str]) -> dict[str, dict[frozenset[str], float]]:
    """For each branch, the weight that the value of every subset of branches has in its Shapley value.

    With n branches and v(T) the value of a model that has the subset T, the branch b adds

        sum over T without b of  |T|! (n - |T| - 1)! / n!  *  (v(T + b) - v(T)),

    its mean gain over all orders in which the branches may come in (Shapley 1953, "A value for n-person games"). The
    values of all branches sum to v(all) - v(none). Each is a linear contrast of measured models, and so
    `seeds.estimate_difference` gives it an interval.

    Args:
        branches: n different names.

    Returns:
        branch -> subset -> weight, for all 2^n subsets by size, the empty one first. The weights of a branch sum to 0.

    Raises:
        ValueError: a name twice.

    >>> weights = shapley_weights(["picture", "words"])["words"]
    >>> [(sorted(subset), weight) for subset, weight in weights.items()]
    [([], -0.5), (['picture'], -0.5), (['words'], 0.5), (['picture', 'words'], 0.5)]
    """
    if len(set(branches)) != len(branches):
        raise ValueError(f"branches must be different names, got {list(branches)}")
    count = len(branches)
    subsets = [frozenset(some) for size in range(count + 1) for some in combinations(branches, size)]

    def weight(branch: str, subset: frozenset[str]) -> float:
        others = len(subset - {branch})
        # |T|! (n - |T| - 1)! / n! without large numbers
        share = 1 / (count * comb(count - 1, others))
        return share if branch in subset else -share

    return {branch: {subset: weight(branch, subset) for subset in subsets} for branch in branches}
