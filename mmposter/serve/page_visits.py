"""Visitors of the page: how many answers are kept that nobody has fetched, and how many wait for one.

gradio keeps what it answers until the visitor's browser fetches it, for ever if none does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmposter.serve.errors import RequestError

if TYPE_CHECKING:
    from gradio import Blocks

UNFETCHED_S = 60.0
"""Seconds after which answers are let go for which no browser came."""

_MOST_EVENTS = 8  # of a visitor, before the first is fetched; a browser fetches at once


class Visits:
    """Sessions whose answers wait, and open streams.

    Args:
        blocks: the page, whose queue holds the answers.
        most: sessions whose answers wait at a time.
        most_streams: connections that stay open, at a time.
    """

    def __init__(self, blocks: Blocks, most: int, most_streams: int = 256) -> None:
        self._queue, self._most, self._most_streams = blocks._queue, most, most_streams
        self._unfetched: Counter[str] = Counter()
        self._fetching: Counter[str] = Counter()
        self._cleaning: set[asyncio.Task[None]] = set()
        self.streams = 0

    def ask(self, session: str) -> None:
        """A visitor asks for something.

        Raises:
            RequestError: 503, too many answers wait already.
        """
        if session in self._fetching:
            return
        full = session not in self._unfetched and len(self._unfetched) >= self._most
        if full or self._unfetched[session] >= _MOST_EVENTS:
            raise _busy("too many answers were not fetched")
        self._wait(session)

    @contextmanager
    def stream(self, session: str | None = None) -> Iterator[None]:
        """A connection that stays open, and fetches the answers for a session if one is named.

        Raises:
            RequestError: 404, there is nothing to fetch; 503, too many are open.
        """
        if session is not None and session not in self._queue.pending_messages_per_session:
            raise RequestError(404, "unknown_session", "there is no such visitor; load the page again")
        if self.streams >= self._most_streams:
            raise _busy("too many visitors are here")
        self.streams += 1
        if session is not None:
            self._unfetched.pop(session, None)
            self._fetching[session] += 1
        try:
            yield
        finally:
            self.streams -= 1
            if session is not None:
                self._end(session)

    def _end(self, session: str) -> None:
        self._fetching[session] -= 1
        if self._fetching[session] > 0:
            return
        del self._fetching[session]
        if self._queue.pending_event_ids_session.get(session):  # gone too early, or asked once more in this moment
            self._wait(session)
        else:
            self._forget(session)

    def _wait(self, session: str) -> None:
        self._unfetched[session] += 1
        asyncio.get_running_loop().call_later(UNFETCHED_S, self._let_go, session)

    def _let_go(self, session: str) -> None:
        if self._unfetched.pop(session, 0):
            task = asyncio.get_running_loop().create_task(self._clean(session))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)

    async def _clean(self, session: str) -> None:
        await self._queue.clean_events(session_hash=session)  # what is in work sends nothing any more
        self._forget(session)

    def _forget(self, session: str) -> None:
        self._queue.pending_event_ids_session.pop(session, None)
        self._queue.pending_messages_per_session.pop(session, None)


def _busy(why: str) -> RequestError:
    return RequestError(503, "page_full", f"the page is busy ({why}); try again in 10 s", retry_after=10)
