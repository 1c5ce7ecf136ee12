"""A tiny prepared data set whose four branches can be trained without a detector, a download or a real poster.

Pictures are real files and go through a real (small, random) backbone. What YOLO and EasyOCR would have seen lies in
the feature store already, under the fingerprints of dummy weight files, so neither library is ever started.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
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
