"""Arrays of features as few bytes, with a loss that is chosen beforehand and measured afterwards.

Three codes, by what an array holds (`encode` chooses):

- ``transform``: many columns that go together, such as the features of a network. Transform coding: the columns are
  brought to mean 0 and deviation 1, turned to their principal components, and all of these are rounded with one and the
  same step, which spreads the error evenly and gives a component bits as it has variance. What falls below the step is
  left out. The basis travels with the data and is rounded too, each vector as finely as its component matters. Source:
  V. K. Goyal, "Theoretical foundations of transform coding", IEEE Signal Processing Magazine 18(5), 2001. What we add
  is the deviation 1: a model standardises what it reads, and the columns of a DenseNet differ a thousandfold.
- ``scalar``: few columns, such as boxes: each is rounded to 255, 4095 or 65535 steps between its ends.
- ``exact``: whole numbers and text.

The entropy coder of all three is LZMA; numbers are laid out component by component, and byte by byte, as those of one
component are alike. Equal arrays give equal bytes.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.packs.facts import HEADER, Exact, Header, Scalar, Transform

Array = NDArray[Any]
Floats = NDArray[np.float64]

WIDE = 16
"""Columns from which on an array of floats is coded by ``transform``."""
NARROW_TOLERANCE = 1e-6
"""The largest relative squared error of a column coded by ``scalar``: a box stays where it is to 1/1000."""

# No context, and no long memory: neighbours are numbers of different posters, which say nothing of each other.
_NUMBERS = {"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0, "dict_size": 2**20}
_TEXT = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 2**23}
_MEMORY = 2**26  # bytes that the decoder may take; those dictionaries need 10 MB at most

# Of the typical deviation: what counts as one at least, so that columns that hardly move take no bits.
_LEAST = 0.01
# A component whose deviation is below this share of the step would be rounded to nothing.
_CUT = 0.5
_BISECTIONS = 14
_SAMPLE = 1000  # rows by which the step is guessed
# The step is right when the error is this near to the tolerance; it is aimed between both.
_NEAR, _AIM, _TRIES = 0.97, 0.985, 8
_LEVELS = (255, 4095, 65535)


@dataclass(frozen=True)
class Coded:
    """An array as `decode` reads it."""

    header: dict[str, Any]  # JSON-able; says the code, the shape and the type
    body: bytes  # compressed
    # the relative squared error of what `decode` gives back, see `relative_error`; of `transform` with columns of one
    # deviation
    error: float


def encode(values: Array, tolerance: float) -> Coded:
    """An array of n rows as bytes.

    Args:
        values: n x ...; floats, or whole numbers, which lose nothing.
        tolerance: the largest relative squared error of an array of `WIDE` columns or more.

    Raises:
        ValueError: floats that are not finite.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return _encode_exact(values)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    flat = _rows(values).astype(np.float32)
    coded = _encode_transform(flat, tolerance) if flat.shape[1] >= WIDE else _encode_scalar(flat)
    return replace(coded, header={**coded.header, "shape": list(values.shape), "dtype": values.dtype.str})


def decode(header: Header | Mapping[str, Any], body: bytes) -> Array:
    """The array behind `encode`, with its loss.

    Args:
        header: as `encode` gave it, or read already.

    Raises:
        ValueError, lzma.LZMAError: the header describes no array, the bytes are not what it says, or a number is not
            finite.
    """
    known = HEADER.validate_python(header)
    data = _unpacked(body, known.packed)
    if isinstance(known, Exact):
        return np.frombuffer(data, known.stored).reshape(known.shape).astype(known.dtype)
    with np.errstate(all="ignore"):  # what comes of absurd numbers is looked at below
        decoded = _decode_scalar(known, data) if isinstance(known, Scalar) else _decode_transform(known, data)
        values = decoded.reshape(known.shape).astype(known.dtype, copy=False)
    if not np.isfinite(values).all():
        raise ValueError("a number is not finite")
    return values


def relative_error(values: Array, decoded: Array, scale: Array | None = None) -> float:
    """1 - R2: the squared error as a share of the squared distance from the mean of the columns, over all columns.

    Args:
        values: n x ...
        scale: by which the columns are divided before; None: they count as they are.

    Returns:
        0 where nothing is wrong; infinity where something is, and no row differs from the mean.
    """
    flat = _rows(values).astype(np.float64)
    if not len(flat):
        return 0.0
    wrong, spread = flat - decoded.reshape(flat.shape), flat - flat.mean(axis=0)
    if scale is not None:
        wrong, spread = wrong / scale, spread / scale
    error, whole = float((wrong**2).sum()), float((spread**2).sum())
    if not error:
        return 0.0
    return error / whole if whole else float("inf")


def _rows(values: Array) -> Array:
    """n x k; reshape cannot guess k where there is no row."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))


def _encode_exact(values: Array) -> Coded:
    small = values
    if values.size:
        ends = np.min_scalar_type(int(values.min())), np.min_scalar_type(int(values.max()))
        small = values.astype(np.promote_types(*ends).newbyteorder("<"))
    body = lzma.compress(small.tobytes(), filters=[_TEXT if values.dtype == np.uint8 else _NUMBERS])
    header = {"code": "exact", "shape": list(values.shape), "dtype": values.dtype.str, "stored": small.dtype.str}
    return Coded(header, body, 0.0)


def _encode_scalar(flat: NDArray[np.float32]) -> Coded:
    low = flat.min(axis=0, initial=0.0) if not len(flat) else flat.min(axis=0)
    span = (np.zeros_like(low) if not len(flat) else flat.max(axis=0) - low).astype(np.float64)
    for levels in _LEVELS:
        step = np.where(span > 0, span / levels, 1.0)
        rounded = np.rint((flat - low) / step)
        errors = [relative_error(a[:, None], b[:, None]) for a, b in zip(flat.T, (low + rounded * step).T, strict=True)]
        if max(errors, default=0.0) <= NARROW_TOLERANCE:
            break
    planes, body = _planes(rounded)
    header = {"code": "scalar", "low": low.tolist(), "step": step.tolist(), "planes": planes}
    return Coded(header, lzma.compress(body, filters=[_NUMBERS]), relative_error(flat, low + rounded * step))


def _unpacked(body: bytes, size: int) -> bytes:
    """What LZMA packed, which must be `size` bytes; no more than that are ever unpacked."""
    coder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    data = coder.decompress(body, size + 1)
    if len(data) > size or not coder.eof or coder.unused_data:
        raise ValueError(f"it unpacks to more than the {size} bytes of its header, or is cut off")
    if len(data) < size:
        raise ValueError(f"it unpacks to {len(data)} bytes, and its header says {size}: the buffer is too small")
    return data


def _decode_scalar(header: Scalar, data: bytes) -> NDArray[np.float32]:
    rounded, _ = _from_planes(data, header.rows, header.width, header.planes)
    decoded: NDArray[np.float32] = (np.array(header.low) + rounded * np.array(header.step)).astype(np.float32)
    return decoded


def _encode_transform(flat: NDArray[np.float32], tolerance: float) -> Coded:
    rows, columns = flat.shape
    mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32) if rows else np.zeros(columns, np.float32)
    never_negative = (flat >= 0).all(axis=0)
    lengths = np.linalg.norm(flat, axis=1)
    unit = bool(rows) and bool((np.abs(lengths - 1) < 1e-3).all())
    scale = _column_scale(flat, as_they_are=unit)
    scores, basis, deviation = _components((flat.astype(np.float64) - mean) / scale)
    fixed = mean.astype("<f4").tobytes() + scale.astype("<f4").tobytes() + np.packbits(never_negative).tobytes()
    step = _first_step(scores, basis, deviation, tolerance)
    within: tuple[float, Coded] | None = None  # the largest step so far whose error is small enough
    beyond: float | None = None  # the smallest whose error is not
    tries = 0
    while True:
        rounded, body = _at_step(step, scores, basis, deviation)
        header, data = {"code": "transform", "columns": columns, "unit": unit, **rounded}, fixed + body
        known = Transform(**header, shape=list(flat.shape), dtype="<f4")
        error = relative_error(flat, _decode_transform(known, data), scale)
        tries += 1
        if error <= tolerance:
            within = step, Coded(header, data, error)
        else:
            beyond = step
        if within is not None and (not error or _NEAR * tolerance < error <= tolerance or tries >= _TRIES):
            return replace(within[1], body=lzma.compress(within[1].body, filters=[_NUMBERS]))
        if within is not None and beyond is not None:
            step = math.sqrt(within[0] * beyond)
        else:
            step *= math.sqrt(_AIM * tolerance / error)  # the squared error goes with the squared step


def _column_scale(flat: NDArray[np.float32], *, as_they_are: bool) -> NDArray[np.float32]:
    """By what each column is divided: its deviation, and a little; 1 where columns count as they are."""
    if as_they_are or not len(flat):
        return np.ones(flat.shape[1], np.float32)
    variance = flat.var(axis=0, dtype=np.float64)
    scale = np.sqrt(variance + _LEAST**2 * variance.mean())
    return np.where(scale > 0, scale, 1.0).astype(np.float32)


def _at_step(step: float, scores: Floats, basis: Floats, deviation: Floats) -> tuple[dict[str, Any], bytes]:
    """The components that the step leaves: what the header says of them, and their scale, basis and scores."""
    kept = int((deviation > _CUT * step).sum())
    vector_planes, vector_bytes = _planes(basis[:, :kept] * _fineness(deviation[:kept], len(scores), step))
    score_planes, score_bytes = _planes(scores[:, :kept] / step)
    header = {"components": kept, "step": step, "planes": [score_planes, vector_planes]}
    return header, deviation[:kept].astype("<f4").tobytes() + vector_bytes + score_bytes


def _decode_transform(header: Transform, data: bytes) -> NDArray[np.float32]:
    rows, columns, kept, step = header.rows, header.columns, header.components, header.step
    (mean, column_scale), data = np.frombuffer(data[: 8 * columns], "<f4").reshape(2, columns), data[8 * columns :]
    size = (columns + 7) // 8
    never_negative = np.unpackbits(np.frombuffer(data[:size], np.uint8), count=columns).astype(bool)
    scale, data = np.frombuffer(data[size : size + 4 * kept], "<f4"), data[size + 4 * kept :]
    score_planes, vector_planes = header.planes
    vectors, data = _from_planes(data, columns, kept, vector_planes)
    scores, _ = _from_planes(data, rows, kept, score_planes)
    # The step of the scores and the scale of the columns are put on the basis, which is the smaller one.
    basis = vectors * (step / _fineness(scale.astype(np.float64), rows, step)) * column_scale[:, None]
    decoded: NDArray[np.float32] = scores.astype(np.float32) @ basis.T.astype(np.float32)
    decoded += mean
    np.copyto(decoded, 0.0, where=(decoded < 0) & never_negative)
    if header.unit:
        decoded /= np.linalg.norm(decoded, axis=1, keepdims=True)
    return decoded


def _components(centred: Floats) -> tuple[Floats, Floats, Floats]:
    """Principal components, the strongest first: scores n x k, basis d x k, deviation k."""
    rows, columns = centred.shape
    if columns <= rows:
        values, basis = np.linalg.eigh(centred.T @ centred)
    else:
        values, scores = np.linalg.eigh(centred @ centred.T)
        basis = centred.T @ scores
        basis /= np.maximum(np.linalg.norm(basis, axis=0), 1e-30)
    real = np.flatnonzero(values > max(float(values.max(initial=0.0)), 1e-30) * 1e-12)[::-1]
    basis = basis[:, real]
    # Either sign is right; one of them is the same on every machine.
    basis *= np.where(basis[np.abs(basis).argmax(axis=0), np.arange(len(real))] < 0, -1.0, 1.0) if columns else 1.0
    return centred @ basis, basis, np.sqrt(values[real] / max(rows, 1))


def _fineness(deviation: Floats, rows: int, step: float) -> Floats:
    """Steps of the basis vectors in one unit.

    An error of a vector counts as often as there are rows, by its component's deviation; one of a score counts once.
    Bits are spent where they save most if both add the same for one more step, hence the root of the rows.
    """
    return deviation * (math.sqrt(rows) / step)


def _first_step(scores: Floats, basis: Floats, deviation: Floats, tolerance: float) -> float:
    """About the largest step whose error is within `tolerance`: by some rows, as if components did not touch."""
    if not len(deviation):
        return 1.0
    rows = len(scores)
    sample = scores[:: max(1, rows // _SAMPLE)]
    energy = (sample**2).sum(axis=0)
    low, high = 1e-6 * float(deviation[0]), 4 * float(deviation[0])
    for _ in range(_BISECTIONS):
        step = (low * high) ** 0.5
        kept = int((deviation > _CUT * step).sum())
        fine = _fineness(deviation[:kept], rows, step)
        exact, vectors = sample[:, :kept] / step, basis[:, :kept] * fine
        rounded = np.rint(exact)
        lost = energy[kept:].sum() + step**2 * float(((exact - rounded) ** 2).sum())
        moved = (((vectors - np.rint(vectors)) / fine) ** 2).sum(axis=0)  # of each vector, by rounding
        lost += step**2 * float(((rounded**2).sum(axis=0) * moved).sum())
        low, high = (step, high) if lost <= tolerance * energy.sum() else (low, step)
    return low


def _planes(values: Floats) -> tuple[int, bytes]:
    """n x k numbers, rounded, column by column, the low bytes of all before the next; how many bytes each one has."""
    whole = np.rint(values).astype(np.int64)
    folded = ((whole << 1) ^ (whole >> 63)).T.astype(np.uint64)  # small numbers of either sign to small ones
    count = max(1, (int(folded.max(initial=0)).bit_length() + 7) // 8)
    shifted = (folded >> np.uint64(8 * place) for place in range(count))
    return count, b"".join((part & np.uint64(255)).astype(np.uint8).tobytes() for part in shifted)


def _from_planes(data: bytes, rows: int, columns: int, count: int) -> tuple[NDArray[np.int32], bytes]:
    """The inverse of `_planes`, and what follows."""
    size = rows * columns
    folded = np.zeros(size, np.uint32)
    for place in range(count):
        folded |= np.frombuffer(data, np.uint8, size, place * size).astype(np.uint32) << np.uint32(8 * place)
    whole = (folded >> np.uint32(1)).astype(np.int32) ^ -(folded & np.uint32(1)).astype(np.int32)
    return whole.reshape(columns, rows).T, data[count * size :]
