"""Posters that show the same picture though their perceptual hashes differ: cut, framed, mirrored, with another title.

Each poster is kept as a sketch, a small grey picture. Two steps find the pairs:

1. Low frequencies. Flat borders are taken off, and the cosine transform of what is left, high frequencies weighted up,
   is a vector of length 1. It is compared with those of all other posters, cut by nothing to 9 % at each edge, and
   mirrored (which turns the sign of every second column). What is less alike than `CANDIDATE` is no pair.
2. Pixels. The candidates are laid on one another, and the fine structure of `_TILE` x `_TILE` tiles is compared, each
   within two pixels of its place. A pair has `SHARE` of its tiles alike by `TILE_LIKENESS`, so a quarter of the poster
   may be another, and two posters with the same frame or the same light in the middle are none.

How often each change is found, and how the three numbers were chosen: ``benchmarks/duplicates.py``, docs/limits.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 96, 64
"""Of a sketch, in pixels, whatever the shape of the poster."""

CANDIDATE, TILE_LIKENESS, SHARE = 0.6, 0.7, 0.5

_CUTS = (0.0, 0.03, 0.06, 0.09)  # of height and width, at each edge
_ROWS, _COLUMNS = 12, 10  # frequencies that are compared
_FLAT, _MOST_BORDER = 8.0, 0.2  # grey levels within a line of a border; its largest part of height or width
_TILE, _REACH, _EDGE = 16, 2, 8  # pixels; what lies within `_EDGE` of the outline, a frame perhaps, does not count
_FEWEST, _TEXTURE = 6, 3.0  # tiles with a structure of so many grey levels; of fewer none is a pair
_TILES = tuple(product(range(_EDGE, HEIGHT - _EDGE, _TILE), range(_EDGE, WIDTH - _EDGE, _TILE)))
_BLOCK = 2048

_MIRROR = np.tile(np.where(np.arange(_COLUMNS) % 2, -1, 1), _ROWS).astype(np.float32)

_Scalar = TypeVar("_Scalar", bound=np.generic)

Sketches = NDArray[np.uint8]
"""N x HEIGHT x WIDTH."""
Box = NDArray[np.float64]
"""Left, top, right and bottom in 0-1; of N sketches N x 4."""
_EVERYTHING = (0.0, 0.0, 1.0, 1.0)


class Candidate(NamedTuple):
    """Two posters by position, and the parts of them that may show the same."""

    one: int
    other: int
    part: Box  # of `one`
    within: Box  # of `other`
    mirrored: bool


def sketch(image: Image.Image) -> Sketches:
    """HEIGHT x WIDTH grey levels of a poster."""
    return np.asarray(image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def alike_pairs(sketches: Sketches) -> Iterator[Candidate]:
    """Yield what may be a pair. The likely ones come several times, by another part or way round.

    All pairs are compared, block against block, so memory grows with the number of sketches alone.
    """
    inside = np.concatenate([np.zeros((0, 4)), *(_inside_borders(part) for part in _blocks(sketches))])
    everything = np.tile(_EVERYTHING, (len(sketches), 1))
    # Something drawn over a border hides it, so posters are compared as they are, too.
    for within, cuts in ((inside, _CUTS), (everything, _CUTS[:1])):
        fixed = _descriptors(sketches, within)
        for cut in cuts:
            parts = _cut(within, cut)
            moving = fixed if cut == 0 else _descriptors(sketches, parts)
            for mirrored in (False, True):
                for i, j in _near(moving * (_MIRROR if mirrored else 1), fixed):
                    if i < j or (i > j and cut > 0):  # two whole ones are alike both ways
                        yield Candidate(i, j, parts[i], within[j], mirrored)


def _near(rows: NDArray[np.float32], columns: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    for first in range(0, len(rows), _BLOCK):
        for start in range(0, len(columns), _BLOCK):
            likeness = rows[first : first + _BLOCK] @ columns[start : start + _BLOCK].T
            for i, j in np.argwhere(likeness > CANDIDATE).tolist():
                yield i + first, j + start


def _inside_borders(sketches: Sketches) -> Box:
    """The part of each sketch within flat borders of at most a fifth."""
    grey = sketches.astype(np.float32)
    top, bottom = (_border(lines) for lines in (grey, grey[:, ::-1]))
    across = grey.transpose(0, 2, 1)
    left, right = (_border(lines) for lines in (across, across[:, ::-1]))
    return np.stack([left, top, 1 - right, 1 - bottom], axis=1)


def same_picture(one: Sketches, other: Sketches, pair: Candidate) -> bool:
    """Whether two sketches, HEIGHT x WIDTH each, have most of their fine structure in common, laid as `pair` says."""
    part = pair.part
    if pair.mirrored:
        one, part = np.ascontiguousarray(one[:, ::-1]), np.array([1 - part[2], part[1], 1 - part[0], part[3]])
    field, model = _structure(one, part), _structure(other, pair.within)
    textured = alike = 0
    for y, x in _TILES:
        tile, same = model[y : y + _TILE, x : x + _TILE], field[y : y + _TILE, x : x + _TILE]
        levels = cv2.norm(tile) / _TILE, cv2.norm(same) / _TILE
        if max(levels) < _TEXTURE:
            continue
        textured += 1
        if min(levels) >= _TEXTURE / 2:
            around = field[y - _REACH : y + _TILE + _REACH, x - _REACH : x + _TILE + _REACH]
            alike += cv2.matchTemplate(around, tile, cv2.TM_CCOEFF_NORMED).max() > TILE_LIKENESS
        if textured - alike > (1 - SHARE) * len(_TILES):
            return False  # whatever the others say
    return textured >= _FEWEST and alike >= SHARE * textured


def _structure(grey: Sketches, box: Box) -> NDArray[np.float32]:
    """A part of a sketch, as large as a whole one, without its low frequencies."""
    wide, high = box[2] - box[0], box[3] - box[1]
    place = [[wide, 0, box[0] * WIDTH + wide / 2 - 0.5], [0, high, box[1] * HEIGHT + high / 2 - 0.5]]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(
        grey.astype(np.float32), np.array(place), (WIDTH, HEIGHT), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    found: NDArray[np.float32] = drawn - cv2.blur(drawn, (7, 7), borderType=cv2.BORDER_REPLICATE)
    return found


def _border(lines: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much of N x L x M is flat lines from the first on, in 0-1, with the one that a resize has mixed."""
    count = np.cumprod(lines.std(axis=2) < _FLAT, axis=1).sum(axis=1)
    share = np.where(count > 0, count + 1, 0) / lines.shape[1]
    return np.where(share > _MOST_BORDER, 0.0, share)  # a poster with an empty half is no framed one


def _cut(boxes: Box, cut: float) -> Box:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + cut * sides, boxes[:, 2:] - cut * sides], axis=1)


def _descriptors(sketches: Sketches, boxes: Box) -> NDArray[np.float32]:
    """Weighted low frequencies of a part of each sketch, N x (_ROWS x _COLUMNS), rows of length 1."""
    row, column = np.mgrid[:_ROWS, :_COLUMNS]
    weights = np.hypot(row, column).astype(np.float32)  # none for the mean; spectra of pictures fall so
    found = [np.zeros((0, _ROWS * _COLUMNS), np.float32)]
    for grey, box in zip(_blocks(sketches), _blocks(boxes), strict=True):
        down = _cosines(HEIGHT, _ROWS, box[:, 1], box[:, 3])
        along = _cosines(WIDTH, _COLUMNS, box[:, 0], box[:, 2])
        values = (down @ grey.astype(np.float32) @ along.transpose(0, 2, 1) * weights).reshape(len(grey), -1)
        found.append(values / (np.linalg.norm(values, axis=1, keepdims=True) + 1e-6))
    return np.concatenate(found)


def _cosines(pixels: int, frequencies: int, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cosines over the part `low` to `high` of a line of pixels, N x frequencies x pixels."""
    low, high = low[:, None], high[:, None]
    edges = np.arange(pixels + 1) / pixels
    left, right = np.clip(edges[:-1], low, high), np.clip(edges[1:], low, high)
    size = high - low
    middle = ((left + right) / 2 - low) / size
    waves = np.cos(np.pi * np.arange(frequencies)[:, None] * middle[:, None, :])
    return (waves * ((right - left) / size)[:, None, :]).astype(np.float32)


def _blocks(values: NDArray[_Scalar]) -> Iterator[NDArray[_Scalar]]:
    return (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))
