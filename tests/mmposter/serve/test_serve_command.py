"""`mmposter serve` as a process: what a person may get wrong, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from mmposter import UserError
from mmposter.cli import serve
from mmposter.serve import create_app
from mmposter.serve.server import address_of, bind, is_loopback, run
from mmposter.training.train import train

# A server whose model takes as many seconds for a poster as are said; ready when it prints its address.
SLOW = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from mmposter.serve import create_app, server

def predict(posters, **_):
    if isinstance(posters, list):
        print("begun", flush=True)
        time.sleep(float(sys.argv[1]))
        return [SimpleNamespace(genres=["A"], scores={"A": 1.0}, error=None, saw_nothing=(),
                                to_json=lambda: {"scores": {"A": 1.0}}) for _ in posters]

classifier = SimpleNamespace(run=SimpleNamespace(folder=Path("slow")), genres=("A",), branches=("cnn",), left_out=(),
                             thresholds=lambda branches=None: {"A": 0.5}, predict=predict)
server.FINISH_S = float(sys.argv[2])
with server.bind("127.0.0.1", 0) as listening:
    app = create_app(classifier)
    print(server.address_of(listening), flush=True)
    server.run(app, app.state.worker, listening)
"""


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that is not left behind."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    started = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@contextmanager
def slow_server(seconds: float, finish: float) -> Iterator[tuple[subprocess.Popen[str], ThreadPoolExecutor, object]]:
    """A slow server with one request in work: the process, and the future of its answer."""
    with process("-c", SLOW, str(seconds), str(finish)) as started, ThreadPoolExecutor(1) as pool:
        assert started.stdout is not None
        address = started.stdout.readline().strip()
        answer = pool.submit(requests.post, f"{address}/api/v1/predict", files={"p": b"a poster"}, timeout=30)
        assert started.stdout.readline() == "begun\n"
        yield started, answer


def test_ctrl_c_finishes_what_is_in_work():
    with slow_server(0.5, 10) as (started, answer):
        started.send_signal(signal.SIGINT)
        assert answer.result().json()["posters"][0]["genres"] == ["A"]
        _, err = started.communicate(timeout=30)
        assert started.returncode == 0
        assert "stopping: requests in work are finished first" in err
        assert err.endswith("stopped\n")
        assert "Traceback" not in err


def test_what_takes_too_long_is_told_that_the_server_stops():
    with slow_server(60, 0.2) as (started, answer):
        started.send_signal(signal.SIGINT)
        assert (answer.result().status_code, answer.result().json()["error"]["code"]) == (503, "stopping")
        _, err = started.communicate(timeout=30)
        assert started.returncode == 0
        assert "Traceback" not in err


def test_a_second_ctrl_c_ends_at_once():
    with slow_server(60, 50) as (started, answer):
        started.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert started.poll() is None
        begun = time.monotonic()
        started.send_signal(signal.SIGINT)
        started.communicate(timeout=30)
        assert started.returncode == 130
        assert time.monotonic() - begun < 10
        assert isinstance(answer.exception(), requests.ConnectionError)


def test_a_model_that_cannot_be_loaded_ends_the_server(unloadable):
    app = create_app(unloadable)
    with bind("127.0.0.1", 0) as listening, pytest.raises(UserError, match="ocr branch are of another kind"):
        run(app, app.state.worker, listening)


def test_a_port_that_is_taken():
    with bind("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127\.0\.0\.1 is taken.*--port {port + 1}"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1"])
def test_a_host_that_is_not_here(host):
    with pytest.raises(UserError, match=rf"--host {host} is no address of this machine"):
        bind(host, 0)


def test_addresses():
    with bind("127.0.0.1", 0) as found:
        assert is_loopback(found)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address_of(found))
    with bind("0.0.0.0", 0) as found:
        assert not is_loopback(found)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address_of(found))
    if socket.has_ipv6:
        with bind("::1", 0) as found:
            assert is_loopback(found)
            assert re.fullmatch(r"http://\[::1\]:\d+", address_of(found))


def test_a_missing_extra_says_what_to_type(monkeypatch):
    monkeypatch.setattr(serve, "_LIBRARIES", ("fastapi", "no_such_library"))
    with pytest.raises(UserError, match=r"needs no_such_library; type: pip install 'mmposter\[serve\]'"):
        serve.serve_command(model="nowhere")


@pytest.mark.slow
def test_the_whole_command(world, tmp_path):
    train(
        world.config("train.epochs=1", branches="cnn,style"), world.dataset, tmp_path / "run", offline=True, quiet=True
    )
    poster = world.dataset.image_path(0)
    command = (
        "-m",
        "mmposter",
        "serve",
        "--model",
        str(tmp_path / "run"),
        "--port",
        "0",
        "--offline",
        "--device",
        "cpu",
    )
    with process(*command) as started:
        assert started.stderr is not None
        line = started.stderr.readline()
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+)  \(REST interface: \1/docs\)\n", line)[1]
        files = {"posters": (poster.name, poster.read_bytes())}
        entry = requests.post(address + "/api/v1/predict", files=files, timeout=60).json()["posters"][0]
        assert set(entry["scores"]) == set(world.dataset.vocabulary.genres)
        assert entry["error"] is None
        assert requests.get(address + "/health", timeout=60).json() == {"status": "ready"}
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=30)
    assert (started.returncode, out) == (0, "")
    assert err.endswith("stopped\n")
    with process("-m", "mmposter", "serve", "--model", str(tmp_path / "nowhere")) as started:
        _, err = started.communicate(timeout=60)
        assert started.returncode == 2
        assert "is no run folder" in err
        assert "Traceback" not in err
