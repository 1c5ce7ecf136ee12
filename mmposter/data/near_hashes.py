"""Pairs of near perceptual hashes: all of them, without looking at all pairs.

Two hashes of 64 bits that differ in at most d bits differ in at most d / 4 bits in one of their four quarters: else
they would differ in more than d. So for each hash the quarters are looked up that it has, and those that are so near to
one that it has, and only what is found there is compared ("multi-index hashing", Norouzi, Punjani and Fleet 2012). At
d = 6 that is about one pair in a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Pairs: TypeAlias = NDArray[np.intp]
"""P x 2 positions."""

QUARTERS, BITS = 4, 16
FEW_PAIRS = 2**24
"""Pairs that are compared at once rather than looked up."""
CANDIDATES = 2**20
"""Pairs that are looked at together: what bounds the memory."""
_LOOK_UP = 8
"""How many times as long a pair takes that is looked up."""
_BLOCK = 2048


def near_pairs(hashes: Hashes, distance: int, others: Hashes | None = None) -> Iterator[Pairs]:
    """Yield positions i < j whose hashes differ in at most `distance` bits; with `others`, any i and j of those.

    Each pair once, in no order. Memory does not grow with the number of pairs, but for what is yielded.

    >>> [pairs.tolist() for pairs in near_pairs(np.array([0b1000, 0b0111, 0b0011], np.uint64), 2)]
    [[[1, 2]]]
    """
    against = hashes if others is None else others
    pairs = len(hashes) * len(against)
    masks = _masks(distance // QUARTERS) if pairs > FEW_PAIRS else []
    if not masks or _LOOK_UP * _expected(hashes, against, masks) > pairs:
        yield from _compared(hashes, distance, others)
        return
    for quarter in range(QUARTERS):
        yield from _looked_up(hashes, distance, others, quarter, masks)


def _compared(hashes: Hashes, distance: int, others: Hashes | None) -> Iterator[Pairs]:
    """All pairs, block against block."""
    against = hashes if others is None else others
    for start in range(0, len(hashes), _BLOCK):
        rows = hashes[start : start + _BLOCK]
        for other in range(start if others is None else 0, len(against), _BLOCK):
            columns = against[other : other + _BLOCK]
            near = np.bitwise_count(rows[:, None] ^ columns[None, :]) <= distance
            i, j = np.nonzero(np.triu(near, 1) if others is None and other == start else near)
            if len(i):
                yield np.stack([i + start, j + other], axis=1)


def _masks(bits: int) -> list[int]:
    """All sets of at most so many bits of a quarter; none where they are so many that looking up saves nothing."""
    if bits > QUARTERS - 1:
        return []
    return [sum(1 << bit for bit in some) for size in range(bits + 1) for some in combinations(range(BITS), size)]


def _quarters(hashes: Hashes, quarter: int) -> NDArray[np.intp]:
    return (hashes >> np.uint64(quarter * BITS) & np.uint64(2**BITS - 1)).astype(np.intp)


def _expected(hashes: Hashes, against: Hashes, masks: list[int]) -> int:
    """How many pairs would be looked up: many, where most hashes have the same quarters."""
    keys, total = np.arange(2**BITS), 0
    for quarter in range(QUARTERS):
        mine, theirs = (np.bincount(_quarters(some, quarter), minlength=2**BITS) for some in (hashes, against))
        total += sum(int(mine @ theirs[keys ^ mask]) for mask in masks)
    return total


def _looked_up(hashes: Hashes, distance: int, others: Hashes | None, quarter: int, masks: list[int]) -> Iterator[Pairs]:
    """Near pairs that are near in this quarter and in none before it."""
    against = hashes if others is None else others
    theirs = _quarters(against, quarter)
    order = np.argsort(theirs, kind="stable")
    starts = np.searchsorted(theirs[order], np.arange(2**BITS + 1))
    # Equal quarters one after another: what they are compared with is in the processor's cache then.
    mine = _quarters(hashes, quarter)
    rows = np.argsort(mine, kind="stable")
    for mask in masks:
        keys = mine[rows] ^ mask
        first, ends = starts[keys], np.cumsum(starts[keys + 1] - starts[keys])
        for begin in range(0, int(ends[-1]), CANDIDATES):
            flat = np.arange(begin, min(begin + CANDIDATES, int(ends[-1])))
            at = np.searchsorted(ends, flat, side="right")
            before = np.where(at > 0, ends[at - 1], 0)
            i, j = rows[at], order[first[at] + flat - before]
            apart = hashes[i] ^ against[j]
            near = np.bitwise_count(apart) <= distance
            if others is None:
                near &= i < j
            for earlier in range(quarter):
                near &= np.bitwise_count(_quarters(apart, earlier)) > distance // QUARTERS
            if near.any():
                yield np.stack([i[near], j[near]], axis=1)
