"""Posters out of a multipart body, with every limit checked while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mmposter.serve.errors import RequestError
from mmposter.serve.settings import MEGABYTE, ServeSettings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

STALL_S, READ_S = 20.0, 300.0
"""Seconds that a client may be silent in the middle of a body, and that a whole body may take."""

FORM = "multipart/form-data"
_MAX_HEADER = 4096
_MAX_NAME = 255


@dataclass(frozen=True, eq=False)
class UploadedPoster:
    """A file as it was sent."""

    name: str  # as the client calls it
    data: bytes  # its bytes


async def read_posters(request: Request, settings: ServeSettings, hold: Callable[[int], None]) -> list[UploadedPoster]:
    """The files of a multipart body, in order.

    Args:
        request: its body was not touched yet.
        settings: the limits.
        hold: told of the bytes that come in; what it raises ends the reading.

    Raises:
        RequestError: 400, 408, 413, 415 or 422.
        ClientDisconnect: the client has gone.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != FORM.encode() or not boundary:
        message = "the body must be multipart/form-data with a boundary; with curl: -F posters=@poster.jpg"
        raise RequestError(415, "not_multipart", message, allowed=[FORM])
    _require_size(request, settings.max_body_bytes)
    parts = _Parts(settings)
    seen = 0
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for chunk in in_time(request.stream()):
            hold(len(chunk))
            parser.write(chunk)
            seen += len(chunk)
            if seen - parts.size > settings.max_other_bytes:
                raise _malformed(f"more than {settings.max_other_bytes} bytes of the body are of no file")
    except FormParserError as error:
        raise _malformed("the body is no well-formed multipart/form-data") from error
    if not parts.ended:
        raise _malformed("the body ends before its closing boundary")
    if not parts.posters:
        message = "the body has no file; with curl: -F posters=@poster.jpg"
        raise RequestError(422, "no_poster", message, allowed={"posters": [1, settings.max_posters]})
    return parts.posters


async def read_body(request: Request, most: int) -> bytes:
    """A body that is no file.

    Args:
        request: its body was not touched yet.
        most: bytes that it may have.

    Raises:
        RequestError: 408 or 413.
        ClientDisconnect: the client has gone.
    """
    _require_size(request, most)
    body = bytearray()
    async for chunk in in_time(request.stream()):
        body += chunk
        if len(body) > most:
            raise _body_too_large(most)
    return bytes(body)


def _require_size(request: Request, most: int) -> None:
    """Refuse a body that says itself that it is too large before any of it is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _body_too_large(most)


def _malformed(message: str, allowed: object = None) -> RequestError:
    return RequestError(400, "bad_multipart", message, allowed=allowed)


def _body_too_large(most: int) -> RequestError:
    message = f"the body is larger than the {most / MEGABYTE:.1f} MB that a request may have"
    return RequestError(413, "body_too_large", message, allowed={"bytes": most})


async def in_time(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a body, as long as they come.

    Raises:
        RequestError: 408, the client was silent for `STALL_S`, or the whole took longer than `READ_S`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + READ_S
    while True:
        try:
            async with asyncio.timeout_at(min(loop.time() + STALL_S, end)):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RequestError(408, "too_slow", "the body did not come in time", allowed={"seconds": READ_S}) from None
        yield chunk


class _Parts:
    """Takes what the parser finds.

    Attributes:
        posters: those that are complete.
        size: bytes of all files so far.
        ended: whether the closing boundary was there.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self.posters: list[UploadedPoster] = []
        self.size = 0
        self.ended = False
        self._field, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._disposition = b""
        self._name = ""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header(self._field, data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header(self._value, data[start:end])

    def _header(self, into: bytearray, piece: bytes) -> None:
        into += piece
        if len(into) > _MAX_HEADER:
            raise _malformed("a header of a part is too long", {"bytes": _MAX_HEADER})

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            field = options.get(b"name", b"").decode("utf-8", "replace")[:_MAX_NAME]
            message = f"the field {field!r} is no file; with curl a file is -F posters=@poster.jpg"
            raise RequestError(422, "not_a_file", message)
        # The parser hands bytes on as they came; browsers and curl send UTF-8.
        self._name = options[b"filename"].decode("utf-8", "replace")[:_MAX_NAME]
        self._data = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._require_room()
        most = self._settings.max_poster_bytes
        if len(self._data) + end - start > most:
            name = self._name or "a poster"
            message = f"{name} is larger than the {self._settings.max_mb:g} MB that a poster may have"
            raise RequestError(413, "poster_too_large", message, allowed={"bytes": most})
        self._data += data[start:end]
        self.size += end - start

    def _part_end(self) -> None:
        if self._name or self._data:  # a browser sends a file field that was left empty as a file without a name
            self._require_room()
            self.posters.append(UploadedPoster(self._name or "untitled", bytes(self._data)))
        self._data = bytearray()

    def _require_room(self) -> None:
        most = self._settings.max_posters
        if len(self.posters) == most:
            message = f"a request may have {most} posters; send the others in another one"
            raise RequestError(413, "too_many_posters", message, allowed={"posters": most})

    def _end(self) -> None:
        self.ended = True
