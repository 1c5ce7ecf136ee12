"""Bad requests: each its own clear 4xx, in one shape, and the server goes on."""

from __future__ import annotations

import socket

import pytest
import requests

FORM = {"Content-Type": "multipart/form-data; boundary=frame"}
PART = b'--frame\r\nContent-Disposition: form-data; name="posters"; filename="a.png"\r\n\r\n'
PREDICT = "/api/v1/predict"


def problem(answer: requests.Response, status: int, code: str) -> dict:
    """The error of an answer, after what holds for every one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert list(error) == ["code", "message", "allowed"]
    assert error["code"] == code
    assert len(error["message"]) > 10
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    return error


def send(served, body, headers=FORM, path: str = PREDICT) -> requests.Response:
    return requests.post(served.address + path, data=body, headers=headers, timeout=20)


@pytest.mark.parametrize(
    ("query", "code", "allowed"),
    [
        ("branches=wheels", "bad_branches", ["cnn", "style"]),
        ("branches=cnn,wheels", "bad_branches", ["cnn", "style"]),
        ("branches=yolo", "bad_branches", ["cnn", "style"]),
        ("branches=", "bad_branches", ["cnn", "style"]),
        ("top_k=0", "bad_top_k", [1, 3]),
        ("top_k=4", "bad_top_k", [1, 3]),
        ("top_k=two", "bad_top_k", [1, 3]),
        ("top_k=-1", "bad_top_k", [1, 3]),
        ("top_k=²", "bad_top_k", [1, 3]),
        ("top_k=" + "9" * 6000, "bad_top_k", [1, 3]),
        ("topk=2", "unknown_parameter", ["branches", "top_k"]),
        ("top_k=1&top_k=2", "repeated_parameter", "once"),
    ],
)
def test_bad_parameters_say_what_is_allowed(served, picture, query, code, allowed):
    error = problem(served.post(picture(1), path=f"{PREDICT}?{query}"), 422, code)
    assert error["allowed"] == allowed


@pytest.mark.parametrize(
    ("query", "code", "allowed"),
    [
        ("genres=Western", "bad_genres", ["Comedy", "Drama", "Horror"]),
        ("genres=", "bad_genres", ["Comedy", "Drama", "Horror"]),
        ("branches=wheels", "bad_branches", ["cnn", "style"]),
        ("heat_maps=maybe", "bad_heat_maps", ["true", "false"]),
        ("top_k=1", "unknown_parameter", ["branches", "genres", "heat_maps"]),
    ],
)
def test_bad_parameters_of_an_explanation(served, picture, query, code, allowed):
    error = problem(served.post(picture(1), path=f"/api/v1/explain?{query}"), 422, code)
    assert error["allowed"] == allowed


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "image/png"},
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary="},
        {"Content-Type": "multipart/mixed; boundary=frame"},
        {},
    ],
)
def test_a_body_that_is_no_form(served, headers):
    error = problem(send(served, PART + b"x\r\n--frame--\r\n", headers), 415, "not_multipart")
    assert error["allowed"] == ["multipart/form-data"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no multipart at all, and long enough to be taken for one",
        PART + b"cut off",
        PART[:30],
        b"--frame\r\nbad header\r\n\r\n\r\n--frame--\r\n",
        b"--frame\r\n" + b"X-Long: " + b"y" * 5000 + b"\r\n\r\n\r\n--frame--\r\n",
    ],
)
def test_a_malformed_form(served, body):
    problem(send(served, body), 400, "bad_multipart")


def test_a_boundary_that_is_too_long(served):
    headers = {"Content-Type": "multipart/form-data; boundary=" + "x" * 400}
    problem(send(served, PART, headers), 400, "bad_multipart")


def test_a_form_without_a_file(served):
    assert problem(send(served, b"--frame--\r\n"), 422, "no_poster")["allowed"] == {"posters": [1, 4]}
    empty = b'--frame\r\nContent-Disposition: form-data; name="posters"; filename=""\r\n\r\n\r\n--frame--\r\n'
    problem(send(served, empty), 422, "no_poster")
    field = b'--frame\r\nContent-Disposition: form-data; name="posters"\r\n\r\na.jpg\r\n--frame--\r\n'
    assert "'posters' is no file" in problem(send(served, field), 422, "not_a_file")["message"]


def test_no_file_is_a_usable_picture(served, picture, make_png_header):
    error = problem(
        served.post(b"text", b"", picture(1)[:60], make_png_header(20_000, 20_000)), 422, "no_usable_poster"
    )
    for number, reason in enumerate(("not_an_image", "empty", "truncated", "too_large")):
        assert f"{number}.png: {reason}: " in error["message"]
    assert "PNG" in error["allowed"]["formats"]


def test_a_poster_that_is_too_large(served, picture):
    error = problem(served.post(picture(1), b"x" * 20_001), 413, "poster_too_large")
    assert error["message"] == "1.png is larger than the 0.02 MB that a poster may have"
    assert error["allowed"] == {"bytes": 20_000}
    assert served.post(picture(1), b"x" * 20_000).status_code == 200


@pytest.mark.parametrize("poster", [b"x", b""])
def test_too_many_posters(served, poster):
    assert problem(served.post(*[poster] * 5), 413, "too_many_posters")["allowed"] == {"posters": 4}


def test_a_body_that_says_it_is_too_large_is_not_read(served):
    """The answer comes although nothing of the body was sent."""
    answer = talk(served, head({"Content-Length": "10000000000"}))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"body_too_large"' in answer


def test_a_body_that_goes_on_and_on_is_not_read_to_its_end(served):
    """Without a Content-Length: parts without a file, and line feeds before the first part."""
    part = b'--frame\r\nContent-Disposition: form-data; name="x"; filename=""\r\n\r\n\r\n'
    for piece in (part * 100, b"\r\n" * 1000):
        error = problem(send(served, (piece for _ in range(100))), 400, "bad_multipart")
        assert "are of no file" in error["message"]


def test_a_client_that_stops_in_the_middle_of_its_body(served, monkeypatch, picture):
    monkeypatch.setattr("mmposter.serve.multipart.STALL_S", 0.05)
    answer = talk(served, head({"Content-Length": "1000"}) + PART)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"too_slow"' in answer
    assert served.post(picture(1)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method(served, method):
    answer = requests.request(method, served.address + PREDICT, timeout=20)
    assert problem(answer, 405, "wrong_method")["allowed"] == ["POST"]
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/api", "/api/v2/predict", "/api/v1/predict/more", "/../setup.cfg", "/redoc"])
def test_an_unknown_path(served, path):
    error = problem(served.get(path), 404, "unknown_path")
    assert error["allowed"] == ["/api/v1/explain", "/api/v1/model", "/api/v1/predict", "/health", "/metrics"]


def test_bytes_that_are_no_http(served, picture):
    assert talk(served, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert served.post(picture(1)).status_code == 200


def head(headers: dict[str, str]) -> bytes:
    lines = [f"POST {PREDICT} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in {**FORM, **headers}.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def talk(served, data: bytes) -> bytes:
    """What comes back for these bytes."""
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(data)
        answer = connection.recv(65536)
        if b"\r\n\r\n" in answer and b"content-length" in answer.lower() and not answer.rpartition(b"\r\n\r\n")[2]:
            answer += connection.recv(65536)
        return answer
