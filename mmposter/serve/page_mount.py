"""Puts a gradio page at ``/`` so that it asks no other machine for anything, and hides no endpoint of ours."""

from __future__ import annotations

import re
import tempfile
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmposter.serve.page_style import CSS
from mmposter.serve.settings import Settings

if TYPE_CHECKING:
    from gradio import Blocks

# All that a browser asks gradio for. Anything else is answered as without a page: unknown, or a wrong method.
_PATHS = frozenset({"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"})
_FOLDERS = ("/gradio_api/", "/assets/", "/static/", "/svelte/")

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


def mount_page(app: FastAPI, blocks: Blocks, settings: Settings) -> FastAPI:
    """Serve a page at ``/`` beside the endpoints that are there.

    Args:
        app: with its endpoints.
        blocks: the page.
        settings: no file larger than a request may be is taken.

    Returns:
        `app`.
    """
    import gradio

    system = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    theme = gradio.themes.Default(primary_hue="blue", font=system[0], font_mono=system[1]).set(
        body_text_color_subdued="*neutral_600",  # its own is too faint to read
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )
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
        max_file_size=settings.max_body_bytes,  # the page says itself that a poster is too large
    )
    app.router.routes[-1] = _PageMount(_Contained(app.router.routes[-1].app))  # type: ignore[attr-defined]
    return app


def private_folder() -> tempfile.TemporaryDirectory[str]:
    """Where uploaded posters lie while they are shown: for this user alone, and gone when the server ends."""
    return tempfile.TemporaryDirectory(prefix="mmposter-serve-", ignore_cleanup_errors=True)


class _PageMount(Mount):
    """Takes the paths of the page alone."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__("", app, name="page")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope["path"]
        if scope["type"] == "http" and (path in _PATHS or path.startswith(_FOLDERS)):
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
