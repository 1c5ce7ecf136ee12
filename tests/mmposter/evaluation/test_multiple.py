"""Holm's adjustment: by hand, in any order, and never against its definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmposter.evaluation.multiple import holm


def test_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04, and the last may not fall below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # The example of many textbooks: only the first survives 5 %.
    assert holm([0.0001, 0.03, 0.04, 0.6]) == pytest.approx([0.0004, 0.09, 0.09, 0.6])


def test_what_is_not_there_is_not_counted():
    assert holm([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([None, None]) == [None, None]
    assert holm([]) == []


def test_equal_and_large_values():
    assert holm([0.02, 0.02, 0.02]) == pytest.approx([0.06, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.4]) == [1.0, 1.0, 1.0]
    assert holm([0.0, 1.0]) == [0.0, 1.0]
    assert holm([0.2]) == [0.2]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, math.nan])
def test_wrong_values_are_named(wrong):
    with pytest.raises(ValueError, match=f"p_values must lie in 0-1 or be None, got {wrong}"):
        holm([0.1, wrong])


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_steps_down_as_defined(p_values):
    adjusted = holm(p_values)
    known = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None]
    assert [q is None for q in adjusted] == [p is None for p in p_values]
    for p, q in known:
        assert p <= q <= min(1.0, len(known) * p)
    ordered = [q for _, q in sorted(known)]
    assert ordered == sorted(ordered)
    # The procedure itself: reject from the smallest on while p_(k) <= level / (m - k + 1), stop at the first other.
    level, rejected = 0.05, 0
    for rank, (p, _) in enumerate(sorted(known)):
        if (len(known) - rank) * p > level:
            break
        rejected += 1
    assert sum(q <= level for _, q in known) == rejected
