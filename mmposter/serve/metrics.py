"""Counts of a server, in the text format of Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """What has happened since the start; may be counted and read in any thread.

    Args:
        gauges: name, without ``mmposter_``, to its help text and what to call for its value now.
    """

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = {**gauges, "resident_bytes": ("Memory of the process.", resident_bytes)}
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._posters: Counter[str] = Counter()
        self._within: Counter[tuple[str, float]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answered request. The endpoints must be few: each has its own lines for ever."""
        with self._lock:
            self._requests[endpoint, status] += 1
            self._seconds[endpoint] += seconds
            for bound in BUCKETS_S:
                self._within[endpoint, bound] += seconds <= bound

    def posters(self, usable: int, unusable: int) -> None:
        """Count posters that were looked at."""
        with self._lock:
            self._posters.update(usable=usable, unusable=unusable)

    def render(self) -> str:
        """The page that Prometheus reads."""
        with self._lock:
            lines = [*self._counters(), *self._histogram()]
        for name, (text, value) in self._gauges.items():
            lines += [*_head(name, text, "gauge"), f"mmposter_{name} {value():g}"]
        return "\n".join(lines) + "\n"

    def _counters(self) -> Iterator[str]:
        yield from _head("requests_total", "Requests by endpoint and status; 499: the client went away.", "counter")
        for (endpoint, status), count in sorted(self._requests.items()):
            yield f'mmposter_requests_total{{endpoint="{endpoint}",status="{status}"}} {count}'
        yield from _head("posters_total", "Posters that the model looked at, or could not.", "counter")
        for result, count in sorted(self._posters.items()):
            yield f'mmposter_posters_total{{result="{result}"}} {count}'

    def _histogram(self) -> Iterator[str]:
        name = "request_seconds"
        yield from _head(name, "Seconds from the head of a request to the end of its answer.", "histogram")
        for endpoint in sorted(self._seconds):
            count = sum(n for (of, _), n in self._requests.items() if of == endpoint)
            for bound in BUCKETS_S:
                within = self._within[endpoint, bound]
                yield f'mmposter_{name}_bucket{{endpoint="{endpoint}",le="{bound:g}"}} {within}'
            yield f'mmposter_{name}_bucket{{endpoint="{endpoint}",le="+Inf"}} {count}'
            yield f'mmposter_{name}_sum{{endpoint="{endpoint}"}} {self._seconds[endpoint]:.6f}'
            yield f'mmposter_{name}_count{{endpoint="{endpoint}"}} {count}'


def resident_bytes() -> float:
    """Memory that this process has now; 0 where the system does not say (it is not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP mmposter_{name} {text}", f"# TYPE mmposter_{name} {kind}"]
