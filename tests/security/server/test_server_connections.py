"""Connections that are only held open: each has a time, all have a limit, and nobody else is shut out."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

import pytest

from mmposter.serve.connections import MOST, connection_limit
from mmposter.serve.server import configuration

HEADS = [b"", b"G", b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"POST /api/v1/predict HTTP/1.1\r\nX-A: "]


@pytest.fixture
def hurried(monkeypatch) -> None:
    monkeypatch.setattr("mmposter.serve.connections.HEAD_S", 0.3)


def read_until(connection: socket.socket, wanted: bytes) -> None:
    found = b""
    while wanted not in found:
        piece = connection.recv(10_000)
        assert piece, found
        found += piece


def closed_after(connection: socket.socket) -> float:
    """Seconds until the server has ended a connection without a word."""
    begun = time.monotonic()
    with suppress(ConnectionResetError):
        assert connection.recv(100) == b""
    return time.monotonic() - begun


def cut_off_after(connection: socket.socket, piece: bytes) -> float:
    """Seconds for which the server lets somebody send one piece after the other."""
    begun = time.monotonic()
    while time.monotonic() < begun + 10:
        try:
            connection.send(piece)
        except BlockingIOError:
            pass
        except ConnectionError:
            break
        time.sleep(0.02)
    return time.monotonic() - begun


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("head", HEADS)
def test_headers_that_do_not_come(stranger, head):
    with stranger.connect() as connection:
        connection.sendall(head)
        assert closed_after(connection) < 2


@pytest.mark.usefixtures("hurried")
def test_headers_that_come_byte_by_byte(stranger):
    """No byte gives more time."""
    with stranger.connect() as connection:
        assert 0.2 < cut_off_after(connection, b"G") < 2


@pytest.mark.usefixtures("hurried")
def test_a_second_request_has_the_same_time(stranger):
    with stranger.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_until(connection, b'{"status":"ready"}')
        connection.sendall(HEADS[2])
        assert closed_after(connection) < 2


@pytest.mark.usefixtures("hurried")
def test_a_body_after_the_answer_is_not_read_for_ever(stranger):
    with stranger.connect() as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n")
        read_until(connection, b"404")
        assert cut_off_after(connection, b"x") < 2


@pytest.mark.usefixtures("hurried")
def test_whoever_is_answered_is_not_cut_off(stranger):
    """A stream that stays open longer than headers may take."""
    with stranger.connect() as connection:
        connection.sendall(b"GET /gradio_api/upload_progress?upload_id=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_until(connection, b"\r\n\r\n")
        connection.settimeout(0.8)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_who_does_not_read_is_let_go(stranger, monkeypatch):
    monkeypatch.setattr("mmposter.serve.connections.WRITE_S", 0.3)
    ask = b"GET /config HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(stranger.place)
        connection.setblocking(False)
        assert cut_off_after(connection, ask) < 5


def test_idle_ones_make_room(start_server, picture, monkeypatch):
    monkeypatch.setattr("mmposter.serve.server.connection_limit", lambda: 20)
    server = start_server()
    with ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(60)]
        for connection in held[::2]:
            connection.sendall(HEADS[2])
        for _ in range(5):
            assert server.request("POST", "/api/v1/predict", files={"p": picture(1)}).status_code == 200
        assert all(closed_after(connection) < 1 for connection in held[:30])


def test_a_server_where_none_is_idle_says_so(start_server, problem, eventually, monkeypatch):
    monkeypatch.setattr("mmposter.serve.server.connection_limit", lambda: 3)
    server = start_server()
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(server.connect())
            connection.sendall(b"GET /gradio_api/upload_progress?upload_id=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(connection, b"200")
        answer = server.talk()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 10" in answer
        assert b'"too_many_connections"' in answer
    eventually(lambda: server.talk(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[9:12] == b"200")


def test_the_limit_is_below_that_of_open_files(monkeypatch, stranger):
    resource = pytest.importorskip("resource")
    for files, most in ((100, 32), (256, 56), (1024, MOST), (-1, MOST)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert connection_limit() == most
        assert configuration(stranger.app).http.most == most
