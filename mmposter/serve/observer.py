"""Around everything: counts requests, and lets no error out but as an answer without a traceback."""

from __future__ import annotations

from collections.abc import Collection
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmposter.serve.errors import unexpected
from mmposter.serve.metrics import Metrics

OTHER = "other"
"""The endpoint under which unknown paths are counted: whoever asks may think up any number of them."""


class Observer:
    """ASGI middleware; each path in `endpoints` is counted apart."""

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: Collection[str]) -> None:
        self._app, self._metrics, self._endpoints = app, metrics, frozenset(endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        status: int | None = None

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            failure = unexpected(error, f"{scope['method']} {scope['path']}")
            if status is None:
                await failure.response()(scope, receive, watched)
            else:  # half an answer is out: only a connection that breaks says that the rest does not come
                raise
        finally:
            endpoint = scope["path"] if scope["path"] in self._endpoints else OTHER
            self._metrics.request(endpoint, status or 500, perf_counter() - begun)
