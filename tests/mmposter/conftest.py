"""A tiny prepared data set whose four branches can be trained without a detector, a download or a real poster; and a
server of posters on loopback.

Pictures are real files and go through a real (small, random) backbone. What YOLO and EasyOCR would have seen lies in
the feature store already, under the fingerprints of dummy weight files, so neither library is ever started.
"""

from __future__ import annotations

import hashlib
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmposter.config import Config, load_config
from mmposter.data import Dataset, write_dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.features.extractors import build_extractors
from mmposter.features.store import ExtractorStore

GENRES = ("Bright", "Crowded", "Wordy", "Rare")
CLASSES = ["person", "dog", "horse"]
TEXT_DIM = 8
# Quick settings: a small network on small pictures, and too few epochs to be good.
TINY = (
    "cnn.backbone=mobilenet_v3_small",
    "cnn.init=none",
    "cnn.size=[64,48]",
    "style.reduced=8",
    "ocr.buckets=256",
    "ocr.reader=easyocr",  # of which files that stand in will do
    "train.epochs=3",
    "train.batch_size=16",
    "evaluation.bootstrap=100",
    "fusion.hidden=16",
)


@dataclass(frozen=True)
class World:
    """The data set, the overrides that read it, and the weights folder that stands in for the real one."""

    dataset: Dataset
    overrides: tuple[str, ...]

    def config(self, *more: str, **direct: Any) -> Config:
        return load_config(None, [*self.overrides, *more], **direct)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """64 posters: Bright shows in the picture, Crowded in the boxes, Wordy in the text, Rare nowhere."""
    return make_world(tmp_path, monkeypatch.setenv)


@pytest.fixture
def world_of(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Makes worlds of another size, or drawn with another seed."""
    return lambda count, seed=0: make_world(tmp_path_factory.mktemp("world"), monkeypatch.setenv, count, seed)


@pytest.fixture(scope="session", name="make_world")
def make_world_fixture() -> Callable[..., World]:
    """For fixtures that make a world once for many tests."""
    return make_world


def make_world(folder: Path, setenv: Callable[[str, str], None], count: int = 64, seed: int = 0) -> World:
    weights = folder / "weights"
    weights.mkdir()
    for name in ("craft_mlt_25k.pth", "english_g2.pth", "model.safetensors", "tokenizer.json", "yolo11n.pt"):
        (weights / name).write_bytes(b"stands in for " + name.encode())
    (weights / "tokenizer_config.json").write_text("{}")
    (weights / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": TEXT_DIM}))
    setenv("MMPOSTER_WEIGHTS", str(weights))
    rng = np.random.default_rng(seed)
    labels = rng.random((count, len(GENRES))) < np.array([0.5, 0.5, 0.5, 0.1])
    labels[~labels.any(axis=1), 0] = True
    dataset = _write_posters(folder, labels, rng)
    config = load_config(None, TINY)
    extractors = build_extractors(config, ["yolo", "ocr"], offline=True)
    hashes = list(dataset.table["sha256"])
    yolo = extractors["yolo"].feature
    store = ExtractorStore(dataset.features_folder, yolo.name, yolo.fingerprint())
    store.describe({"class_names": CLASSES})
    store.write({sha: _boxes(row[1], rng) for sha, row in zip(hashes, labels, strict=True)})
    reader, text = extractors["ocr"].steps
    nothing = {"quads": np.zeros((0, 4, 2), np.float32), "confidences": np.zeros(0, np.float32)}
    empty = {**nothing, "text": np.zeros(0, np.uint8)}
    ExtractorStore(dataset.features_folder, reader.name, reader.fingerprint()).write(dict.fromkeys(hashes, empty))
    store = ExtractorStore(dataset.features_folder, text.name, text.fingerprint())
    store.describe({"embedding_dim": TEXT_DIM})
    store.write({sha: _lines(row[2], rng) for sha, row in zip(hashes, labels, strict=True)})
    return World(dataset, TINY)


def _write_posters(folder: Path, labels: np.ndarray, rng: np.random.Generator) -> Dataset:
    posters = folder / "posters"
    posters.mkdir()
    rows = []
    for index, row in enumerate(labels):
        picture = rng.integers(0, 90, (72, 48, 3), dtype=np.uint8) + np.uint8(150 if row[0] else 0)
        path = posters / f"film{index:03}.png"
        Image.fromarray(picture).save(path)
        genres = [genre for genre, on in zip(GENRES, row, strict=True) if on]
        rows.append(
            {
                "id": path.stem,
                "path": path.name,
                "title": f"Film {index}",
                "year": 2000,
                "genres": genres,
                "raw_genres": genres,
                "actors": [],
                "split": ("train", "train", "val", "test")[index % 4],
                "group": path.stem,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "width": 48,
                "height": 72,
            }
        )
    data = folder / "data"
    write_dataset(data, pd.DataFrame(rows), Vocabulary("tiny", GENRES, {}), {"root": str(posters)})
    return Dataset.load(data)


def _boxes(crowded: bool, rng: np.random.Generator) -> dict[str, np.ndarray]:
    count = int(rng.integers(4, 9)) if crowded else int(rng.integers(0, 2))
    corner = rng.random((count, 2)) * 0.5
    return {
        "boxes": np.concatenate([corner, corner + 0.3], axis=1).astype(np.float32),
        "scores": np.sort(rng.random(count))[::-1].astype(np.float32),
        "labels": rng.integers(0, len(CLASSES), count),
    }


def _lines(wordy: bool, rng: np.random.Generator) -> dict[str, np.ndarray]:
    count = int(rng.integers(1, 5)) if wordy or rng.random() < 0.5 else 0
    vectors = rng.normal(size=(count, TEXT_DIM))
    vectors[:, 0] += 6.0 if wordy else 0.0
    return {"embeddings": vectors.astype(np.float32), "geometry": rng.random((count, 5)).astype(np.float32)}


def kind_of(path: str) -> str:
    return path.rpartition("/")[2].split("?")[0].rpartition("-")[0]


class PosterServer:
    """A server on loopback that holds some posters and fails on the others in the way their names say.

    ``/good-7.jpg`` is a poster, ``/404-7.jpg`` is answered 404, and so on: the word before the last hyphen chooses.
    """

    def __init__(self, picture: Callable[[str], bytes]) -> None:
        self.picture, self.kind = picture, kind_of
        self.log: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.delay, self.busy, self.busiest = 0.0, 0, 0
        self.retry_after = "0"
        self.released = threading.Event()  # ends what hangs, so that a test's end waits for nobody
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes: the second would wait for 40 ms

            def do_GET(self) -> None:
                with outer._lock:
                    outer.log.append(self.path)
                    outer.headers.append(dict(self.headers))
                    outer.busy += 1
                    outer.busiest = max(outer.busiest, outer.busy)
                    count = outer.log.count(self.path)
                try:
                    time.sleep(outer.delay)
                    outer.answer(self, self.path, count)
                except OSError:
                    pass  # the client has gone, as it should from some answers
                finally:
                    with outer._lock:
                        outer.busy -= 1

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False  # connections are kept open, and nobody waits for their end
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def times(self, path: str) -> int:
        return self.log.count(path)

    def answer(self, handler: BaseHTTPRequestHandler, path: str, count: int) -> None:
        kind, data = self.kind(path), self.picture(path)

        def send(status: int, body: bytes = b"", length: int | None = len(data), **headers: str) -> None:
            handler.send_response(status)
            if length is not None:
                handler.send_header("Content-Length", str(length))
            else:
                handler.send_header("Connection", "close")
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)
            handler.wfile.flush()

        whole = len(data)
        if kind in ("500once", "429once", "429date", "resetonce", "cutonce") and count > 1:
            kind = "good"
        if kind == "good":
            send(200, data)
        elif kind.isdecimal():
            send(int(kind), b"no", 2)
        elif kind == "500once":
            send(500, b"no", 2)
        elif kind == "429once":
            send(429, b"no", 2, Retry_After=self.retry_after)
        elif kind in ("reset", "resetonce"):
            # Linger of no time: the system sends a reset in place of an orderly end.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.rfile.close()
            handler.wfile.close()
            handler.connection.close()
            handler.close_connection = True
        elif kind == "silent":
            self.released.wait(30)
            handler.close_connection = True
        elif kind in ("cut", "cutonce"):
            send(200, data[: whole // 2])
            handler.close_connection = True
        elif kind == "cutnolength":
            send(200, data[: whole // 2], None)
            handler.close_connection = True
        elif kind == "cutchunked":
            send(200, b"%x\r\n" % whole + data[: whole // 2], None, Transfer_Encoding="chunked")
            handler.close_connection = True
        elif kind == "nolength":
            send(200, data, None)
            handler.close_connection = True
        elif kind == "html":
            send(200, b"<html>gone</html>", 17, Content_Type="text/html; charset=utf-8")
        elif kind == "empty":
            send(200, b"", 0)
        elif kind == "toolong":
            send(200, data, whole + 100)
            handler.close_connection = True
        elif kind == "tooshort":
            send(200, data, whole - 200)
        elif kind == "loop":
            send(302, b"", 0, Location=path)
        elif kind == "moved":
            send(301, b"", 0, Location=path.replace("moved", "good"))
        elif kind == "tofile":
            send(302, b"", 0, Location="file:///etc/passwd")
        elif kind == "huge":
            send(200, b"", None)
            while not self.released.is_set():
                handler.wfile.write(bytes(65536))
        elif kind == "saidhuge":
            send(200, b"", 10**12)
            self.released.wait(30)
        elif kind == "trickle":
            send(200, b"", whole)
            for place in range(whole):
                if self.released.wait(0.01):
                    break
                handler.wfile.write(data[place : place + 1])
            handler.close_connection = True
        else:
            raise AssertionError(f"no such kind of answer: {path}")


@pytest.fixture
def poster_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PosterServer]:
    """Every path is another picture; loopback is asked directly, whatever proxy this machine has."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def picture(path: str) -> bytes:
        values = np.random.default_rng(zlib.crc32(path.encode())).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(values).resize((48, 64), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        return stream.getvalue()

    server = PosterServer(picture)
    yield server
    server.close()
