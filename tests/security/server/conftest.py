"""The page and the REST interface as they run, in front of a model that needs no time, and a stranger with a socket."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from PIL import Image

pytest.importorskip("gradio")

from mmposter.errors import BadImageError
from mmposter.images.reading import load_image
from mmposter.inference.classifier import Prediction
from mmposter.serve import Access, ServeSettings, create_app
from mmposter.serve.gradio_page import add_page
from mmposter.serve.server import address_of, bind, configuration

API = "/gradio_api/"


class FakeClassifier:
    """Every picture gets the same scores."""

    genres, branches, left_out = ("Drama", "Horror"), ("cnn", "style"), ()
    run = SimpleNamespace(folder=Path("fake"))

    def thresholds(self, branches=None) -> dict[str, float]:
        return {"Drama": 0.5, "Horror": 0.5}

    def predict(self, posters, *, branches=(), threads=None) -> list[Prediction]:
        scores = {"Drama": 0.75, "Horror": 0.25}
        if isinstance(posters, Image.Image):
            return [Prediction(None, [], scores)]
        found = []
        for data in posters:
            try:
                load_image(data)
                found.append(Prediction(None, ["Drama"], scores))
            except BadImageError as error:
                found.append(Prediction(None, error=f"{error.reason}: {error}"))
        return found

    def explain(self, posters, *, branches, genres) -> list[Any]:
        raise RuntimeError("this model explains nothing")


class Stranger:
    """A running server, and what one may send it."""

    def __init__(self, address: str, app) -> None:
        self.address, self.app = address, app
        host, port = address.removeprefix("http://").split(":")
        self.place = host, int(port)
        self.folder: Path = app.state.uploads.folder

    def request(self, method: str, path: str, **more) -> requests.Response:
        return requests.request(method, self.address + path, timeout=20, **more)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.place, timeout=20)

    def talk(self, *pieces: bytes) -> bytes:
        """What comes back for these bytes, up to the end of the connection."""
        with self.connect() as connection:
            with suppress(OSError):
                for piece in pieces:
                    connection.sendall(piece)
            return read_all(connection)

    def upload(self, *files: bytes) -> requests.Response:
        named = [("files", (f"{number}.png", data)) for number, data in enumerate(files)]
        return self.request("POST", API + "upload", files=named)

    def events(self) -> dict[int, list[str]]:
        """Each event of the page, with the names of what it sends."""
        config = self.request("GET", "/config").json()
        names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        return {event["id"]: [names[part] for part in event["inputs"]] for event in config["dependencies"]}

    def data(self, event: int, files: Any, **more: Any) -> list[Any]:
        """What a browser sends with an event."""
        values = {"posters": files, "branches": ["cnn"], "which": 0, "genre": None, **more}
        return [values[name] for name in self.events()[event]]

    def join(self, event: int, data: Any, session: str | None = None) -> requests.Response:
        body = {"data": data, "fn_index": event, "session_hash": session or uuid.uuid4().hex[:11], "event_data": None}
        return self.request("POST", API + "queue/join", json=body)

    def ask(self, event: int, files: Any, **more: Any) -> str:
        """The whole answer to an event."""
        session = uuid.uuid4().hex[:11]
        joined = self.join(event, self.data(event, files, **more), session)
        assert joined.status_code == 200, joined.text
        path = f"{API}queue/data?session_hash={session}"
        with self.request("GET", path, stream=True) as answer:
            for line in answer.iter_lines():
                message = json.loads(line.removeprefix(b"data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    assert message["success"], message
                    return json.dumps(message["output"], ensure_ascii=False)
        raise AssertionError("no answer")

    def metric(self, name: str) -> float:
        lines = self.request("GET", "/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"mmposter_{name} "))

    def left(self) -> list[str]:
        """What lies on disk."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


def read_all(connection: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


@contextmanager
def serving(settings: ServeSettings, access: Access | None) -> Iterator[Stranger]:
    import uvicorn

    classifier = FakeClassifier()
    app = create_app(classifier, settings, add_page, access)
    with bind("127.0.0.1", 0) as listening:
        config = configuration(app)
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            wait_for(lambda: app.state.worker.state == "ready" and server.started)
            yield Stranger(address_of(listening), app)
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()


def wait_for(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_for


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[..., Stranger]]:
    """Starts servers with the given limits; they run until the module ends."""
    with ExitStack() as stack:

        def start(access: Access | None = None, **limits) -> Stranger:
            return stack.enter_context(serving(ServeSettings(**limits), access))

        yield start


@pytest.fixture(scope="module")
def stranger(start_server) -> Stranger:
    """A server for many tests that leave it as it was."""
    return start_server(max_posters=4, max_mb=0.1, queue=8)


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Small PNG files, a different one for each number."""

    def make(number: int, size: tuple[int, int] = (40, 60)) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", size, (number % 256, number // 256, 7)).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def problem() -> Callable[..., dict[str, Any]]:
    """The error of an answer, after what holds for every one."""

    def check(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert list(error) == ["code", "message", "allowed"]
        assert error["code"] == code
        assert len(error["message"]) > 10
        assert "Traceback" not in answer.text
        return error

    return check
