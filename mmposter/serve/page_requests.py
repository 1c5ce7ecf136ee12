"""In front of gradio: the requests that our page makes, and no others.

gradio answers many more: it shows and loads files, passes requests on to other servers, runs code that a browser sends
it. None of that is reached. Uploads are ours, with the limits of the REST interface; what the page asks is checked.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmposter.serve.errors import wrong_method
from mmposter.serve.multipart import read_body, read_posters
from mmposter.serve.page_events import Events, Leaving, Visitor, checked
from mmposter.serve.page_visits import Visits
from mmposter.serve.places import Places
from mmposter.serve.settings import ServeSettings
from mmposter.serve.uploads import WORD, Uploads

API = "/gradio_api/"
_UPLOAD, _PROGRESS, _JOIN, _DATA = API + "upload", API + "upload_progress", API + "queue/join", API + "queue/data"
_FILE = re.compile(rf"{API}file=(?P<word>{WORD.pattern})")

# What gradio itself answers, which is the same for everybody.
_STATIC = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/(?:assets|static|svelte)/[^\0]*"
    rf"|{API}(?:info|app_id)"
)
_STATED = frozenset({API + "cancel", API + "reset"})  # POST with a small object, of which nothing is kept

_PIECE = 65_536  # bytes
_READ, _WRITE = ("GET", "HEAD"), ("POST",)
_UNSEEN_S, _LOOK_S = 3.0, 0.1  # until an upload must have begun, and between two looks whether it has ended


def methods(path: str) -> tuple[str, ...]:
    """That the page uses at a path; none where it never asks for it."""
    if _STATIC.fullmatch(path) or _FILE.fullmatch(path) or path in (_PROGRESS, _DATA):
        return _READ
    return _WRITE if path in (_UPLOAD, _JOIN) or path in _STATED else ()


class PageRequests:
    """ASGI middleware around gradio's application."""

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, places: Places, uploads: Uploads, events: Events, visits: Visits
    ) -> None:
        self._app, self._settings, self._places = app, settings, places
        self._uploads, self._events, self._visits = uploads, events, visits
        self._seen: dict[str, bool] = {}  # uploads whose progress is asked for: whether they have begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, request = scope["path"], Request(scope, receive)
        allowed = methods(path)
        if scope["method"] not in allowed:
            raise wrong_method(path, scope["method"], allowed)
        if path == _UPLOAD:
            await (await self._upload(request))(scope, receive, send)
        elif path == _PROGRESS:
            with self._visits.stream():
                await self._progress(request)(scope, receive, send)
        elif found := _FILE.fullmatch(path):
            with self._visits.stream():
                await (await self._file(found["word"]))(scope, receive, send)
        elif path == _JOIN:
            session, content = self._events.asked(await read_body(request, self._settings.max_event_bytes))
            self._visits.ask(session)
            await self._forward(content, scope, receive, send)
        elif path in _STATED:
            given = checked(Leaving, await read_body(request, self._settings.max_event_bytes))
            await self._forward(given.model_dump(exclude_none=True), scope, receive, send)
        elif path == _DATA:
            with self._visits.stream(checked(Visitor, request.query_params).session_hash):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _upload(self, request: Request) -> Response:
        """As gradio's: a list with one word a file. Nothing is written before everything has come."""
        progress = request.query_params.get("upload_id", "")
        if progress in self._seen:
            self._seen[progress] = True
        try:
            with self._places.enter() as hold:
                posters = await read_posters(request, self._settings, hold)
                return JSONResponse(await asyncio.to_thread(self._uploads.keep, posters))
        finally:
            self._seen.pop(progress, None)

    def _progress(self, request: Request) -> Response:
        """Tells the page when an upload has ended; the bars that gradio can draw stay at what they are."""
        upload = request.query_params.get("upload_id", "")

        async def events() -> AsyncIterator[str]:
            self._seen[upload] = False
            try:
                waited = 0.0
                while upload in self._seen and (self._seen[upload] or waited < _UNSEEN_S):
                    await asyncio.sleep(_LOOK_S)
                    waited += _LOOK_S
            finally:
                self._seen.pop(upload, None)
            yield 'data: {"msg":"done"}\n\n'

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _file(self, word: str) -> Response:
        """A dropped poster as it was sent, to be saved; a browser shows nothing that somebody else has sent here."""
        name, file = await asyncio.to_thread(self._uploads.open, word)
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "content-security-policy": "sandbox; default-src 'none'",
            "x-content-type-options": "nosniff",
        }

        def pieces() -> Iterator[bytes]:  # not all at once: whoever reads slowly would hold the whole in memory
            with file:
                while piece := file.read(_PIECE):
                    yield piece

        return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)

    async def _forward(self, content: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        """Ask gradio with a body of ours in place of the client's."""
        body = json.dumps(content).encode()
        headers = MutableHeaders(raw=list(scope["headers"]))
        del headers["transfer-encoding"]
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_ours() -> Message:
            return left.pop() if left else await receive()

        await self._app({**scope, "headers": headers.raw}, receive_ours, send)
