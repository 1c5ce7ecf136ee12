"""A server as it runs, on a free port of this machine, in front of a model that needs no time."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from PIL import Image

from mmposter.errors import BadImageError, UserError
from mmposter.images.reading import load_image
from mmposter.inference.classifier import Prediction
from mmposter.serve import ServeSettings, create_app
from mmposter.serve.server import address_of, bind, configuration

GENRES = ("Comedy", "Drama", "Horror")
BRANCHES = ("cnn", "style")
THRESHOLD = 0.5


def scores_of(data: bytes, branches: Sequence[str] = BRANCHES) -> dict[str, float]:
    """What the fake model says: numbers that only this very file and these branches give."""
    digest = hashlib.sha256(data + ",".join(branches).encode()).digest()
    return {genre: digest[index] / 256 for index, genre in enumerate(GENRES)}


class FakeClassifier:
    """As `PosterClassifier`; pictures are decoded, the scores are made up from the bytes."""

    genres, branches, left_out = GENRES, BRANCHES, ()
    run = SimpleNamespace(folder=Path("fake"))

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.open = threading.Event()  # closed: the model takes for ever
        self.open.set()
        self.busy = threading.Event()
        self.poison: bytes | None = None  # a poster on which the model raises, for the whole batch
        self.broken: Exception | None = None  # cannot be loaded

    def thresholds(self, branches: Sequence[str] | None = None) -> dict[str, float]:
        return dict.fromkeys(GENRES, THRESHOLD)

    def predict(self, posters, *, branches=BRANCHES, threads=None) -> list[Prediction]:
        self.threads.add(threading.current_thread().name)
        if isinstance(posters, Image.Image):  # the first one, which only loads
            if self.broken is not None:
                raise self.broken
            return [Prediction(None, [], dict.fromkeys(GENRES, 0.0))]
        self.batches.append(len(posters))
        self.busy.set()
        assert self.open.wait(20)
        if self.poison in posters:
            raise ValueError("a secret of the server")
        return [self._one(poster, branches) for poster in posters]

    def _one(self, data: bytes, branches: Sequence[str]) -> Prediction:
        try:
            load_image(data)
        except BadImageError as error:
            return Prediction(None, error=f"{error.reason}: {error}")
        scores = scores_of(data, branches)
        return Prediction(None, [genre for genre, score in scores.items() if score >= THRESHOLD], scores)


class Served:
    """A running server and its model."""

    def __init__(self, address: str, classifier: FakeClassifier, app) -> None:
        self.address, self.classifier, self.app = address, classifier, app
        self.worker = app.state.worker

    def get(self, path: str) -> requests.Response:
        return requests.get(self.address + path, timeout=20)

    def post(self, *files: bytes, path: str = "/api/v1/predict", **more) -> requests.Response:
        named = [("posters", (f"{number}.png", data)) for number, data in enumerate(files)]
        return requests.post(self.address + path, files=named, timeout=20, **more)


@contextmanager
def serving(app, until: str = "ready") -> Iterator[str]:
    """Run an application under uvicorn in a thread."""
    import uvicorn

    with bind("127.0.0.1", 0) as listening:
        config = configuration(app)
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            wait_for(lambda: app.state.worker.state == until)
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


def wait_for(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_for


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts servers with the given limits."""
    with ExitStack() as stack:

        def start(**limits) -> Served:
            classifier = FakeClassifier()
            app = create_app(classifier, ServeSettings(**limits))
            stack.callback(classifier.open.set)
            return Served(stack.enter_context(serving(app)), classifier, app)

        yield start


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One server for many tests that leave it as it was."""
    classifier = FakeClassifier()
    app = create_app(classifier, ServeSettings(max_posters=4, max_mb=0.02, queue=8))
    with serving(app) as address:
        yield Served(address, classifier, app)


@pytest.fixture(scope="session")
def serve_app() -> Callable[..., AbstractContextManager[str]]:
    """Runs an application; what is entered gives its address."""
    return serving


@pytest.fixture
def expected_scores() -> Callable[..., dict[str, float]]:
    return scores_of


@pytest.fixture
def picture() -> Callable[[int], bytes]:
    """Small PNG files, a different one for each number."""

    def make(number: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (40, 60), (number % 256, number // 256, 7)).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture
def unloadable() -> FakeClassifier:
    """A model whose files are no good."""
    classifier = FakeClassifier()
    classifier.broken = UserError("the files of the ocr branch are of another kind")
    return classifier
