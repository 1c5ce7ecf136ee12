"""Bad and hostile requests, and the answer that each must get."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

PREDICT = "/api/v1/predict"
UPLOAD, JOIN, DATA = "/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/queue/data"
PATIENCE_S = 600

_FORM = {"Content-Type": "multipart/form-data; boundary=f"}
_EVIL = "evil.example"


class Asked(Protocol):
    """What a request needs to know of the server."""

    url: str
    posters: list[bytes]
    limits: dict[str, int]


Request = Callable[[Asked, requests.Session], str]


def refused(answer: requests.Response, status: int, code: str) -> str:
    """Whether a request got the answer that it should."""
    assert answer.status_code == status, f"{answer.status_code} in place of {status}: {answer.text[:300]}"
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "allowed"}, error
    assert error["code"] == code, error
    assert "Traceback" not in answer.text, answer.text
    assert not any(name.lower().startswith("access-control") for name in answer.headers), answer.headers
    return f"{status} {code}"


def files_of(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """As a form has them."""
    return [("posters", (f"{number}.jpg", data)) for number, data in enumerate(files)]


def sent(path: str, files: Callable[[Asked], Iterable[bytes]], status: int, code: str, query: str = "") -> Request:
    """A form with files."""

    def request(asked: Asked, session: requests.Session) -> str:
        form = files_of(*files(asked))
        return refused(session.post(asked.url + path + query, files=form, timeout=PATIENCE_S), status, code)

    return request


def other(method: str, path: str, status: int, code: str, **more: Any) -> Request:
    """Any request."""

    def request(asked: Asked, session: requests.Session) -> str:
        return refused(session.request(method, asked.url + path, timeout=PATIENCE_S, **more), status, code)

    return request


def body(path: str, data: Callable[[Asked], Any], status: int, code: str) -> Request:
    """A form's body as it stands."""

    def request(asked: Asked, session: requests.Session) -> str:
        answer = session.post(asked.url + path, data=data(asked), headers=_FORM, timeout=PATIENCE_S)
        return refused(answer, status, code)

    return request


def event(path: str, status: int = 400, code: str = "bad_event", way: str = JOIN) -> Request:
    """Something that the page is to show although nobody uploaded it."""
    file = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
    given = {"fn_index": 0, "session_hash": "stranger", "data": [[file], ["cnn"]], "event_data": None}
    return other("POST", way, status, code, json=given)


def hang_up(path: str, whole: bool) -> Request:
    """Send a request, or half of one, and go away."""

    def request(asked: Asked, _: requests.Session) -> str:
        place = urlsplit(asked.url)
        start = b'--f\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n'
        content = start + asked.posters[0] + b"\r\n--f--\r\n"
        head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(content)}\r\n"
        head += f"Content-Type: {_FORM['Content-Type']}\r\n\r\n"
        with socket.create_connection((place.hostname or "", place.port or 80), timeout=PATIENCE_S) as connection:
            connection.sendall(head.encode() + content[: None if whole else len(content) // 2])
        return "(gone)"

    return request


def _line_feeds(_: Asked) -> Any:
    return (b"\r\n" * 2**15 for _ in range(100))


def _too_many(asked: Asked) -> list[bytes]:
    return [asked.posters[0]] * (asked.limits["posters"] + 1)


def _too_large(asked: Asked) -> list[bytes]:
    return [bytes(asked.limits["bytes_a_poster"] + 1)]


def _page_of_another(asked: Asked, session: requests.Session) -> str:
    headers = {"Host": _EVIL, "Origin": f"http://{_EVIL}"}
    answer = session.post(asked.url + PREDICT, files=files_of(asked.posters[0]), headers=headers, timeout=PATIENCE_S)
    return refused(answer, 403, "foreign_host")


_PICTURE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
_PREFLIGHT = {"Origin": f"https://{_EVIL}", "Access-Control-Request-Method": "POST"}
_LARGE = json.dumps({"data": ["x" * 1_000_000], "fn_index": 0, "session_hash": "stranger"})

BAD: dict[str, Request] = {
    "text as a picture": sent(PREDICT, lambda _: [b"a text " * 99], 422, "no_usable_poster"),
    "truncated JPEG": sent(PREDICT, lambda asked: [asked.posters[0][:1000]], 422, "no_usable_poster"),
    "empty file": sent(PREDICT, lambda _: [b""], 422, "no_usable_poster"),
    "poster too large": sent(PREDICT, _too_large, 413, "poster_too_large"),
    "too many posters": sent(PREDICT, _too_many, 413, "too_many_posters"),
    "no end of line feeds": body(PREDICT, _line_feeds, 400, "bad_multipart"),
    "body too large": body(PREDICT, lambda asked: bytes(asked.limits["bytes_a_body"] + 1), 413, "body_too_large"),
    "no file": other("POST", PREDICT, 422, "not_a_file", files={"posters": (None, "a.jpg")}),
    "no form": other("POST", PREDICT, 415, "not_multipart", json={"posters": ["a.jpg"]}),
    "unknown branch": sent(PREDICT, lambda asked: asked.posters[:1], 422, "bad_branches", "?branches=wheels"),
    "bad top_k": sent(PREDICT, lambda asked: asked.posters[:1], 422, "bad_top_k", "?top_k=0"),
    "wrong method": other("GET", PREDICT, 405, "wrong_method"),
    "unknown path": other("GET", "/api/v1/genres", 404, "unknown_path"),
    "hangs up in its body": hang_up(PREDICT, whole=False),
    "hangs up waiting": hang_up(PREDICT, whole=True),
}
"""A person's or a program's mistakes."""

HOSTILE: dict[str, Request] = {
    "page: a file's path": event(__file__),
    "page: /etc/passwd": event("/etc/passwd"),
    "page: /dev/zero": event("/dev/zero"),
    "page: an address": event("http://127.0.0.1:9/a.png"),
    "page: file through /run/": event(__file__, 404, "unknown_path", "/gradio_api/run/predict"),
    "page: file=": other("GET", "/gradio_api/file=/etc/passwd", 404, "unknown_path"),
    "page: proxy=": other("GET", "/gradio_api/proxy=http://127.0.0.1:9/", 404, "unknown_path"),
    "page: no event": other("POST", JOIN, 400, "bad_event", data=b"[" * 9000),
    "page: event too large": other("POST", JOIN, 413, "body_too_large", data=_LARGE),
    "page: poster too large": sent(UPLOAD, _too_large, 413, "poster_too_large"),
    "page: 5000 files": sent(UPLOAD, lambda _: [b""] * 5000, 413, "too_many_posters"),
    "page: no end of line feeds": body(UPLOAD, _line_feeds, 400, "bad_multipart"),
    "page: body too large": body(UPLOAD, lambda b: bytes(b.limits["bytes_a_body"] + 1), 413, "body_too_large"),
    "page: hangs up in its body": hang_up(UPLOAD, whole=False),
    "another name": other("GET", "/", 403, "foreign_host", headers={"Host": _EVIL}),
    "another name and its page": _page_of_another,
    "a page of another server": other("POST", UPLOAD, 403, "foreign_origin", headers={"Origin": f"http://{_EVIL}"}),
    "its preflight": other("OPTIONS", PREDICT, 403, "foreign_origin", headers=_PREFLIGHT),
    "a picture on its page": other("GET", "/health", 403, "foreign_origin", headers=_PICTURE),
}
"""What somebody tries who wants to read files, to use the server from another page, or to fill it up."""

REQUESTS = {**BAD, **HOSTILE}
