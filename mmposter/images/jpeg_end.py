"""JPEG files that lack their end marker: told apart from those that lack a part of their picture."""

from __future__ import annotations

import re
from collections.abc import Callable

from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
# A marker that begins something: no byte of a scan, no padding, no restart inside a scan.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SCAN, _FRAMES = 0xDA, (0xC0, 0xC1, 0xC2)
_MOST_MARKERS = 500  # a progressive file has some twenty


def _filler(start: int, step: int, restart: int) -> bytes:
    """What a decoder reads on in where a picture is not complete, in the middle of an interval or at its end.

    Restart markers follow, because at an interval's end a decoder waits for one; for a near one it does not wait.
    """
    pattern = bytes((start + n * step) % 255 for n in range(16))
    return pattern * 16 + b"".join(bytes((0xFF, 0xD0 + (restart + n) % 8)) + pattern * 4 for n in range(8))


# The first two have no bit in common. The last blocks of a picture may read the same out of both; hence more of them.
_FILLERS = [
    _filler(start, step, restart)
    for start, step, restart in ((0x55, 0, 0), (0xAA, 0, 4), (1, 37, 0), (0x55, 113, 4), (9, 59, 0), (0x55, 91, 4))
]


def with_end(data: bytes, decode: Callable[[bytes], Image.Image]) -> bytes | None:
    """A JPEG with the end marker that it lacks; None where it is none, or lacks more than that.

    It is complete if what stands behind it changes no pixel, and if each of its colours is there in full depth.

    Args:
        decode: the decoder, down to the pixels; what it raises says that the file is damaged otherwise.
    """
    if not data.startswith(START) or not _has_all_scans(data):
        return None
    data = data.rstrip(b"\xff")  # half of the marker; no scan ends so
    try:
        pictures = (decode(data + filler + END).tobytes() for filler in _FILLERS)
        first = next(pictures)
        return data + END if all(picture == first for picture in pictures) else None
    except MemoryError:
        raise
    except Exception:  # each codec has its own
        return None


def _has_all_scans(data: bytes) -> bool:
    """Whether the scans begin all coefficients of all components, and name the last bit of each.

    A progressive file that was cut between two scans is for a decoder a picture without a fault, though a coarse one.
    """
    wanted: set[tuple[int, int]] = set()
    at = len(START)
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(data, at)
        if found is None:
            return not wanted
        marker, begin = data[found.start() + 1], found.end()
        length = int.from_bytes(data[begin : begin + 2], "big")
        body = data[begin + 2 : begin + length]
        if marker in _FRAMES:
            wanted |= {(component, k) for component in body[6::3] for k in range(64)}
        elif marker == _SCAN and len(body) >= 4 and body[-1] & 15 == 0:  # the lower four: bits that are still to come
            wanted -= {(component, k) for component in body[1:-3:2] for k in range(body[-3], body[-2] + 1)}
        at = begin + length
    return False
