"""What a pack says of an array before its bytes: checked, so that its size is known before anything is unpacked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.files.strict_json import mapping, number, shown, whole

_TYPES = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
"""The types that arrays may have; nothing that holds objects."""

_MOST_AXES = 4
_LONGEST = 2**31  # along an axis
_MOST_PLANES = 4  # bytes of a rounded number


@dataclass(frozen=True)
class Header:
    """An array of n rows and k columns, and how it is kept (see `mmposter.packs.codec`)."""

    code: str  # `transform`, `scalar` or `exact`
    shape: tuple[int, ...]  # n x ...
    dtype: np.dtype[Any]  # of the array
    stored: np.dtype[Any]  # `exact`: the type that the bytes have
    low: NDArray[np.float64]  # `scalar`: k numbers, what the columns begin at
    step: NDArray[np.float64]  # of the rounding: k numbers of `scalar`, one of `transform`
    # bytes of a number: one count of `scalar`; of `transform` those of the scores and of the vectors
    planes: tuple[int, ...]
    components: int  # `transform`: how many, k at most
    unit: bool  # `transform`: rows have length 1

    @classmethod
    def of(cls, said: Any) -> Header:
        """Read the JSON of a header.

        Raises:
            ValueError: a value that is missing, of another type, or beyond what there can be.
        """
        said = mapping(said, "a header")
        code, shape = said.get("code"), _shape(said.get("shape"))
        columns = math.prod(shape[1:])
        low = step = np.zeros(0)
        planes: tuple[int, ...] = ()
        components, stored, unit = 0, said.get("dtype"), False
        if code == "exact":
            stored = said.get("stored")
        elif code == "scalar":
            low, step = _numbers(said.get("low"), columns), _numbers(said.get("step"), columns)
            planes = _planes([said.get("planes")], 1)
        elif code == "transform":
            if said.get("columns") != columns:
                raise ValueError(f"it has {shown(said.get('columns'))} columns, and a shape with {columns}")
            step, planes = _numbers([said.get("step")], 1), _planes(said.get("planes"), 2)
            components, unit = whole(said.get("components"), "components", most=columns), said.get("unit") is True
            if not step[0] > 0:
                raise ValueError(f"a step is more than 0, not {step[0]:g}")
        else:
            raise ValueError(f"there is no code {shown(code)}")
        return cls(code, shape, _type(said.get("dtype")), _type(stored), low, step, planes, components, unit)

    @property
    def rows(self) -> int:
        """n."""
        return self.shape[0]

    @property
    def columns(self) -> int:
        """k, the numbers in a row."""
        return math.prod(self.shape[1:])

    @property
    def bytes(self) -> int:
        """Of the array."""
        return self.rows * self.columns * self.dtype.itemsize

    @property
    def packed(self) -> int:
        """Bytes from which the array is made, behind the entropy coder."""
        if self.code == "exact":
            return self.rows * self.columns * self.stored.itemsize
        if self.code == "scalar":
            return self.planes[0] * self.rows * self.columns
        scores, vectors = self.planes
        fixed = 8 * self.columns + (self.columns + 7) // 8
        return fixed + self.components * (4 + vectors * self.columns + scores * self.rows)


def _shape(said: Any) -> tuple[int, ...]:
    if not isinstance(said, list) or not 1 <= len(said) <= _MOST_AXES:
        raise ValueError(f"a shape has 1 to {_MOST_AXES} numbers, got {shown(said)}")
    return tuple(whole(size, "a size", most=_LONGEST) for size in said)


def _planes(said: Any, count: int) -> tuple[int, ...]:
    if not isinstance(said, list) or len(said) != count:
        raise ValueError(f"planes must be {count} numbers, got {shown(said)}")
    return tuple(whole(places, "planes", least=1, most=_MOST_PLANES) for places in said)


def _numbers(said: Any, count: int) -> NDArray[np.float64]:
    if not isinstance(said, list) or len(said) != count:
        raise ValueError(f"wanted are {count} numbers, got {shown(said)}")
    return np.array([number(value, "a number of a header") for value in said], np.float64)


def _type(said: Any) -> np.dtype[Any]:
    if not isinstance(said, str) or said not in _TYPES:
        raise ValueError(f"a type must be one of {', '.join(_TYPES)}, got {shown(said)}")
    return np.dtype(said)
