"""Whose requests are answered: those to a name of this server, and of pages that come from it.

A browser sends requests to this server for any page that it shows. Two checks keep other people's pages out:

- the name in ``Host`` must be ours. A page of evil.example may let that name point to this machine ("DNS rebinding");
  its requests then carry that name. An address in numbers cannot be pointed elsewhere.
- the page that asks must come from this server. Browsers say in ``Origin`` or ``Sec-Fetch-Site`` where it is from.

A program sends neither of the two, and is let in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmposter.errors import UserError
from mmposter.serve.errors import RequestError
from mmposter.shell import command_line

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]/@?#\s]+)(?::(?P<port>\d{1,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[\w.:\[\]-]+)")
_PORTS = {"http": 80, "https": 443}
_HEADER_NAMES = re.compile(r"[A-Za-z0-9, -]{1,1000}")
_METHODS = "GET, HEAD, POST"
_SHOWN = 100


@dataclass(frozen=True)
class Access:
    """Names of this server, and pages of others that may use it.

    Attributes:
        hosts: names and addresses, in small letters, without brackets and ports; this machine's own name for itself
            (localhost, 127.0.0.1, ::1) is always one.
        origins: as a browser sends them: ``https://example.org``, ``http://example.org:8080``.
        any_address: whether any address in numbers is ours: the server listens on all that the machine has.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    any_address: bool = False

    @classmethod
    def of(cls, listening: Iterable[str], allow_hosts: Iterable[str], allow_origins: Iterable[str]) -> Access:
        """From what a person typed.

        Args:
            listening: names and addresses that the server listens on.
            allow_hosts: of ``--allow-host``.
            allow_origins: of ``--allow-origin``.

        Raises:
            UserError: one of the options is no name, or no origin.
        """
        own = [_plain(name) for name in listening]
        hosts = [*own, *(_typed_host(text) for text in allow_hosts)]
        return cls(tuple(hosts), tuple(_typed_origin(text) for text in allow_origins), any(map(_is_everything, own)))

    def knows(self, host: str) -> bool:
        """Whether a name, or an address in numbers, is one of this server; small letters, no brackets, no port."""
        address = _address(host)
        if address is None:
            return host == "localhost" or host in self.hosts
        return address.is_loopback or self.any_address or str(address) in self.hosts

    def refusal(self, method: str, headers: Headers) -> RequestError | None:
        """Why a request with these headers is not answered; None: it is."""
        given = headers.get("host", "")
        found = _AUTHORITY.fullmatch(given.lower())
        if found is None or not self.knows(_plain(found["host"])):
            return self._wrong_host(found)
        origin = headers.get("origin")
        if origin is not None:
            if self.is_ours(origin, given) or self.allows(origin):
                return None
            return _wrong_origin(origin)
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin") or _is_link(method, headers):
            return None
        return _wrong_origin("")

    def is_ours(self, origin: str, host: str) -> bool:
        """Whether a page from `origin` was loaded from this server, under the name `host` that it asks for now."""
        found = _ORIGIN.fullmatch(origin.lower())
        if found is None:
            return False
        port = _PORTS[found["scheme"]]
        there = _host_and_port(found["authority"], port)
        # What stands before us may speak https: a port that is left out is the one that the page's own scheme has.
        return there is not None and there == _host_and_port(host.lower(), port)

    def allows(self, origin: str) -> bool:
        """Whether a page of another server may use this one."""
        return origin.lower() in self.origins

    def _wrong_host(self, found: re.Match[str] | None) -> RequestError:
        name = "" if found is None else _plain(found["host"])
        known = _NAME.fullmatch(name) or _address(name)
        host = f"the name {name!r}" if known else "the name that the request gives (Host)"
        message = (
            f"this server does not answer to {host}; if it is one of its names, start the server with: "
            + command_line("mmposter", "serve", "--allow-host", name if known else "NAME")
        )
        allowed = list(dict.fromkeys(["localhost", "127.0.0.1", "::1", *self.hosts]))
        return RequestError(403, "foreign_host", message, allowed=allowed)


class Gate:
    """ASGI middleware: refuses what is foreign, and tells browsers which pages of others may read the answers.

    What the application inside says of that itself is left out.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nobody here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._access.refusal(scope["method"], headers)
        if refusal is not None:
            await refusal.response()(scope, receive, send)
            return
        origin = headers.get("origin", "")
        allowed = origin if self._access.allows(origin) else ""
        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(allowed, headers)(scope, receive, send)
            return

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _readable(message["headers"], allowed, bool(self._access.origins))}
            await send(message)

        await self._app(scope, receive, send_readable)


def _readable(headers: list[tuple[bytes, bytes]], origin: str, vary: bool) -> list[tuple[bytes, bytes]]:
    kept = MutableHeaders(raw=[(n, v) for n, v in headers if not n.lower().startswith(b"access-control-")])
    if origin:
        kept["access-control-allow-origin"] = origin
        kept["access-control-expose-headers"] = "Retry-After"
    if vary:
        kept.add_vary_header("Origin")
    return kept.raw


def _preflight(origin: str, asked: Headers) -> Response:
    headers = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": _METHODS,
        "access-control-max-age": "600",
        "vary": "Origin",
    }
    names = asked.get("access-control-request-headers", "")
    if _HEADER_NAMES.fullmatch(names):
        headers["access-control-allow-headers"] = names
    if asked.get("access-control-request-private-network") == "true":
        headers["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=headers)


def _wrong_origin(origin: str) -> RequestError:
    known = _ORIGIN.fullmatch(origin.lower()) and origin.isascii() and len(origin) <= _SHOWN
    message = (
        f"a page of {origin if known else 'another site'} may not use this server; to let it, start the server with: "
        + command_line("mmposter", "serve", "--allow-origin", origin if known else "https://that.site")
    )
    return RequestError(403, "foreign_origin", message, allowed="pages of this server, and those of --allow-origin")


def _is_link(method: str, headers: Headers) -> bool:
    """Whether somebody follows a link to us: the answer is shown, and the page with the link cannot read it."""
    to_show = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return method in ("GET", "HEAD") and to_show


def _plain(host: str) -> str:
    """A name as it is compared: small, without brackets and without the dot that may end a name."""
    host = host.lower().removesuffix(".")
    address = _address(host.strip("[]"))
    return host if address is None else str(address)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_everything(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_unspecified


def _host_and_port(authority: str, port: int) -> tuple[str, int] | None:
    found = _AUTHORITY.fullmatch(authority)
    return None if found is None else (_plain(found["host"]), int(found["port"] or port))


def _typed_host(text: str) -> str:
    name = _plain(text)
    if not _NAME.fullmatch(name) and _address(name) is None:
        raise UserError(
            f"--allow-host {text!r} is no name of a machine: give it without http://, port and path, such as "
            "--allow-host posters.example.org"
        )
    return name


def _typed_origin(text: str) -> str:
    found = _ORIGIN.fullmatch(text.lower())
    parts = None if found is None else _host_and_port(found["authority"], _PORTS[found["scheme"]])
    if found is None or parts is None or not (_NAME.fullmatch(parts[0]) or _address(parts[0])):
        raise UserError(
            f"--allow-origin {text!r} is no origin: give scheme, name and port as the browser shows them, without a "
            "path, such as --allow-origin https://example.org or --allow-origin http://localhost:3000"
        )
    scheme, (host, port) = found["scheme"], parts
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port == _PORTS[scheme] else f"{scheme}://{host}:{port}"
