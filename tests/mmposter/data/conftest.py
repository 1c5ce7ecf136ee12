"""Tiny posters, a made-up data set in the published layout, and a server of posters that fails in every way."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _poster(path: Path, seed: int, *, size: tuple[int, int] = (48, 64), quality: int = 90) -> Path:
    """A smooth random picture: seeds far apart for the perceptual hash, and stable when saved again."""
    values = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path, quality=quality)
    return path


def _record(movie: str, genre: str | None, title: str = "A Title", actors: str = "N/A") -> str:
    """One object as the published files have it: sorted JSON with an unquoted ObjectId in front."""
    body = {"Title": title, "Actors": actors, "imdbID": movie, "Genre": genre}
    lines = json.dumps(body, indent=2, ensure_ascii=False).splitlines()
    return "\n".join(["{", '  "_id" : ObjectId("56fb997a71a06517682a2c60"),', *lines[1:]])


class CcuMaker:
    """Builds a source folder in the published layout, one call a thing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts: dict[int, list[str]] = {}
        (root / "Movie_Poster_Dataset").mkdir(parents=True)
        (root / "Movie_Poster_Metadata" / "groundtruth").mkdir(parents=True)

    def poster(self, movie: str, seed: int, year: int = 1985, **options: object) -> Path:
        return _poster(self.root / "Movie_Poster_Dataset" / str(year) / f"{movie}.jpg", seed, **options)  # type: ignore[arg-type]

    def record(self, movie: str, genre: str | None, year: int = 1985, **fields: str) -> None:
        self.raw(_record(movie, genre, **fields), year)

    def raw(self, text: str, year: int = 1985) -> None:
        self.texts.setdefault(year, []).append(text)
        path = self.root / "Movie_Poster_Metadata" / "groundtruth" / f"{year}.txt"
        path.write_text("\n".join(self.texts[year]) + "\n", encoding="utf-16")


@pytest.fixture
def ccu(tmp_path: Path) -> CcuMaker:
    return CcuMaker(tmp_path / "source")


@pytest.fixture
def make_poster():
    return _poster


@pytest.fixture
def make_csv(tmp_path: Path):
    """Write posters.csv beside posters with the given seeds; returns the table's path."""

    def make(lines: list[str], seeds: dict[str, int], folder: str = "table") -> Path:
        for name, seed in seeds.items():
            _poster(tmp_path / folder / name, seed)
        path = tmp_path / folder / "posters.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make


def kind_of(path: str) -> str:
    return path.rpartition("/")[2].split("?")[0].rpartition("-")[0]


class PosterServer:
    """A server on loopback that holds some posters and fails on the others in the way their names say.

    ``/good-7.jpg`` is a poster, ``/404-7.jpg`` is answered 404, and so on: the word before the last hyphen chooses.
    """

    def __init__(self, picture: Callable[[str], bytes]) -> None:
        self.picture, self.kind = picture, kind_of
        self.log: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.delay, self.busy, self.busiest = 0.0, 0, 0
        self.retry_after = "0"
        self.released = threading.Event()  # ends what hangs, so that a test's end waits for nobody
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes: the second would wait for 40 ms

            def do_GET(self) -> None:
                with outer._lock:
                    outer.log.append(self.path)
                    outer.headers.append(dict(self.headers))
                    outer.busy += 1
                    outer.busiest = max(outer.busiest, outer.busy)
                    count = outer.log.count(self.path)
                try:
                    time.sleep(outer.delay)
                    outer.answer(self, self.path, count)
                except OSError:
                    pass  # the client has gone, as it should from some answers
                finally:
                    with outer._lock:
                        outer.busy -= 1

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False  # connections are kept open, and nobody waits for their end
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def times(self, path: str) -> int:
        return self.log.count(path)

    def answer(self, handler: BaseHTTPRequestHandler, path: str, count: int) -> None:
        kind, data = self.kind(path), self.picture(path)

        def send(status: int, body: bytes = b"", length: int | None = len(data), **headers: str) -> None:
            handler.send_response(status)
            if length is not None:
                handler.send_header("Content-Length", str(length))
            else:
                handler.send_header("Connection", "close")
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)
            handler.wfile.flush()

        whole = len(data)
        if kind in ("500once", "429once", "429date", "resetonce", "cutonce") and count > 1:
            kind = "good"
        if kind == "good":
            send(200, data)
        elif kind.isdecimal():
            send(int(kind), b"no", 2)
        elif kind == "500once":
            send(500, b"no", 2)
        elif kind == "429once":
            send(429, b"no", 2, Retry_After=self.retry_after)
        elif kind in ("reset", "resetonce"):
            # Linger of no time: the system sends a reset in place of an orderly end.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.rfile.close()
            handler.wfile.close()
            handler.connection.close()
            handler.close_connection = True
        elif kind == "silent":
            self.released.wait(30)
            handler.close_connection = True
        elif kind in ("cut", "cutonce"):
            send(200, data[: whole // 2])
            handler.close_connection = True
        elif kind == "cutnolength":
            send(200, data[: whole // 2], None)
            handler.close_connection = True
        elif kind == "cutchunked":
            send(200, b"%x\r\n" % whole + data[: whole // 2], None, Transfer_Encoding="chunked")
            handler.close_connection = True
        elif kind == "nolength":
            send(200, data, None)
            handler.close_connection = True
        elif kind == "html":
            send(200, b"<html>gone</html>", 17, Content_Type="text/html; charset=utf-8")
        elif kind == "empty":
            send(200, b"", 0)
        elif kind == "toolong":
            send(200, data, whole + 100)
            handler.close_connection = True
        elif kind == "tooshort":
            send(200, data, whole - 200)
        elif kind == "loop":
            send(302, b"", 0, Location=path)
        elif kind == "moved":
            send(301, b"", 0, Location=path.replace("moved", "good"))
        elif kind == "tofile":
            send(302, b"", 0, Location="file:///etc/passwd")
        elif kind == "huge":
            send(200, b"", None)
            while not self.released.is_set():
                handler.wfile.write(bytes(65536))
        elif kind == "saidhuge":
            send(200, b"", 10**12)
            self.released.wait(30)
        elif kind == "trickle":
            send(200, b"", whole)
            for place in range(whole):
                if self.released.wait(0.01):
                    break
                handler.wfile.write(data[place : place + 1])
            handler.close_connection = True
        else:
            raise AssertionError(f"no such kind of answer: {path}")


@pytest.fixture
def poster_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PosterServer]:
    """Every path is another picture; loopback is asked directly, whatever proxy this machine has."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def picture(path: str) -> bytes:
        values = np.random.default_rng(zlib.crc32(path.encode())).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(values).resize((48, 64), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        return stream.getvalue()

    server = PosterServer(picture)
    yield server
    server.close()
