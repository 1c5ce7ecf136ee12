"""The arrays that every part of the evaluation shares, checked in one place.

Letters: N posters, G genres, R replicates. `target` is N x G of {0, 1}; `probs` is N x G in 0-1, after the sigmoid;
`decisions` is N x G of {False, True}. A wrong shape or range is a mistake of the calling code, hence `ValueError`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def check_binary(values: ArrayLike, name: str) -> BoolArray:
    """Return `values` as an N x G boolean array.

    Raises:
        ValueError: not two-dimensional, or something else than 0 and 1 inside.

    >>> check_binary([[0, 1], [1, 1]], "target").tolist()
    [[False, True], [True, True]]
    """
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 2:
        raise ValueError(f"{name} must have the shape (posters, genres), got {array.shape}")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1, got {np.setdiff1d(array, (0, 1))[:5].tolist()}")
    return array.astype(np.bool_)


def check_probs(values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Return `values` as an N x G float64 array (exact for float32, so ties stay ties).

    Raises:
        ValueError: another shape than `shape`, or a value outside 0-1 (logits?), or NaN.

    >>> check_probs([[0.5, 1]], (1, 2)).tolist()
    [[0.5, 1.0]]
    >>> check_probs([[0.5, 3]], (1, 2))
    Traceback (most recent call last):
    ValueError: probs must lie in 0-1 (after the sigmoid), got 0.5 to 3.0
    """
    array: FloatArray = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"probs must have the shape of target, {shape}, got {array.shape}")
    # Written so that NaN fails as well.
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"probs must lie in 0-1 (after the sigmoid), got {array.min()} to {array.max()}")
    return array


def check_decisions(values: ArrayLike, shape: tuple[int, ...]) -> BoolArray:
    """Return `values` as an N x G boolean array.

    Raises:
        ValueError: another shape than `shape`, or something else than 0 and 1 inside.

    >>> check_decisions([[0, 1]], (1, 2)).tolist()
    [[False, True]]
    """
    array = check_binary(values, "decisions")
    if array.shape != shape:
        raise ValueError(f"decisions must have the shape of target, {shape}, got {array.shape}")
    return array


def has_genre(target: BoolArray) -> BoolArray:
    """Which posters have at least one genre (N); the others are left out of every metric.

    >>> has_genre(np.array([[True, False], [False, False]])).tolist()
    [True, False]
    """
    return np.asarray(target.any(axis=1))


def is_single_label(target: ArrayLike) -> bool:
    """Does every poster that has a genre have exactly one?

    >>> is_single_label([[1, 0], [0, 1], [0, 0]]), is_single_label([[1, 1], [0, 1]])
    (True, False)
    """
    sizes = check_binary(target, "target").sum(axis=1)
    return bool((sizes <= 1).all() and sizes.any())


def rank_genres(probs: FloatArray) -> IntArray:
    """Rank of every genre of every poster, N x G, 0 = best.

    Equal scores are ranked in genre order (a stable sort), so that a constant answer has one well-defined ranking
    and every run gives the same number.

    >>> rank_genres(np.array([[0.2, 0.9, 0.2]])).tolist()
    [[1, 0, 2]]
    """
    order = np.argsort(-probs, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(probs.shape[1]), probs.shape), axis=1)
    return ranks.astype(np.int64)
