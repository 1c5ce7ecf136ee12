"""Puts a gradio page at ``/`` so that it asks no other machine for anything, opens no file, and hides no endpoint."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from mmposter.serve.page_events import Events
from mmposter.serve.page_requests import PageRequests, methods
from mmposter.serve.page_style import CSS
from mmposter.serve.page_visits import Visits
from mmposter.serve.places import Places
from mmposter.serve.settings import ServeSettings
from mmposter.serve.uploads import Uploads

if TYPE_CHECKING:
    from gradio import Blocks

# A browser sends nothing elsewhere, whatever a version of gradio may ask for. Its scripts are inside the page and
# compile templates: hence the two words with "unsafe".
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; base-uri 'self'; "
    "object-src 'none'; frame-ancestors 'self'"
)

# What gradio's page says of itself to other sites, and scripts and styles that come from them.
_FOREIGN = re.compile(
    r"<meta\s[^>]*\b(?:property|name)=\"(?:og|twitter):[^>]*>"
    r"|<script\b[^>]*\bsrc=\"(?:https?:)?//[^>]*>\s*</script>"
    r"|<link\b[^>]*\bhref=\"(?:https?:)?//[^>]*>",
    re.IGNORECASE,
)


_SESSIONS = 256  # of which gradio remembers what their parts show; a page that is forgotten works on
_SWEEP_S = 60.0


def mount_page(app: FastAPI, blocks: Blocks, settings: ServeSettings, places: Places, uploads: Uploads) -> None:
    """Serve a page at ``/`` of `app`, beside its endpoints; the uploads are removed when the application ends."""
    import gradio

    system = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    theme = gradio.themes.Default(primary_hue="blue", font=system[0], font_mono=system[1]).set(
        body_text_color_subdued="*neutral_600",  # its own is too faint to read
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )
    blocks.state_session_capacity = _SESSIONS
    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=theme,
        css=CSS,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        max_file_size=settings.max_poster_bytes,  # the browser says so before it sends a larger one
    )
    # gradio guards paths only where it has started the server itself.
    blocks.has_launched = blocks.is_running = True
    events, visits = Events(blocks, settings), Visits(blocks, settings.queue)
    inside = _Contained(app.router.routes[-1].app)  # type: ignore[attr-defined]
    app.router.routes[-1] = _PageMount(PageRequests(inside, settings, places, uploads, events, visits))
    app.router.lifespan_context = _swept(app.router.lifespan_context, uploads)


def _swept(inner: Lifespan[FastAPI], uploads: Uploads) -> Lifespan[FastAPI]:
    """Let old uploads go while an application runs, and all when it ends."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            await asyncio.to_thread(uploads.sweep)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state:
            task = asyncio.create_task(sweep())
            try:
                yield state
            finally:
                task.cancel()
                uploads.close()

    return lifespan


class _PageMount(Mount):
    """Takes the paths of the page alone."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__("", app, name="page")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and methods(scope["path"]):
            return super().matches(scope)
        return Match.NONE, {}


class _Contained:
    """ASGI middleware around gradio: no address of another machine in the page, and none that a browser would ask."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def changed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body":
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            headers = MutableHeaders(raw=list(start["headers"]))
            page = bytes(body)
            if headers.get("content-type", "").startswith("text/html"):
                page = _FOREIGN.sub("", page.decode()).encode()
                headers["content-security-policy"] = _POLICY
                if scope["method"] != "HEAD":
                    headers["content-length"] = str(len(page))
            await send({**start, "headers": headers.raw})
            await send({"type": "http.response.body", "body": page})

        # As plain text: what is compressed cannot be changed.
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self._app({**scope, "headers": headers}, receive, changed)
