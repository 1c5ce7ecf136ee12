"""The page's uploads have the limits of the REST interface, and what is refused leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mmposter.serve import ServeSettings, uploads
from mmposter.serve.errors import RequestError
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.page_mount import _swept
from mmposter.serve.uploads import Uploads

UPLOAD = "/gradio_api/upload"
JOIN = "/gradio_api/queue/join"
PART = b'--frame\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
FORM = {"Content-Type": "multipart/form-data; boundary=frame"}


@pytest.fixture
def unchanged(stranger, tmp_path_factory, monkeypatch):
    """Nothing is left: on disk (also where libraries put temporary files), nor inside the server."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = stranger.left()
    yield
    assert stranger.left() == before
    assert os.listdir(temporary) == []
    assert stranger.metric("inside_bytes") == 0


def head(path: str, **headers: object) -> bytes:
    given = {
        "Host": "localhost",
        "Connection": "close",
        **FORM,
        **{name.replace("_", "-"): str(value) for name, value in headers.items()},
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest.mark.usefixtures("unchanged")
def test_the_limits_are_those_of_rest(stranger, picture, problem):
    for path in (UPLOAD, "/api/v1/predict"):
        for files, status, code in [
            ([b"x" * 100_001], 413, "poster_too_large"),
            ([picture(1), b"x" * 100_001], 413, "poster_too_large"),
            ([picture(1)] * 5, 413, "too_many_posters"),
            ([b""] * 200, 413, "too_many_posters"),
            ([b""] * 5000, 413, "body_too_large"),
            ([], 415, "not_multipart"),
        ]:
            named = [("files", (f"{number}.png", data)) for number, data in enumerate(files)]
            problem(stranger.request("POST", path, files=named or None), status, code)
        problem(stranger.request("POST", path, json={"files": ["/etc/passwd"]}), 415, "not_multipart")
        problem(stranger.request("POST", path, files={"p": (None, "/etc/passwd")}), 422, "not_a_file")
        problem(stranger.request("POST", path, data=PART + b"cut off", headers=FORM), 400, "bad_multipart")
        endless = (b"\r\n" * 1000 for _ in range(100))
        problem(stranger.request("POST", path, data=endless, headers=FORM), 400, "bad_multipart")
        # What says that it is too large is refused before any of it is read.
        assert stranger.talk(head(path, Content_Length=10**11)).split(b" ")[1] == b"413"


@pytest.mark.usefixtures("unchanged")
def test_whoever_goes_in_the_middle_leaves_nothing(stranger, picture, eventually):
    for path in (UPLOAD, JOIN):
        with stranger.connect() as connection:
            connection.sendall(head(path, Content_Length=90_000) + PART + picture(1))
            if path == UPLOAD:
                eventually(lambda: stranger.metric("inside_requests") == 1)
    eventually(lambda: stranger.metric("inside_requests") == 0)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", [UPLOAD, JOIN, "/gradio_api/cancel", "/gradio_api/reset", "/api/v1/predict"])
def test_a_body_that_does_not_come(stranger, monkeypatch, path):
    monkeypatch.setattr("mmposter.serve.multipart.STALL_S", 0.05)
    monkeypatch.setattr("mmposter.serve.connections.HEAD_S", 0.2)
    answer = stranger.talk(head(path, Content_Length=1000) + PART)
    assert answer.split(b" ")[1] == b"408"
    assert b'"too_slow"' in answer


@pytest.mark.usefixtures("unchanged")
def test_a_body_that_comes_byte_by_byte(stranger, monkeypatch):
    monkeypatch.setattr("mmposter.serve.multipart.READ_S", 0.3)
    with stranger.connect() as connection, ExitStack() as stack:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        connection.sendall(head(UPLOAD, Content_Length=90_000) + PART)
        thread = threading.Thread(target=drip)
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        assert connection.recv(100).split(b" ")[1] == b"408"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", [JOIN, "/gradio_api/cancel", "/gradio_api/reset"])
def test_what_is_asked_has_a_size(stranger, problem, path):
    large = json.dumps({"data": ["x" * 10**6], "fn_index": 0, "session_hash": "a"}).encode()
    problem(stranger.request("POST", path, data=large), 413, "body_too_large")
    problem(stranger.request("POST", path, data=(large[at : at + 9999] for at in range(0, 10**6, 9999))), 413,
            "body_too_large")  # fmt: skip
    assert stranger.talk(head(path, Content_Length=10**11)).split(b" ")[1] == b"413"


def test_an_upload_takes_a_place(start_server, picture, problem, eventually):
    server = start_server(queue=1)
    word = server.upload(picture(1)).json()[0]
    file = {"path": word, "meta": {"_type": "gradio.FileData"}}
    with server.connect() as connection:
        connection.sendall(head(UPLOAD, Content_Length=90_000) + PART)
        eventually(lambda: server.metric("inside_requests") == 1)
        answer = server.upload(picture(1))
        problem(answer, 503, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        problem(server.request("POST", "/api/v1/predict", files={"p": picture(1)}), 503, "queue_full")
        assert "the server is busy" in server.ask(0, [file])  # what is shown is read into memory too
    eventually(lambda: server.metric("inside_requests") == 0)
    assert server.left() == [word]
    assert "0.75" in server.ask(0, [file])


def test_names_of_files_are_ours(stranger, picture):
    names = ["../../a.png", "/etc/cron.d/a", "..", "", "a\0b.png", "x" * 999, "C:\\a.png"]
    for name in names:
        answer = stranger.request("POST", UPLOAD, files={"files": (name, picture(1))})
        if answer.status_code == 200:  # a name may be no well-formed one
            assert answer.json()[0] in stranger.left()
    assert all(len(name) == 32 and "/" not in name for name in stranger.left())


def test_the_oldest_make_room(monkeypatch):
    monkeypatch.setattr("mmposter.serve.settings._HELD_MB", 5)
    settings = ServeSettings(max_posters=1, max_mb=1)
    now = 0.0
    kept = Uploads(settings, clock=lambda: now)
    assert settings.max_held_bytes == 5_000_000
    try:
        words = [kept.keep([UploadedPoster("a", bytes(1_000_000))])[0] for _ in range(7)]
        assert sorted(os.listdir(kept.folder)) == sorted(words[2:])
        assert kept.held == 5_000_000
        with pytest.raises(RequestError, match="no longer here"):
            kept.read(words[0])
        assert len(kept.read(words[6]).data) == 1_000_000
        now = uploads.LIFE_S / 2
        kept.keep([UploadedPoster("b", b"b")])
        now = uploads.LIFE_S + 1
        kept.sweep()
        assert (len(kept), kept.held, len(os.listdir(kept.folder))) == (1, 1, 1)
    finally:
        kept.close()
    assert not kept.folder.exists()


def test_the_end_of_the_application_removes_everything(monkeypatch):
    """Whatever lies there by then."""

    @asynccontextmanager
    async def inner(_: FastAPI) -> AsyncIterator[None]:
        yield

    kept = Uploads(ServeSettings())
    app = FastAPI(lifespan=_swept(inner, kept))
    monkeypatch.setattr("mmposter.serve.page_mount._SWEEP_S", 0.01)
    monkeypatch.setattr(uploads, "LIFE_S", 0.05)
    with TestClient(app):
        kept.keep([UploadedPoster("a", b"a")])
        end = time.monotonic() + 5
        while len(kept) and time.monotonic() < end:  # its time is over soon, without a request
            time.sleep(0.01)
        assert os.listdir(kept.folder) == []
        (kept.folder / "a" / "b").mkdir(parents=True)
        (kept.spare / "c").write_bytes(b"x")
    assert not kept.folder.parent.exists()
    kept.close()


def test_the_number_of_files_has_a_limit(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_FILES", 5)
    kept = Uploads(ServeSettings())
    for number in range(20):
        kept.keep([UploadedPoster(f"{number}-{part}", b"") for part in range(2)])
        assert len(os.listdir(kept.folder)) <= 5
    kept.close()
    with pytest.raises(RequestError, match="stopping"):
        kept.keep([UploadedPoster("a", b"")])


def test_a_full_disk_leaves_nothing_of_a_request(monkeypatch, caplog):
    kept = Uploads(ServeSettings())
    first = kept.keep([UploadedPoster("a", b"a")])
    write = kept._write

    def full(word: str, data: bytes) -> None:
        if data == b"c":
            raise OSError(28, "No space left on device")
        write(word, data)

    monkeypatch.setattr(kept, "_write", full)
    with pytest.raises(RequestError, match="cannot keep a poster") as error:
        kept.keep([UploadedPoster("b", b"b"), UploadedPoster("c", b"c")])
    assert error.value.status == 507
    assert "No space" in caplog.text
    assert (os.listdir(kept.folder), kept.held) == (first, 1)
    kept.close()


def test_answers_that_nobody_fetches_are_let_go(start_server, picture, problem, monkeypatch, eventually):
    monkeypatch.setattr("mmposter.serve.page_visits.UNFETCHED_S", 1.5)
    server = start_server(queue=4)
    queue = server.app.router.routes[-1].app._app._app.get_blocks()._queue
    file = {"path": server.upload(picture(1)).json()[0], "meta": {"_type": "gradio.FileData"}}
    statuses = [server.join(0, [[file], ["cnn"]], "one").status_code for _ in range(12)]
    assert statuses == [200] * 8 + [503] * 4
    statuses = [server.join(0, [[file], ["cnn"]], f"other-{number}").status_code for number in range(8)]
    assert statuses.count(200) == 3
    eventually(lambda: not queue.pending_messages_per_session and not queue.pending_event_ids_session)
    assert "0.75" in server.ask(0, [file])
    eventually(lambda: not queue.pending_messages_per_session and not queue.pending_event_ids_session)
    problem(server.request("GET", "/gradio_api/queue/data?session_hash=one"), 404, "unknown_session")
    problem(server.request("GET", "/gradio_api/queue/data"), 400, "bad_event")


def test_open_streams_have_a_limit(start_server, problem, eventually):
    server = start_server()
    visits = server.app.router.routes[-1].app._visits
    visits._most_streams = 3
    with ExitStack() as stack:
        for number in range(3):
            connection: socket.socket = stack.enter_context(server.connect())
            connection.sendall(
                f"GET /gradio_api/upload_progress?upload_id={number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            assert b"200" in connection.recv(100)
        word = server.upload(b"x").json()[0]
        for path in (f"file={word}", "upload_progress?upload_id=a"):
            problem(server.request("GET", f"/gradio_api/{path}"), 503, "page_full")
        assert server.request("GET", "/health").status_code == 200
    eventually(lambda: visits.streams == 0, 20)


def test_the_progress_of_an_upload_ends_with_it(stranger, picture):
    begun = threading.Event()
    told: list[str] = []

    def watch() -> None:
        with stranger.request("GET", "/gradio_api/upload_progress?upload_id=abc", stream=True) as answer:
            begun.set()
            told.extend(line.decode() for line in answer.iter_lines() if line)

    thread = threading.Thread(target=watch)
    thread.start()
    assert begun.wait(5)
    answer = stranger.request("POST", UPLOAD + "?upload_id=abc", files={"files": picture(1)})
    thread.join(5)
    assert answer.status_code == 200
    assert told == ['data: {"msg":"done"}']
