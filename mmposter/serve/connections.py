"""Connections that keep the server waiting: a limit for them, and a time.

uvicorn waits for ever for a request's headers, and for a client that does not read its answer.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S, WRITE_S = 10.0, 60.0
"""Seconds in which the headers of a request must be complete, and in which a client must go on to read its answer."""

MOST = 512
_OTHER_FILES = 200  # that the process has open beside its connections
_FEWEST = 32

_FULL = b'{"error":{"code":"too_many_connections","message":"too many connections are open; try again","allowed":null}}'
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 10\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(_FULL), _FULL)
)


def connection_limit() -> int:
    """Connections that may be open: `MOST`, or what the system's limit of open files leaves."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return MOST
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if files < 0 else max(_FEWEST, min(MOST, files - _OTHER_FILES))


class Connection(H11Protocol):
    """One client's connection.

    When all are taken, a new one takes the place of the one that has been idle for longest, so that those who only
    hold connections open shut nobody out. Where none is idle, the new one gets status 503.
    """

    most = MOST
    _since = 0.0
    _head: asyncio.TimerHandle | None = None
    _write: asyncio.TimerHandle | None = None
    _refused = _dropped = False

    @property
    def idle(self) -> bool:
        """Whether no request is being answered: none is complete up to the end of its headers."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > self.most and not self._make_room():
            self._refused = True
            transport.write(_TURNED_AWAY)
            transport.close()
            return
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if not self.idle:
            self._stop_waiting()
        elif self._head is None:  # not again with each byte: all of the headers have this time together
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write is None:
            self._write = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write is not None:
            self._write.cancel()
            self._write = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # which resumes writing
        self._stop_waiting()

    def _wait_for_head(self) -> None:
        self._since = self.loop.time()
        self._head = self.loop.call_later(HEAD_S, self._too_late)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_late(self) -> None:
        self._head = None
        if self.idle:
            self.transport.abort()  # closed, what a client does not read would be kept for it

    def _make_room(self) -> bool:
        """Drop the connection that has been idle for longest; whether there was one."""
        others = [other for other in self.connections if isinstance(other, Connection) and other is not self]
        idle = [other for other in others if other.idle and not other._dropped]
        if not idle:
            return False
        longest = min(idle, key=lambda other: other._since)
        longest._dropped = True  # it is among the connections until the event loop comes to it
        longest.transport.abort()
        return True
