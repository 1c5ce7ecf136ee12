"""Downloads: a table and the servers that it names choose neither files of this machine nor what is asked inside."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmposter.data.downloading import DownloadOptions, place_posters
from mmposter.data.downloading.addresses import leads_inside
from mmposter.data.downloading.fetch import Fetcher
from mmposter.data.sources.base import PosterRow, SourceRows


class Web:
    """The internet, as a proxy shows it: what each address answers, and what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                status, headers, body = web.answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def web(monkeypatch) -> Iterator[Web]:
    for name in ("https_proxy", "all_proxy", "no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = Web()
    monkeypatch.setenv("http_proxy", found.url)
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def jpeg(make_drawn) -> bytes:
    import io

    stream = io.BytesIO()
    make_drawn().save(stream, "JPEG")
    return stream.getvalue()


INSIDE = ["http://127.0.0.1:9/x", "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[::1]/x"]


@pytest.mark.parametrize("target", [*INSIDE, "http://localhost/x", "http://192.168.1.1/", "http://0.0.0.0/"])
def test_a_public_server_leads_nowhere_inside(web, target):
    web.answers["http://93.184.216.34/a.jpg"] = (302, {"Location": target}, b"")
    answer = Fetcher(DownloadOptions())("http://93.184.216.34/a.jpg")
    assert (answer.kind, answer.reason) == ("dead", "bad_redirect")
    assert web.asked == ["http://93.184.216.34/a.jpg"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://93.184.216.34/x", "gopher://x", "javascript:1"])
def test_only_http_is_followed(web, target):
    web.answers["http://93.184.216.34/a.jpg"] = (302, {"Location": target}, b"")
    assert Fetcher(DownloadOptions())("http://93.184.216.34/a.jpg").reason == "bad_redirect"


def test_other_redirects_go_on():
    assert not leads_inside("http://93.184.216.34/a", "http://93.184.216.35/b")
    assert not leads_inside("http://127.0.0.1/a", "http://10.0.0.1/b")  # a table of one's own network
    assert leads_inside("http://93.184.216.34/a", "http://2130706433/b")  # 127.0.0.1 in one number


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_packed_answer_is_unpacked_up_to_the_limit(web, jpeg, pack):
    kind = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}
    web.answers["http://93.184.216.34/good.jpg"] = (200, kind, pack(jpeg))
    web.answers["http://93.184.216.34/bomb.jpg"] = (200, kind, pack(bytes(30_000_000)))
    web.answers["http://93.184.216.34/half.jpg"] = (200, kind, pack(jpeg)[:-9])
    fetch = Fetcher(DownloadOptions(max_bytes=1_000_000))
    assert fetch("http://93.184.216.34/good.jpg").data == jpeg
    assert fetch("http://93.184.216.34/bomb.jpg").reason == "too_many_bytes"
    assert fetch("http://93.184.216.34/half.jpg").reason == "cut_off"


def test_an_encoding_that_was_not_asked_for_is_no_picture(web, jpeg):
    web.answers["http://93.184.216.34/a.jpg"] = (200, {"Content-Encoding": "br"}, b"\x00" + jpeg[1:])
    assert Fetcher(DownloadOptions())("http://93.184.216.34/a.jpg").reason == "not_an_image"


NAMES = ["../x", "/x", "a/b", "a\\b", "..", ".x", "", "a\0b", "a" * 201, "CON", "nul", "com1.x", "a:b", "a\n", "-x"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_an_id_that_is_no_name_of_a_file_gets_none(tmp_path, name):
    row = PosterRow(name, None, url="http://93.184.216.34/a.jpg")
    found, links = place_posters(
        SourceRows(root=tmp_path, rows=[row]), tmp_path / "posters", DownloadOptions(offline=True), quiet=True
    )
    assert "cannot be the name of a file" in found.rows[0].problem
    assert links.total == 0
    assert list(tmp_path.iterdir()) == []


def test_damaged_lines_of_the_ledger_are_passed_over(tmp_path):
    from mmposter.data.downloading.ledger import LEDGER, Ledger

    dead = b'{"url": "http://a/", "status": "dead", "reason": "gone", "message": "it is"}'
    lines = [b"[" * 100_000, b'{"url": ["x"], "status": "dead", "reason": "", "message": ""}', b"1e400", b"\xff", b"7"]
    (tmp_path / LEDGER).write_bytes(b"\n".join([*lines, dead, b'{"url": {}, "status": "later"}']))
    ledger = Ledger(tmp_path)
    assert (ledger.dead, ledger.later) == ({"http://a/": ("gone", "it is")}, set())
