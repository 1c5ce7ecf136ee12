"""Other people's pages, in the browser of somebody who can reach the server, get nothing from it."""

from __future__ import annotations

import pytest

from mmposter import UserError
from mmposter.serve import Access

PATHS = ("/", "/health", "/api/v1/model", "/gradio_api/info", "/docs", "/nowhere")
FRIEND = "https://friend.example"


@pytest.fixture(scope="module")
def open_server(start_server):
    """A server with a name of its own, and a page that may use it."""
    return start_server(Access.of(["127.0.0.1"], ["posters.example"], [FRIEND, "http://localhost:3000"]))


FOREIGN = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "0.0.0.0"]
ODD = ["", "2130706433", "0x7f.1", "user@localhost", "localhost/a", "[::2]", "[localhost]", "a b", "localhost:1:2"]


@pytest.mark.parametrize("host", [*FOREIGN, *ODD])
def test_another_name_is_refused(stranger, problem, host):
    for path in PATHS:
        error = problem(stranger.request("GET", path, headers={"Host": host}), 403, "foreign_host")
        assert "mmposter serve --allow-host " in error["message"]
        assert "127.0.0.1" in error["allowed"]
    # What a page of that name would send.
    headers = {"Host": host, "Origin": f"http://{host}"}
    answer = stranger.request("POST", "/api/v1/predict", headers=headers, files={"p": b"x"})
    problem(answer, 403, "foreign_host")
    assert not any(name.lower().startswith("access-control") for name in answer.headers)


def test_a_refusal_says_what_to_type(stranger):
    answer = stranger.request("GET", "/", headers={"Host": "Posters.Example.:8000"})
    assert "mmposter serve --allow-host posters.example" in answer.json()["error"]["message"]
    answer = stranger.request("GET", "/", headers={"Origin": "https://a.example:8443"})
    assert "mmposter serve --allow-origin https://a.example:8443" in answer.json()["error"]["message"]
    answer = stranger.request("GET", "/", headers={"Host": "<b>"})
    assert "<b>" not in answer.text


def test_no_name_at_all(stranger):
    assert stranger.talk(b"GET /health HTTP/1.0\r\n\r\n").split(b" ")[1] == b"403"
    assert stranger.talk(b"GET /health HTTP/1.1\r\n\r\n").split(b" ")[1] == b"400"
    two = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert stranger.talk(two).split(b" ")[1] == b"400"
    # The name in the request line is not what counts.
    other = b"GET http://localhost/health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert stranger.talk(other).split(b" ")[1] == b"403"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "localhost:80", "127.0.0.1:1", "127.9.9.9", "[::1]:9"])
def test_names_of_this_machine_for_itself(stranger, host):
    assert stranger.request("GET", "/health", headers={"Host": host}).status_code == 200


ORIGINS = ["http://evil.example", "https://evil.example", "null", "http://localhost:3000", "file://", "x", "http://"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_page_of_another_server_is_refused(stranger, problem, origin):
    for path in PATHS:
        answer = stranger.request("GET", path, headers={"Origin": origin})
        problem(answer, 403, "foreign_origin")
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
    for path in ("/api/v1/predict", "/gradio_api/upload", "/gradio_api/queue/join"):
        problem(stranger.request("POST", path, headers={"Origin": origin}, files={"p": b"x"}), 403, "foreign_origin")
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = stranger.request("OPTIONS", path, headers=asks)
        problem(answer, 403, "foreign_origin")
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
    assert stranger.left() == []


def test_a_page_of_this_server_is_answered(stranger, picture):
    port = stranger.place[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        answer = stranger.request("POST", "/api/v1/predict", headers=headers, files={"p": picture(1)})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
    # From a page that was loaded under another of the two names.
    headers = {"Host": f"127.0.0.1:{port}", "Origin": f"http://localhost:{port}"}
    assert stranger.request("GET", "/health", headers=headers).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pictures_scripts_and_frames_of_other_pages(stranger, problem, site):
    """For these a browser sends no Origin."""
    for mode, target in (("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe"), ("navigate", "embed")):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": target}
        for path in PATHS:
            problem(stranger.request("GET", path, headers=headers), 403, "foreign_origin")
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert stranger.request("GET", "/", headers=link).status_code == 200
    problem(stranger.request("POST", "/api/v1/predict", headers=link), 403, "foreign_origin")
    typed = {**link, "Sec-Fetch-Site": "none"}
    assert stranger.request("GET", "/", headers=typed).status_code == 200


def test_a_name_and_a_page_that_were_given(open_server, picture, problem):
    for host in ("posters.example", "Posters.Example.", "posters.example:8080"):
        assert open_server.request("GET", "/health", headers={"Host": host}).status_code == 200
    assert open_server.request("GET", "/health", headers={"Host": "a.posters.example"}).status_code == 403
    # Behind a server that speaks https for it.
    behind = {"Host": "posters.example", "Origin": "https://posters.example"}
    assert open_server.request("GET", "/", headers=behind).status_code == 200
    files = {"p": picture(1)}
    answer = open_server.request("POST", "/api/v1/predict", headers={"Origin": FRIEND}, files=files)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers
    assert open_server.request("GET", "/health").headers["vary"] == "Origin"
    # A refusal can be read too; another page gets none.
    answer = open_server.request("POST", "/api/v1/predict", headers={"Origin": "http://localhost:3000"})
    problem(answer, 415, "not_multipart")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    for origin in ("https://friend.example.evil.example", "https://friend.example:444", "http://friend.example"):
        problem(open_server.request("GET", "/health", headers={"Origin": origin}), 403, "foreign_origin")
    # gradio has rules of its own for localhost, which are not told.
    answer = open_server.request("GET", "/config", headers={"Origin": FRIEND})
    assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight(open_server):
    asks = {
        "Origin": FRIEND,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-gradio-user",
        "Access-Control-Request-Private-Network": "true",
    }
    for path in ("/api/v1/predict", "/gradio_api/upload", "/health"):
        answer = open_server.request("OPTIONS", path, headers=asks)
        assert answer.status_code == 204
        said = {n.lower().removeprefix("access-control-"): v for n, v in answer.headers.items()}
        assert said["allow-origin"] == FRIEND
        assert "POST" in said["allow-methods"]
        assert said["allow-headers"] == "content-type, x-gradio-user"
        assert said["allow-private-network"] == "true"
        assert "allow-credentials" not in said


def test_all_addresses_are_ours_in_numbers_alone():
    everywhere = Access.of(["0.0.0.0"], [], [])
    assert everywhere.knows("192.0.2.7")
    assert everywhere.knows("2001:db8::1")
    assert not everywhere.knows("laptop")
    one = Access.of(["laptop.example", "192.0.2.7"], [], [])
    assert one.knows("laptop.example")
    assert one.knows("192.0.2.7")
    assert not one.knows("192.0.2.8")
    assert Access.of(["::"], [], []).knows("192.0.2.7")


@pytest.mark.parametrize("name", ["", "*", "http://a.example", "a.example:80", "a.example/b", "a b", "*.a.example"])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError, match=r"--allow-host .* such as --allow-host posters.example\.org"):
        Access.of([], [name], [])


@pytest.mark.parametrize(
    "origin", ["", "*", "null", "a.example", "ftp://a.example", "https://a.example/", "https://a b"]
)
def test_an_origin_that_is_none(origin):
    with pytest.raises(UserError, match=r"--allow-origin .* such as --allow-origin https://example\.org"):
        Access.of([], [], [origin])
    assert Access.of([], [], ["HTTPS://A.example:443"]).origins == ("https://a.example",)
