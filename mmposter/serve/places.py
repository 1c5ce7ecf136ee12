"""How many requests are inside at a time, and how many bytes of theirs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

    @contextmanager
    def enter(self) -> Iterator[Callable[[int], None]]:
        """Hold a place for a block, which gets what is to be told of the bytes that it reads; in any thread.

        Raises:
            RequestError: 503, all places are taken, or (from what is told) too many bytes are inside.
        """
        mine = 0

        def hold(count: int) -> None:
            nonlocal mine
            with self._lock:
                if self.held + count > self._max_bytes:
                    raise self._full(f"{self.held / 1e6:.0f} MB of posters are inside")
                self.held += count
                mine += count

        with self._lock:
            if self.taken >= self._count:
                raise self._full(f"{self._count} requests are inside")
            self.taken += 1
        try:
            yield hold
        finally:
            with self._lock:
                self.taken -= 1
                self.held -= mine

    def _full(self, why: str) -> RequestError:
        seconds = self._retry_after()
        message = f"the server is busy ({why}); try again in {seconds} s"
        return RequestError(503, "queue_full", message, retry_after=seconds)
