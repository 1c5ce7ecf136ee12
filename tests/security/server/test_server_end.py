"""However the server is told to end, no upload is left on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

# A server that keeps uploads; its model takes as many seconds for a poster as are said.
SERVER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from mmposter.serve import ServeSettings, create_app, server
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.uploads import Uploads

def predict(posters, **_):
    if not isinstance(posters, list):
        return
    print("begun", flush=True)
    time.sleep(float(sys.argv[2]))

classifier = SimpleNamespace(run=SimpleNamespace(folder=Path("slow")), genres=("A",), branches=("cnn",), left_out=(),
                             thresholds=lambda branches=None: {"A": 0.5}, predict=predict)
server.FINISH_S = float(sys.argv[3])
settings = ServeSettings()
with server.signals_to(server.interrupt), server.bind("127.0.0.1", 0) as listening:
    if sys.argv[1] == "page":
        from mmposter.serve.gradio_page import add_page
        app = create_app(classifier, settings, add_page)
    else:
        app = create_app(classifier, settings)
        app.state.uploads = Uploads(settings)
    app.state.uploads.keep([UploadedPoster(name, b"a poster") for name in "abc"])
    print(server.address_of(listening), flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
    server.run(app, app.state.worker, listening)
"""


class Server:
    """A process, and the folder in which it may keep temporary files."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder
        assert process.stdout is not None
        self.address = process.stdout.readline().strip()
        [kept] = folder.glob("mmposter-serve-*/posters")
        words = sorted(os.listdir(kept))
        assert len(words) == 3
        # A folder where a file was meant, with something in it.
        (kept / words[0]).unlink()
        (kept / words[0]).mkdir()
        (kept / words[0] / "more").write_bytes(b"x")

    def wait_until_ready(self) -> None:
        while True:
            with suppress(requests.ConnectionError):
                if requests.get(self.address + "/health", timeout=20).ok:
                    return
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """The exit code, and what was said, when it has ended; nothing is left."""
        _, said = self.process.communicate(timeout=30)
        assert os.listdir(self.folder) == []
        return self.process.returncode, said


@contextmanager
def started(folder: Path, kind: str, seconds: float, finish: float) -> Iterator[Server]:
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, kind, str(seconds), str(finish)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield Server(process, folder)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def working(server: Server) -> Iterator[None]:
    """The model is at work on a request."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.post, server.address + "/api/v1/predict", files={"p": b"a poster"}, timeout=30)
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "begun\n"
        yield
        answer.exception()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("bare", signal.SIGTERM),
        pytest.param("bare", signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param("page", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("page", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_every_signal_ends_alike(tmp_path, kind, number):
    with started(tmp_path, kind, 0, 5) as server:
        server.wait_until_ready()
        server.process.send_signal(number)
        code, said = server.end()
        assert code == 0
        assert "stopping: requests in work are finished first" in said
        assert said.endswith("stopped\n")
        assert "Traceback" not in said


def test_a_second_signal_leaves_nothing_either(tmp_path):
    with started(tmp_path, "bare", 60, 50) as server, working(server):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.end()[0] == 130


def test_a_model_that_does_not_end(tmp_path):
    """Python's own end is left out then."""
    with started(tmp_path, "bare", 60, 0.2) as server, working(server):
        server.process.send_signal(signal.SIGTERM)
        assert server.end()[0] == 0


def test_a_signal_before_the_server_listens(tmp_path):
    with started(tmp_path, "wait", 0, 5) as server:
        server.process.send_signal(signal.SIGTERM)
        code, said = server.end()
        assert code == -signal.SIGINT  # what Python makes of an interrupt; the command makes 130 of it
        assert "KeyboardInterrupt" in said
