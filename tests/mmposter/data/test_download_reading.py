"""Pictures read from links, one at a time, from a server that fails in every way."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmposter.data.downloading import DownloadOptions, LinkReader
from mmposter.errors import BadImageError

QUICK = {"timeout": 3.0, "attempts": 3, "backoff": 0.01, "max_bytes": 300_000}


def reader(**changes) -> LinkReader:
    return LinkReader(DownloadOptions(**(QUICK | changes)))


@pytest.mark.parametrize(("name", "asked"), [("good-1", 1), ("moved-1", 1), ("500once-1", 2), ("429once-1", 2)])
def test_a_picture_comes_as_it_is(poster_server, name, asked):
    path = f"/{name}.jpg"
    shown = "/good-1.jpg" if name == "moved-1" else path
    assert reader().read(poster_server.url + path) == poster_server.picture(shown)
    assert poster_server.times(path) == asked


@pytest.mark.parametrize(
    ("name", "reason", "asked"),
    [
        ("404-1", "http_404", 1),
        ("503-1", "http_503", 3),
        ("html-1", "not_an_image", 1),
        ("cut-1", "cut_off", 3),
        ("loop-1", "redirect_loop", 6),
        ("tofile-1", "bad_redirect", 1),
        ("huge-1", "too_many_bytes", 1),
        ("saidhuge-1", "too_many_bytes", 1),
    ],
)
def test_what_cannot_be_had_has_the_reason_of_a_download(poster_server, name, reason, asked):
    with pytest.raises(BadImageError) as error:
        reader().read(f"{poster_server.url}/{name}.jpg")
    assert error.value.reason == reason
    assert poster_server.times(f"/{name}.jpg") == asked


def test_other_schemes_and_offline_ask_nobody(poster_server):
    for link in ("file:///etc/passwd", "ftp://example.org/a.jpg", "http://", "http://[::1/a.jpg"):
        with pytest.raises(BadImageError, match="no link of http or https"):
            reader().read(link)
    with pytest.raises(BadImageError, match="--offline") as error:
        reader(offline=True).read(f"{poster_server.url}/good-1.jpg")
    assert error.value.reason == "not_asked"
    assert poster_server.log == []


def test_one_host_is_asked_by_a_few_at_a_time(poster_server):
    poster_server.delay = 0.02
    one = reader(connections=2)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one.read, [f"{poster_server.url}/good-{number}.jpg" for number in range(12)]))
    assert len(set(found)) == 12
    assert poster_server.busiest == 2


def test_a_host_that_never_answers_is_given_up():
    one = reader(hopeless=2, attempts=2)
    reasons = []
    for number in range(4):
        with pytest.raises(BadImageError) as error:
            one.read(f"http://127.0.0.1:9/{number}.jpg")  # the discard service: refused
        reasons.append(error.value.reason)
    assert reasons == ["no_connection", "host_given_up", "host_given_up", "host_given_up"]


def test_closing_ends_a_long_wait(poster_server):
    poster_server.retry_after = "30"
    one, began = reader(), time.monotonic()
    threading.Timer(0.2, one.close).start()
    with pytest.raises(BadImageError, match="stopped"):
        one.read(f"{poster_server.url}/429once-1.jpg")
    assert time.monotonic() - began < 10
