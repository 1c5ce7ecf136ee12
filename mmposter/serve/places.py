"""How many requests are inside at a time, and how many bytes of theirs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mmposter.serve.errors import RequestError


class Places:
    """A server's places, each taken before a body is read: what nobody has time for is not taken into memory.

    A full server answers 503, not 429: the server has too much to do, whoever asks; 429 would blame this client
    (RFC 6585, section 4; RFC 9110, section 15.6.4).

    Args:
        count: requests that may be inside.
        max_bytes: of all their bodies.
        retry_after: seconds after which one may try again.
    """

    def __init__(self, count: int, max_bytes: int, retry_after: Callable[[], int]) -> None:
        self._count, self._max_bytes, self._retry_after = count, max_bytes, retry_after
        self._lock = threading.Lock()
        self.taken = self.held = 0

    def enter(self) -> Place:
        """Take a place.

        Raises:
            RequestError: 503, all are taken.
        """
        with self._lock:
            if self.taken >= self._count:
                raise self._full(f"{self._count} requests are inside")
            self.taken += 1
        return Place(self)

    def hold(self, place: Place, count: int) -> None:
        """Count bytes that were read.

        Raises:
            RequestError: 503, there are too many.
        """
        with self._lock:
            if self.held + count > self._max_bytes:
                raise self._full(f"{self.held / 1e6:.0f} MB of posters are inside")
            self.held += count
            place.held += count

    def leave(self, place: Place) -> None:
        """Give a place back, once, in any thread."""
        with self._lock:
            if place.left:
                return
            place.left = True
            self.taken -= 1
            self.held -= place.held

    def _full(self, why: str) -> RequestError:
        seconds = self._retry_after()
        return RequestError(
            503, "queue_full", f"the server is busy ({why}); try again in {seconds} s", retry_after=seconds
        )


class Place:
    """Of one request; see `Places`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.held, self.left = 0, False

    def hold(self, count: int) -> None:
        """As `Places.hold`."""
        self._places.hold(self, count)

    def leave(self) -> None:
        """As `Places.leave`."""
        self._places.leave(self)
