"""One request, and what its answer means."""

from __future__ import annotations

import threading
import time
import zlib
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, InvalidHeader, ReadTimeoutError
from urllib3.util import Retry

from mmposter.data.downloading.addresses import leads_inside
from mmposter.data.downloading.options import DownloadOptions, split_link
from mmposter.engines.libraries import installed_version
from mmposter.errors import BadImageError
from mmposter.images.reading import load_image

HOPS = 5
"""Redirects that a link may lead over."""

_PIECE = 65_536  # bytes
# A server that sends a few bytes in every time-out would hold a connection for ever.
_SLOWEST = 10  # time-outs for a whole answer
# Of a client's errors, those that pass: the server waited too long, it is too early, there were too many requests.
_PASSING = (408, 425, 429)
_UNANSWERED = ("no_connection", "timeout")
_PATIENCE = ("http_429", "http_503")


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    ``picture``: `data` is one. ``dead``: asking again will not help. ``again``: it may. ``moved``: `target` is the new
    address. `reason` is a short word for the count, `message` is for people.
    """

    kind: Literal["picture", "dead", "again", "moved"]
    reason: str = ""
    message: str = ""
    data: bytes = b""
    target: str = ""
    wait: float = 0.0  # seconds that the server asked for

    @property
    def blames_host(self) -> bool:
        """Whether the other links of the host would fare no better: it cannot be reached, or asks for patience."""
        return self.reason in (*_UNANSWERED, *_PATIENCE)

    @property
    def unanswered(self) -> bool:
        """Whether the host said nothing at all."""
        return self.reason in _UNANSWERED


class Fetcher:
    """Asks for pictures from several threads. Proxies are those of the environment (http_proxy, no_proxy)."""

    def __init__(self, options: DownloadOptions) -> None:
        self._options = options
        # A session holds cookies and is no thing to share; the pool of connections is.
        self._adapter = HTTPAdapter(pool_connections=64, pool_maxsize=options.connections)
        self._local = threading.local()

    def __call__(self, url: str) -> Answer:
        """Ask for `url` once; never raises for what a server or a network does."""
        try:
            timeout = self._options.timeout
            with self._session().get(url, stream=True, allow_redirects=False, timeout=timeout) as response:
                return self._meaning(url, response)
        except (requests.exceptions.Timeout, ReadTimeoutError):
            return Answer("again", "timeout", f"no answer within {self._options.timeout:g} s")
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
            return Answer("dead", "bad_link", f"the link cannot be asked ({error})")
        except _CutOffError as error:
            return Answer("again", "cut_off", str(error))
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:
            return Answer("again", "no_connection", f"no connection ({_root_of(error)})")

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.headers["User-Agent"] = (
                f"mmposter/{installed_version('mmposter') or 'unknown'} {requests.utils.default_user_agent()}"
            )
            session.headers["Accept"] = "image/*"
            session.headers["Accept-Encoding"] = "identity"  # pictures are packed already
            session.mount("http://", self._adapter)
            session.mount("https://", self._adapter)
        return session

    def _meaning(self, url: str, response: requests.Response) -> Answer:
        status = response.status_code
        location = self._session().get_redirect_target(response)
        if location is not None:
            # urljoin keeps the scheme of a full address, so that file:// is seen here and asked nowhere.
            target = urljoin(url, location)
            inside = leads_inside(url, target)
            if inside or split_link(target) is None:
                why = "inside this machine's own network" if inside else "which is no link of http or https"
                return Answer("dead", "bad_redirect", f"it leads to {target[:200]!r}, {why}")
            return Answer("moved", target=target)
        if status in _PASSING or status >= 500:
            wait = min(_retry_after(response), self._options.longest_wait)
            return Answer("again", f"http_{status}", f"the server answered {status} {response.reason}", wait=wait)
        if status != 200:
            return Answer("dead", f"http_{status}", f"the server answered {status} {response.reason}")
        return self._picture(response)

    def _picture(self, response: requests.Response) -> Answer:
        limit = self._options.max_bytes
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > limit:
            return _too_big(limit)
        data = self._body(response, limit)
        if data is not None:
            data = _unpacked(data, response.headers.get("Content-Encoding", ""), limit)
        if data is None:
            return _too_big(limit)
        try:
            # Whether it is large enough is for the cleaning to say, not for the download.
            load_image(data, min_side=1)
        except BadImageError as error:
            # Where nobody said how long the answer is, only the picture shows that it was cut off.
            known = length.isdecimal() or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            if error.reason == "truncated" and not known:
                return Answer("again", "cut_off", f"the answer ended early: {error}")
            kind = response.headers.get("Content-Type", "no type").partition(";")[0]
            return Answer("dead", error.reason, f"what came ({kind}) is no good picture: {error}")
        return Answer("picture", data=data)

    def _body(self, response: requests.Response, limit: int) -> bytes | None:
        """All of the answer, or None where it is longer than `limit`.

        `read1` gives what is there, so that the clock is looked at however slowly it comes; urllib3 compares the
        length with Content-Length.
        """
        start, size = time.monotonic(), 0
        pieces: list[bytes] = []
        longest = _SLOWEST * self._options.timeout
        while True:
            try:
                piece = response.raw.read1(_PIECE, decode_content=False)
            except ReadTimeoutError:
                raise
            except HTTPError as error:
                raise _CutOffError(f"the answer broke off after {size} bytes ({_root_of(error)})") from error
            if not piece:
                return b"".join(pieces)
            size += len(piece)
            pieces.append(piece)
            if size > limit:
                return None
            if time.monotonic() - start > longest:
                raise _CutOffError(f"the answer was not whole after {longest:g} s")


class _CutOffError(Exception):
    """The body ended before its end."""


def _unpacked(data: bytes, encoding: str, limit: int) -> bytes | None:
    """What a server packed although it was asked not to; None where that is longer than `limit`.

    By ourselves: the library would unpack all of it before anybody could count. Other encodings are left as they are,
    which is no picture.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return data
    coder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # the header says which of both
    try:
        unpacked = coder.decompress(data, limit + 1)
    except zlib.error as error:
        raise _CutOffError(f"the answer cannot be unpacked ({error})") from error
    if len(unpacked) > limit:
        return None
    if not coder.eof:
        raise _CutOffError(f"the answer broke off after {len(data)} bytes")
    return unpacked


def _too_big(limit: int) -> Answer:
    return Answer("dead", "too_many_bytes", f"the answer has more than {limit:,} bytes")


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks for, as a number or as a date; 0 where it does not."""
    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _root_of(error: BaseException) -> str:
    """The innermost cause in few words: what the library says around it names its own objects."""
    seen = {id(error)}
    while (inner := error.__cause__ or error.__context__) is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
