"""Pictures behind links, read into memory one at a time: for posters that are looked at and not kept."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

from mmposter.data.downloading.fetch import HOPS, Answer, Fetcher
from mmposter.data.downloading.options import DownloadOptions, host_of, split_link
from mmposter.errors import BadImageError


@dataclass
class _Host:
    places: threading.Semaphore  # how many may ask it at a time
    failures: int = 0  # links in a row that it did not answer
    not_before: float = 0.0  # when it may be asked again, where it asked for patience
    given_up: str = field(default="")  # why


class LinkReader:
    """Reads pictures from their links, in any thread; each call waits for its own.

    The rules are those of a download: http and https alone, `max_bytes` of a picture, a few requests to one host at a
    time, patience with a busy server, no redirect into this machine's own network; a host that never answers is given
    up.
    """

    def __init__(self, options: DownloadOptions | None = None) -> None:
        self._options = options or DownloadOptions()
        self._fetch = Fetcher(self._options)
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def read(self, link: str) -> bytes:
        """The bytes of the picture at `link`, which decodes to its end.

        Raises:
            BadImageError: it cannot be had; its reason is one of a download, such as ``http_404``.
        """
        if split_link(link) is None:
            raise BadImageError("bad_link", f"{link[:200]!r} is no link of http or https")
        if self._options.offline:
            raise BadImageError("not_asked", "it was not asked for: --offline")
        url, hops, attempts = self._options.address(link), 0, 0
        while True:
            answer = self._ask(url, counts=attempts == 0)
            if answer.kind == "picture":
                return answer.data
            if answer.kind == "dead":
                raise BadImageError(answer.reason, answer.message)
            if answer.kind == "moved":
                url, hops = answer.target, hops + 1
                if hops > HOPS:
                    raise BadImageError("redirect_loop", f"it is redirected more than {HOPS} times")
                continue
            attempts += 1
            if attempts >= self._options.attempts:
                raise BadImageError(answer.reason, f"{answer.message}, {attempts} times")
            pause = self._options.backoff * 2 ** (attempts - 1) * random.uniform(0.5, 1.5)
            self._wait(max(pause, answer.wait))

    def close(self) -> None:
        """End all waits; whatever is still asked for is refused."""
        self._closed.set()

    def _ask(self, url: str, *, counts: bool) -> Answer:
        name = host_of(url)
        with self._lock:
            host = self._hosts.setdefault(name, _Host(threading.Semaphore(self._options.connections)))
        with host.places:
            self._wait(host.not_before - time.monotonic())
            if host.given_up:
                raise BadImageError("host_given_up", f"not asked: {host.given_up}")
            answer = self._fetch(url)
        with self._lock:
            if answer.blames_host:
                host.failures += counts
                host.not_before = max(host.not_before, time.monotonic() + answer.wait)
                if host.failures >= self._options.hopeless and not host.given_up:
                    host.given_up = f"{name} failed {host.failures} times in a row, the last time so: {answer.message}"
            elif answer.kind != "again":
                host.failures = 0
        return answer

    def _wait(self, seconds: float) -> None:
        if self._closed.wait(max(0.0, seconds)):
            raise BadImageError("not_asked", "it was not asked for: the work was stopped")
