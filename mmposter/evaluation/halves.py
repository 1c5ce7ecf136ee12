"""Random halves of the posters, drawn once, kept as bits and given out some rows at a time.

1000 half-samples of N posters as an array are 1000 N bytes, and as the numbers that a matrix product wants 8000 N. As
bits, and one of each half and its complement, they are 62 N: less than the probabilities of 20 genres take.
`mmposter.evaluation.bootstrap` says why halves, and what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmposter.errors import UserError
from mmposter.evaluation.arrays import BoolArray, IntArray

BLOCK_WEIGHTS = 2**21
"""Weights that are looked at together: a block of R' replicates of N posters has R' N of them."""

MOST_ROWS = 50
"""Replicates of a block at most: of few posters larger arrays are new pages each time, which the system must zero (a
third slower)."""

QUARTERS = 250
"""Enough: chance then moves an interval of 1000 half-samples by a twentieth of a standard error."""


class HalfSamples:
    """R random halves of N posters; make it with `half_samples`. A slice gives rows as an array (rows x N, boolean).

    >>> drawn = half_samples(6, n_boot=2, seed=0, groups=list("aabbcd"))
    >>> drawn.shape, drawn[:].astype(int).tolist()
    ((2, 6), [[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1]])
    """

    def __init__(self, bits: NDArray[np.uint8], count: int, units: int, unit: IntArray | None) -> None:
        """Half-samples that were drawn already.

        Args:
            bits: of each even row, packed, which of the units are in; an odd row has all the others.
            count: R, number of rows.
            units: what is drawn whole: posters, or groups of them.
            unit: N, the unit of each poster; None: each is its own.
        """
        self._bits, self._count, self._units, self._unit = bits, count, units, unit

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, int]:
        """R and N."""
        return self._count, self._units if self._unit is None else len(self._unit)

    def __getitem__(self, rows: slice) -> BoolArray:
        numbers = np.arange(self._count)[rows]
        chosen = np.unpackbits(self._bits[numbers // 2], axis=1, count=self._units).view(np.bool_)
        chosen[numbers % 2 == 1] ^= True
        if self._unit is None:
            return chosen
        whole: BoolArray = np.take(chosen, self._unit, axis=1)  # several times as quick as chosen[:, unit]
        return whole

    def __iter__(self) -> Iterator[BoolArray]:
        for some in blocks(self):
            yield from some


Halves: TypeAlias = HalfSamples | BoolArray
"""R x N: as they were drawn, or rows of them as an array."""


def half_samples(n: int, n_boot: int, seed: int, groups: ArrayLike | None = None) -> HalfSamples:
    """Which posters are in, `n_boot` x `n`: each row is a random half of the posters, rows 2i and 2i+1 are complements.

    With `groups` (one label a poster) whole groups are drawn, so near-duplicates are never counted as independent.

    Raises:
        UserError: `n_boot` below 2.
        ValueError: `groups` has another length than `n`.

    >>> half_samples(4, n_boot=4, seed=0)[:].astype(int).tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]]
    """
    if n_boot < 2:
        raise UserError(f"n_boot must be 2 or more (1000 is usual), got {n_boot}.")
    unit, units = None, n
    if groups is not None:
        labels: NDArray[Any] = np.asarray(groups)
        if labels.shape != (n,):
            raise ValueError(f"groups must have one label a poster, ({n},), got the shape {labels.shape}")
        names, unit = np.unique(labels, return_inverse=True)
        units = len(names)
    rng = np.random.default_rng(seed)
    bits = np.zeros(((n_boot + 1) // 2, (units + 7) // 8), dtype=np.uint8)
    for row in bits:
        chosen = np.zeros(units, dtype=np.bool_)
        chosen[rng.permutation(units)[: units // 2]] = True
        row[:] = np.packbits(chosen)
    return HalfSamples(bits, n_boot, units, unit)


def blocks(weights: Halves, count: int | None = None) -> Iterator[BoolArray]:
    """The first `count` rows (None: all), so few at a time that memory stays bounded; fours are never parted.

    >>> [len(some) for some in blocks(half_samples(4, n_boot=60, seed=0))]
    [48, 12]
    """
    rows, posters = weights.shape
    step = max(4, min(MOST_ROWS, BLOCK_WEIGHTS // max(posters, 1)) // 4 * 4)
    end = rows if count is None else min(count, rows)
    for start in range(0, end, step):
        yield weights[start : min(start + step, end)]


def quarter_samples(halves: BoolArray) -> BoolArray:
    """Quarters of the posters: rows 4i to 4i+3 of `halves` (R x N), two halves and two complements, cut each other.

    Every four quarters hold each poster once, and groups stay whole. There are as many as halves, less those that are
    no four.

    >>> quarter_samples(half_samples(4, n_boot=4, seed=0)[:]).astype(int).tolist()
    [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    """
    count = len(halves) // 4 * 4
    first, second = halves[:count:4], halves[2:count:4]
    quarters = np.stack([first & second, first & ~second, ~first & second, ~first & ~second], axis=1)
    return quarters.reshape(count, halves.shape[1])


def quarters_of(count: int) -> int:
    """How many of `count` half-samples are cut into quarters: at most half of them, and at most `QUARTERS`.

    More would cost more than they tell.

    >>> quarters_of(7), quarters_of(8), quarters_of(1000)
    (0, 4, 248)
    """
    return min(count // 2, QUARTERS) // 4 * 4
