"""Near-duplicate posters: groups that must not be parted by a split.

How the distance was chosen, on the 5636 different files of the 1980-2015 posters (15.9 million pairs). The 64-bit
phash compares with a median, so distances are even. At distance 4 there is one pair, a true one (two years of the same
short-film programme, blue and green); none at 0, 2 and 6; one at 8, a false one (two dark posters with a figure in the
middle); five at 10, all false by their titles and three by eye; 90 at 12. Both movies of the true pair have no genre,
so the prepared data have no group of two.

On the other side, 200 of the posters were altered on purpose: saved again at JPEG quality 30, halved, brought to
another aspect ratio or made grey, all stay within 4; 30 % brighter, 95 % stay within 6; 2 % cut from each edge, 85 %
stay within 6. Larger cuts (5 %) and borders (3 %) mostly go beyond 8, where chance pairs begin, so no distance of this
hash would catch them. dhash was worse: its chance pairs begin at distance 5, and at 7 and less it has twelve pairs, of
which one is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

DUPLICATE_DISTANCE = 6
# Past this the chance pairs of any large set join into one group.
MAX_DISTANCE = 16
_BLOCK = 2048


def near_pairs(hashes: NDArray[np.uint64], distance: int) -> Iterator[NDArray[np.intp]]:
    """Yield P x 2 arrays of positions i < j whose hashes differ in at most `distance` bits.

    All pairs are compared, block against block, so memory does not grow with the number of hashes.
    """
    for start in range(0, len(hashes), _BLOCK):
        rows = hashes[start : start + _BLOCK]
        for other in range(start, len(hashes), _BLOCK):
            columns = hashes[other : other + _BLOCK]
            near = np.bitwise_count(rows[:, None] ^ columns[None, :]) <= distance
            i, j = np.nonzero(np.triu(near, 1) if other == start else near)
            if len(i):
                yield np.stack([i + start, j + other], axis=1)


def group_near_duplicates(ids: Sequence[str], hashes: NDArray[np.uint64], distance: int) -> list[str]:
    """Name of each poster's group: the smallest id that a chain of near pairs reaches.

    Args:
        hashes: N perceptual hashes of 64 bits.
        distance: Hamming distance, 0-64, up to which two posters are near.
    """
    # A placeholder picture saved many times is one hash: compare different hashes only, or its pairs fill the memory.
    unique, inverse = np.unique(hashes, return_inverse=True)
    pairs = np.concatenate([np.zeros((0, 2), np.intp), *near_pairs(unique, distance)])
    near = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (len(unique), len(unique)))
    _, chain = connected_components(near, directed=False)
    named: list[str] = pd.Series(ids, dtype=object).groupby(chain[inverse]).transform("min").tolist()
    return named
