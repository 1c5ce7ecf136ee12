"""A client gets the scores of what it uploaded, and no other file is opened, whatever it calls it."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from fastapi.testclient import TestClient

from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.page_requests import methods

FILE = {"_type": "gradio.FileData"}
BASE = "/gradio_api"


@pytest.fixture
def secret(tmp_path, picture):
    """A picture of this machine that nobody uploaded."""
    path = tmp_path / "secret.png"
    path.write_bytes(picture(7))
    return path


@pytest.fixture
def listener():
    """An address that must never be asked; its connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


def hostile(secret, folder, port) -> list[object]:
    os.mkfifo(secret.parent / "pipe")
    (folder / "link").symlink_to(secret)
    (folder / ("a" * 32)).symlink_to(secret)  # a name as ours are, that was never given
    paths = [
        str(secret),
        f"file://{secret}",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        str(secret.parent),
        str(secret.parent / "pipe"),
        str(folder),
        str(folder / "link"),
        "link",
        "../" * 20 + str(secret).lstrip("/"),
        os.path.relpath(secret, folder),
        str(folder / ".." / secret.name),
        f"http://127.0.0.1:{port}/a.png",
        f"//127.0.0.1:{port}/a.png",
        f"data:image/png;base64,{'A' * 40}",
        "",
        "\0",
        "/etc/passwd\0.png",
        "a" * 33,
        "A" * 32,
    ]
    files: list[object] = [{"path": path, "meta": FILE} for path in paths]
    files += [{"path": path, "url": path, "meta": FILE, "is_stream": True} for path in paths[:3]]
    files += [str(secret), None, 3, [str(secret)], {"path": {"path": str(secret), "meta": FILE}}, {"meta": FILE}]
    files += [{"path": [str(secret)], "meta": FILE}, {"url": f"http://127.0.0.1:{port}/a.png", "meta": FILE}]
    return files


def test_no_event_opens_what_was_not_uploaded(stranger, secret, listener, problem):
    assert len(stranger.events()) >= 4
    begun = time.monotonic()
    for event in stranger.events():
        for file in hostile(secret, stranger.folder, listener.getsockname()[1]):
            problem(stranger.join(event, stranger.data(event, [file])), 400, "bad_event")
        (secret.parent / "pipe").unlink()
        (stranger.folder / "link").unlink()
        (stranger.folder / ("a" * 32)).unlink()
    assert time.monotonic() - begun < 10
    assert stranger.request("GET", "/health").json() == {"status": "ready"}
    with pytest.raises(TimeoutError):
        listener.accept()


@pytest.mark.parametrize("way", ["run/predict", "run/0", "api/predict", "call/predict", "call/v2/drop", "run/drop/"])
def test_there_is_no_other_way_to_an_event(stranger, secret, problem, way):
    body = {"data": [[{"path": str(secret), "meta": FILE}], ["cnn"]], "fn_index": 0, "session_hash": "a"}
    problem(stranger.request("POST", f"{BASE}/{way}", json=body), 404, "unknown_path")


def test_an_upload_is_shown_and_its_address_is_not_asked(stranger, picture, listener):
    word = stranger.upload(picture(1)).json()[0]
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
    file = {"path": word, "url": address, "orig_name": "/etc/passwd", "mime_type": "x", "is_stream": True, "meta": FILE}
    answer = stranger.ask(0, [file])
    assert "0.75" in answer
    assert "0.png" in answer
    assert "passwd" not in answer
    with pytest.raises(TimeoutError):
        listener.accept()


def test_a_word_that_is_no_longer_known_gives_a_sentence(stranger):
    for event in (0, 1):
        assert "drop it again" in stranger.ask(event, [{"path": "0" * 32, "meta": FILE}])


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "device", "nothing"])
def test_what_lies_in_the_place_of_an_upload_is_not_opened(stranger, picture, secret, kind):
    word = stranger.upload(picture(1)).json()[0]
    path = stranger.folder / word
    path.unlink()
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    answer = stranger.ask(0, [{"path": word, "meta": FILE}])
    assert "drop it again" in answer
    assert "0.75" not in answer
    assert stranger.request("GET", f"{BASE}/file={word}").status_code == 410


def test_the_page_itself_reads_uploads_alone(start_server, secret, picture):
    """Without what stands before it: `Page` is given anything."""
    uploads = start_server().app.state.uploads
    word = uploads.keep([UploadedPoster("a.png", picture(1))])[0]
    assert uploads.read(word).name == "a.png"
    for file in (str(secret), f"../{secret.name}", str(uploads.folder / word), "", None, 3, {"path": word}, [word]):
        with pytest.raises(Exception, match="drop it again"):
            uploads.read(file)


def test_gradio_alone_refuses_too(start_server, secret):
    """Without what stands before it: it guards paths because it takes itself for started, and takes words alone."""
    inside = start_server().app.router.routes[-1].app._app._app
    assert inside.get_blocks().has_launched
    with TestClient(inside, base_url="http://127.0.0.1") as client:
        body = {"data": [[{"path": str(secret), "meta": FILE}], ["cnn"]], "fn_index": 0, "session_hash": "a"}
        assert client.post(f"{BASE}/run/predict", json=body).status_code == 500
        assert client.get(f"{BASE}/file={secret}").status_code == 403


def test_an_uploaded_file_can_be_saved_and_not_shown(stranger):
    word = stranger.upload(b"<script>alert(1)</script>").json()[0]
    answer = stranger.request("GET", f"{BASE}/file={word}")
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_gradio_is_asked_for_nothing_but_what_the_page_needs(stranger):
    """A version of gradio that answers more paths changes nothing."""
    inside = stranger.app.router.routes[-1].app._app._app
    paths = set(inside.openapi()["paths"])
    assert len(paths) > 40
    found = {path for path in paths if methods(path)}
    assert found == {
        "/",
        "/assets/{path}",
        "/config",
        "/favicon.ico",
        "/gradio_api/app_id",
        "/gradio_api/cancel",
        "/gradio_api/info",
        "/gradio_api/queue/data",
        "/gradio_api/queue/join",
        "/gradio_api/reset",
        "/gradio_api/upload",
        "/gradio_api/upload_progress",
        "/manifest.json",
        "/static/{path}",
        "/svelte/{path}",
        "/theme.css",
    }


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/file=" + "a" * 33,
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/gradio_api/component_server",
        "/gradio_api/process_recording",
        "/gradio_api/deep_link",
        "/gradio_api/dev/reload",
        "/gradio_api/queue/status",
        "/gradio_api/vibe-code",
        "/gradio_api/runs",
        "/gradio_api/token",
        "/gradio_api/user",
        "/gradio_api/call/drop/a",
        "/gradio_api/heartbeat/a",
        "/gradio_api/startup-events",
        "/gradio_api/openapi.json",
        "/monitoring",
        "/monitoring/summary",
        "/file=/etc/passwd",
        "/proxy=http://127.0.0.1/",
        "/gradio_api//file=/etc/passwd",
        "/robots.txt",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_unknown(stranger, problem, method, path):
    problem(stranger.request(method, path), 404, "unknown_path")


@pytest.mark.parametrize(
    "path", ["/static/%2e%2e/%2e%2e/routes.py", "/assets/..%2f..%2froutes.py", "/svelte//etc/passwd"]
)
def test_a_static_path_leads_nowhere_else(stranger, path):
    answer = stranger.talk(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"403", b"404")


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"data": []}', b"[" * 9000, b'{"fn_index": true}'])
def test_an_event_that_is_none(stranger, problem, body):
    for path in ("queue/join", "cancel", "reset"):
        answer = stranger.request("POST", f"{BASE}/{path}", data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), (path, answer.text)
        assert "Traceback" not in answer.text


ODD: list[dict[str, object]] = [
    {"which": -1},
    {"which": 1},
    {"which": 10**30},
    {"which": None},
    {"genre": "Western"},
    {"branches": []},
    {"branches": ["wheels"]},
    {"branches": ["cnn"] * 32},
]


@pytest.mark.parametrize("more", ODD)
def test_odd_values_raise_nothing(stranger, picture, more, capfd):
    """gradio would print a traceback for each."""
    words = stranger.upload(picture(1), b"no picture").json()
    for event in stranger.events():
        stranger.ask(event, [{"path": word, "meta": FILE} for word in words], **more)
        stranger.ask(event, None, **more)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        {"which": True},
        {"which": "0"},
        {"which": 0.5},
        {"genre": ["Drama"]},
        {"genre": "\ud800"},
        {"genre": "x" * 999},
        {"branches": "cnn"},
        {"branches": [1]},
        {"branches": ["cnn"] * 33},
        {"branches": None},
    ],
)
def test_values_of_another_kind_are_refused(stranger, problem, more):
    for event, names in stranger.events().items():
        if set(more) <= set(names):
            problem(stranger.join(event, stranger.data(event, None, **more)), 400, "bad_event")
            problem(stranger.join(event, stranger.data(event, None)[:-1]), 400, "bad_event")


def test_a_model_that_fails_blocks_nobody(stranger, picture):
    """Each event in work has a place; all are given back."""
    word = stranger.upload(picture(1)).json()[0]
    explain = max(stranger.events())
    threads = [threading.Thread(target=stranger.ask, args=(explain, [{"path": word, "meta": FILE}])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert stranger.metric("inside_requests") == 0
