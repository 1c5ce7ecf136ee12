"""How fast work goes, and how long the rest takes: told from finished work alone."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WINDOW_S = 60.0
"""The rate is that of about the last minute of work, so that it follows a run that gets slower."""

# Units of one batch are handed out one by one, shortly after one another: they ended together, at the first one's time.
_TOGETHER_S = 0.05
_TOGETHER = 0.2  # of the time that the batch took
_LEAST_S = 1.0  # of work, before a rate is shown
_LEAST_FOR_LEFT_S = 2.0  # and before a time left is
_MINUTE, _HOUR = 60, 3600


class Pace:
    """The speed of one run.

    The clock runs from the first moment of work on and stands still in `paused`.

    Args:
        unit: what is finished, in the singular.
        clock: seconds, never falling.
    """

    def __init__(self, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._unit, self._clock = unit, clock
        self._began, self._standing, self._stopped = clock(), 0.0, False
        # (second of work, units finished until then), the oldest first; a batch is one entry.
        self._finished: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._latest = 0.0

    def finish(self, count: int) -> None:
        """Count units that have just been finished."""
        now, (last, total) = self._worked(), self._finished[-1]
        since, self._latest = now - self._latest, now
        if len(self._finished) > 1:
            took = last - self._finished[-2][0]
            if since <= max(_TOGETHER_S, _TOGETHER * took) and now - last <= max(_TOGETHER_S, took / 2):
                self._finished[-1] = (last, total + count)
                return
        self._finished.append((now, total + count))
        while len(self._finished) > 3 and now - self._finished[1][0] >= WINDOW_S:
            self._finished.popleft()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done in the block is no work, such as loading models."""
        before, self._stopped = self._clock(), True
        try:
            yield
        finally:
            self._standing += self._clock() - before
            self._stopped = False

    def rate(self, *, ended: bool = False) -> float | None:
        """Units a second; None before enough was finished to tell.

        The last batch does not count unless all has `ended`: it may be one of which only the first units are here.
        """
        entries = list(self._finished) if ended else list(self._finished)[:-1]
        (first, before), (last, total) = entries[0] if entries else (0.0, 0), entries[-1] if entries else (0.0, 0)
        if total == before or last < _LEAST_S:
            return None
        return (total - before) / (last - first)

    def left(self, units: int) -> float | None:
        """Seconds that `units` more will take; None before enough was finished to tell."""
        rate, last = self.rate(), self._finished[-1][0]
        if rate is None or units <= 0 or last < _LEAST_FOR_LEFT_S:
            return None
        now = last if self._stopped else self._worked()
        if now - last <= last - self._finished[-2][0]:
            return max(units / rate - (now - last), 0.0)
        # The next batch is late: what is in hand counts against the rate, or the time left would go down to nothing.
        (first, before), (_, total) = self._finished[0], self._finished[-1]
        return units * (now - first) / (total - before)

    def text(self, units: int) -> str:
        """Rate and time left of `units` more, as far as they are known: ``1.6/s, 55 s left``."""
        rate, left = self.rate(ended=units <= 0), self.left(units)
        if rate is None:
            return ""
        return f"{self._speed(rate)}, {duration(left)} left" if left is not None else self._speed(rate)

    def _speed(self, rate: float) -> str:
        if rate >= 100:
            return f"{rate:.0f}/s"
        if rate >= 1:
            return f"{rate:.1f}/s"
        seconds = 1 / rate
        return f"{seconds / _MINUTE:.1f} min/{self._unit}" if seconds >= _MINUTE else f"{seconds:.1f} s/{self._unit}"

    def _worked(self) -> float:
        return self._clock() - self._began - self._standing


def duration(seconds: float) -> str:
    """A time in words, rounded up.

    >>> duration(4.2), duration(61), duration(4000)
    ('5 s', '2 min', '1 h 7 min')
    """
    if seconds <= _MINUTE:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / _MINUTE)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
