"""Sixty-four posters with raw genres: real ones where they are beside the checkout, drawn ones elsewhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmposter.config import load_config
from mmposter.data import Dataset, prepare
from mmposter.data.sources import read_source
from mmposter.features.extractors import build_extractors
from mmposter.features.store import ExtractorStore

COUNT = 64
SHARED = Path(__file__).resolve().parents[4] / "shared"
CLASSES = [f"class {number}" for number in range(80)]
RAW = ("Drama", "Comedy", "Action", "Romance", "Crime", "Horror", "Documentary", "Western")


@pytest.fixture(scope="session")
def posters(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The prepared posters, with what YOLO would have seen in the feature store (under a dummy weights file)."""
    folder = tmp_path_factory.mktemp("published")
    rows = _real(SHARED / "data" / "ccu") if (SHARED / "data" / "ccu").is_dir() else _drawn(folder)
    with (folder / "posters.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "image", "genres", "title", "year"), *rows])
    data = folder / "data"
    prepare(folder / "posters.csv", data, format="csv", vocabulary="raw28", ratios=(0.6, 0.2, 0.2), quiet=True)
    dataset = Dataset.load(data)
    (folder / "yolo.pt").write_bytes(b"stands in for YOLO")
    _fill(dataset, folder / "yolo.pt")
    return dataset


@pytest.fixture(scope="session")
def yolo_override(posters: Dataset) -> str:
    """The setting under which the boxes are in the store."""
    return f"yolo.model={posters.folder.parent / 'yolo.pt'}"


def _real(ccu: Path) -> list[tuple[object, ...]]:
    found = [row for row in read_source(ccu, "ccu").rows if row.path is not None and row.genres]
    chosen = found[:: len(found) // COUNT][:COUNT]
    return [(row.id, row.path, "|".join(row.genres), row.title, row.year) for row in chosen]


def _drawn(folder: Path) -> list[tuple[object, ...]]:
    rng = np.random.default_rng(0)
    rows: list[tuple[object, ...]] = []
    for number in range(COUNT):
        path = folder / f"film{number:02}.png"
        Image.fromarray(rng.integers(0, 256, (180, 160, 3), dtype=np.uint8)).save(path)
        genres = rng.choice(RAW, size=rng.integers(1, 4), replace=False)
        rows.append((path.stem, path, "|".join(genres), f"Film {number}", 1990 + number % 20))
    return rows


def _fill(dataset: Dataset, weights: Path) -> None:
    """Boxes into the store: those that YOLO11n saw on real posters, made-up ones on drawn ones."""
    config = load_config("published/p5/joined", [f"yolo.model={weights}"])
    yolo = build_extractors(config, ["yolo"], offline=True)["yolo"].feature
    store = ExtractorStore(dataset.features_folder, yolo.name, yolo.fingerprint())
    store.describe({"class_names": CLASSES})
    boxes_of = _reference(SHARED / "data" / "reference" / "yolo11n_448.jsonl")
    store.write({sha: boxes_of(name) for name, sha in zip(dataset.table["id"], dataset.table["sha256"], strict=True)})


def _reference(path: Path) -> Callable[[str], dict[str, np.ndarray]]:
    if not path.is_file():
        rng = np.random.default_rng(1)
        corner = rng.random((3, 2)) * 0.5
        same = {
            "boxes": np.concatenate([corner, corner + 0.3], axis=1).astype(np.float32),
            "scores": np.array([0.9, 0.5, 0.2], np.float32),
            "labels": np.array([0, 1, 2]),
        }
        return lambda name: same
    lines = {line["id"]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}

    def record(name: str) -> dict[str, np.ndarray]:
        line = lines[name]
        centre = np.array(line["xywhn"], np.float32).reshape(-1, 4)
        corner = centre[:, :2] - centre[:, 2:] / 2
        return {
            "boxes": np.concatenate([corner, corner + centre[:, 2:]], axis=1).clip(0, 1),
            "scores": np.array(line["confidence"], np.float32),
            "labels": np.array(line["class"], np.int64),
        }

    return record
