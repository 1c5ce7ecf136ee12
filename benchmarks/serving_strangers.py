"""Strangers who hold connections open: headers that never end, and bodies that stop in the middle."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

HEADS, BODIES = 100, 4
"""Connections that are held open at a time."""

_HALF = 8192  # bytes of a body that are sent; what they promise is less than the page takes of an event
_HEAD_S, _BODY_S = 10.0, 20.0  # in which the server ends them
_SLACK_S = 15.0  # where it has much to do
_PATIENCE_S = 60.0


class Holders:
    """Threads that open connections again and again.

    Args:
        url: of the server.
        poster: of which half is sent.

    Attributes:
        wrong: connections that were not ended in time.
    """

    def __init__(self, url: str, poster: bytes) -> None:
        place, half = urlsplit(url), poster[: min(len(poster) // 2, _HALF)]
        self._place = place.hostname or "", place.port or 80
        head = f"Host: {place.netloc}\r\nContent-Length: {4 * len(half)}\r\n"
        head += "Content-Type: multipart/form-data; boundary=f\r\n\r\n"
        part = b'--f\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n'
        self._starts = [b"", b"GET / HTTP/1.1\r\n", f"GET / HTTP/1.1\r\nHost: {place.netloc}\r\nX-A: ".encode()]
        self._bodies = [
            f"POST {path} HTTP/1.1\r\n{head}".encode() + part + half
            for path in ("/api/v1/predict", "/gradio_api/upload", "/gradio_api/queue/join", "/api/v1/explain")
        ]
        self._stop = threading.Event()
        self._ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._threads = [
            threading.Thread(target=self._hold, args=("half-open headers", self._starts, HEADS, _HEAD_S)),
            threading.Thread(target=self._hold, args=("slow bodies", self._bodies, BODIES, _BODY_S)),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """After those that are open now."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def said(self) -> str:
        """How many were ended."""
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self._ended.items())) + " ended by the server"

    def _hold(self, kind: str, starts: list[bytes], count: int, seconds: float) -> None:
        while not self._stop.is_set():
            with ExitStack() as stack:
                opened = []
                for number in range(count):
                    connection = stack.enter_context(socket.create_connection(self._place, timeout=_PATIENCE_S))
                    with suppress(ConnectionError):
                        connection.sendall(starts[number % len(starts)])
                    opened.append(connection)
                begun = time.monotonic()
                for connection in opened:
                    answer = _read_all(connection)
                    lasted = time.monotonic() - begun
                    if answer is None or lasted > seconds + _SLACK_S:
                        self.wrong.append(f"{kind}: still open after {lasted:.0f} s")
                    elif kind == "slow bodies" and b" 408 " not in answer[:20]:
                        self.wrong.append(f"{kind}: {answer[:60]!r} in place of 408")
                    self._ended[kind] += 1


def _read_all(connection: socket.socket) -> bytes | None:
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except TimeoutError:
        return None
    except ConnectionError:
        pass
    return found


@contextmanager
def holding(url: str, poster: bytes) -> Iterator[Holders]:
    """Strangers are there as long as this lasts."""
    holders = Holders(url, poster)
    holders.start()
    try:
        yield holders
    finally:
        holders.end()
