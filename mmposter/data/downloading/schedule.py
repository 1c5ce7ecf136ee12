"""Which link is asked next: a limit for each host, pauses that hold no thread, and hosts that are given up."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mmposter.data.downloading.options import host_of


@dataclass(eq=False)
class DownloadJob:
    """One link on its way; `url` is where it is asked now, after redirects."""

    link: str
    url: str
    targets: list[Path]  # every file that gets the picture
    suspect: bool = False  # an earlier run did not get it
    attempts: int = 0
    hops: int = 0


@dataclass(eq=False)
class _Host:
    # a heap by the time from which each may be asked
    waiting: list[tuple[float, int, DownloadJob]] = field(default_factory=list)
    active: int = 0
    not_before: float = 0.0
    failures: int = 0  # in a row
    given_up: str = ""  # why


class HostSchedule:
    """Hands out jobs to threads.

    Args:
        per_host: jobs of one host that may be out at a time.
        hopeless: failures of a host in a row after which it is given up.
        clock: seconds; for tests.
    """

    def __init__(self, per_host: int, hopeless: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_host, self._hopeless, self._clock = per_host, hopeless, clock
        self._hosts: dict[str, _Host] = {}
        self._in_turn: OrderedDict[str, _Host] = OrderedDict()  # those with jobs that wait
        self._order = itertools.count()
        self._unfinished = 0
        self._stopped = False
        self._changed = threading.Condition()

    def add(self, job: DownloadJob) -> None:
        """Take a new job."""
        with self._changed:
            self._unfinished += 1
            self._queue(job, 0.0)

    def take(self) -> DownloadJob | None:
        """The next job, waited for if need be; None when all are finished, or after `stop`."""
        with self._changed:
            while self._unfinished and not self._stopped:
                job, soonest = self._next()
                if job is not None:
                    return job
                self._changed.wait(None if soonest is None else max(0.0, soonest - self._clock()))
            return None

    def answered(self, job: DownloadJob, *, works: bool = True) -> None:
        """The job's host gave an answer; `works`: one that shows that it is well, be it a refusal."""
        with self._changed:
            host = self._hosts[host_of(job.url)]
            host.active -= 1
            if works:
                host.failures = 0
            self._changed.notify_all()

    def failed(self, job: DownloadJob, why: str, pause: float, *, counts: bool = True) -> list[DownloadJob]:
        """The job's host cannot be reached, or asked for patience: a pause of so many seconds.

        Args:
            pause: seconds in which the host is left alone.
            counts: whether this says something of the host, and not of this link alone.

        Returns:
            the host's waiting jobs, if this was one failure too many; they are not handed out any more.
        """
        with self._changed:
            name = host_of(job.url)
            host = self._hosts[name]
            host.active -= 1
            host.failures += counts
            host.not_before = max(host.not_before, self._clock() + pause)
            orphans: list[DownloadJob] = []
            if host.failures >= self._hopeless and not host.given_up:
                host.given_up = f"{name} failed {host.failures} times in a row, the last time so: {why}"
                orphans = [waiting for _, _, waiting in sorted(host.waiting, key=lambda entry: entry[:2])]
                host.waiting.clear()
                self._in_turn.pop(name, None)
            self._changed.notify_all()
            return orphans

    def put_back(self, job: DownloadJob, wait: float = 0.0) -> bool:
        """Ask again in so many seconds; False where the host is given up. The job's `url` may be another one now."""
        with self._changed:
            if self._host(job).given_up:
                return False
            self._queue(job, wait)
            self._changed.notify_all()
            return True

    def finished(self) -> None:
        """One job will not come back."""
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def given_up(self, job: DownloadJob) -> str:
        """Why the job's host is asked no more; empty where it is."""
        with self._changed:
            return self._host(job).given_up

    def _host(self, job: DownloadJob) -> _Host:
        return self._hosts.setdefault(host_of(job.url), _Host())

    def _queue(self, job: DownloadJob, wait: float) -> None:
        host = self._host(job)
        heapq.heappush(host.waiting, (self._clock() + wait if wait else 0.0, next(self._order), job))
        self._in_turn.setdefault(host_of(job.url), host)

    def _next(self) -> tuple[DownloadJob | None, float | None]:
        """A job that may go now, or the time at which one may."""
        now, soonest = self._clock(), None
        for name, host in self._in_turn.items():
            if host.active >= self._per_host:
                continue
            ready = max(host.waiting[0][0], host.not_before)
            if ready > now:
                soonest = ready if soonest is None else min(soonest, ready)
                continue
            job = heapq.heappop(host.waiting)[2]
            host.active += 1
            if host.waiting:
                self._in_turn.move_to_end(name)  # hosts in turn
            else:
                del self._in_turn[name]
            return job, None
        return None, soonest
