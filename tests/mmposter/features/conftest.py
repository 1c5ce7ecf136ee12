"""Small extractors that compute in no time and say what they did."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from mmposter.config import OcrConfig
from mmposter.features import parts
from mmposter.features.extract import StoredPoster
from mmposter.features.extractors import FeatureExtractor, OcrExtractor, RecordExtractor


class Colours(FeatureExtractor):
    """Mean colour (1 x 3), and as many rows as the poster is high modulo 3 (ragged, also none).

    Its record also holds the size of the batch and the first poster's red, as the last bit of a real model's may
    depend on the batch.

    Args:
        chokes_on: poster heights that make it raise.
        stops_at: number of the call that raises KeyboardInterrupt, from 1.
        log: a file that gets one line a batch, after computing.
        pause: seconds that a batch takes.
    """

    name: ClassVar[str] = "colours"

    def __init__(
        self,
        setting: int = 1,
        *,
        chokes_on: Sequence[int] = (),
        stops_at: int | None = None,
        log: Path | None = None,
        pause: float = 0.0,
    ) -> None:
        self.setting, self.chokes_on, self.stops_at = setting, chokes_on, stops_at
        self.log, self.pause = log, pause
        self.starts, self.calls = 0, 0
        self.batches: list[list[int]] = []

    def fingerprint(self) -> dict[str, Any]:
        return {"version": 1, "setting": self.setting}

    def start(self) -> None:
        self.starts += 1

    def metadata(self) -> dict[str, Any]:
        return {"class_names": ["red", "green", "blue"]}

    def __call__(self, batch: Sequence[Any]) -> list[dict[str, Any]]:
        self.calls += 1
        if self.calls == self.stops_at:
            raise KeyboardInterrupt
        if any(poster.shape[0] in self.chokes_on for poster in batch):
            raise RuntimeError("this one is too tall")
        self.batches.append([poster.shape[0] for poster in batch])
        time.sleep(self.pause)
        if self.log is not None:
            marks = ",".join(hashlib.sha256(poster.tobytes()).hexdigest()[:12] for poster in batch)
            handle = os.open(self.log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
            os.write(handle, f"{os.getpid()} {marks}\n".encode())  # one write: a kill cuts no line
            os.close(handle)
        together = np.array([[len(batch), batch[0][..., 0].mean()]], np.float32)
        return [
            {
                "mean": poster.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)[None] * self.setting,
                "rows": np.full((poster.shape[0] % 3, 2), poster.shape[0], np.int64),
                "batch": together,
            }
            for poster in batch
        ]

    @property
    def seen(self) -> int:
        return sum(map(len, self.batches))

    def empty(self) -> dict[str, Any] | None:
        return None

    def collate(self, records: Sequence[Any]) -> dict[str, torch.Tensor]:
        return {"colours.mean": torch.from_numpy(np.concatenate([record["mean"] for record in records]))}


class Lightness(RecordExtractor, FeatureExtractor):
    """The mean of the source's mean, and the size of the batch; a poster that could not be computed counts as black."""

    name: ClassVar[str] = "lightness"

    def __init__(self, source: Colours) -> None:
        self.source, self.seen = source, 0

    def fingerprint(self) -> dict[str, Any]:
        return {"source": self.source.fingerprint()}

    def start(self) -> None:
        pass

    def __call__(self, batch: Sequence[Any]) -> list[dict[str, Any]]:
        self.seen += len(batch)
        mates = np.array([len(batch)])
        return [{"value": record["mean"].mean(axis=1), "mates": mates} for record in batch]

    def empty(self) -> dict[str, Any]:
        return {"value": np.zeros(1, np.float32), "mates": np.zeros(1, np.int64)}

    def collate(self, records: Sequence[Any]) -> dict[str, torch.Tensor]:
        return {"lightness.value": torch.from_numpy(np.concatenate([record["value"] for record in records]))}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Parts of four posters, so that few posters are many parts."""
    monkeypatch.setattr(parts, "SIZE", 4)
    return parts.SIZE


@pytest.fixture
def colours() -> type[Colours]:
    return Colours


@pytest.fixture
def lightness() -> type[Lightness]:
    return Lightness


@pytest.fixture
def as_posters() -> Callable[[Sequence[Path]], list[StoredPoster]]:
    def make(paths: Sequence[Path]) -> list[StoredPoster]:
        return [StoredPoster(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]

    return make


@pytest.fixture
def make_posters(poster_files, as_posters) -> Callable[[int], list[StoredPoster]]:
    return lambda count: as_posters(poster_files(count))


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    return list(first) == list(second) and all(
        first[key].dtype == second[key].dtype and np.array_equal(first[key], second[key]) for key in first
    )


@pytest.fixture
def assert_same_records() -> Callable[[Sequence[Any], Sequence[Any]], None]:
    def check(first: Sequence[Any], second: Sequence[Any]) -> None:
        assert len(first) == len(second)
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            assert _same(one, other), f"record {number}: {one} and {other}"

    return check


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OcrExtractor:
    """The reader of text over files that only have the right names: it is not started."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("craft_mlt_25k.pth", "english_g2.pth"):
        (folder / name).write_text(name)
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(folder))
    return OcrExtractor(OcrConfig(), device="cpu", offline=True)
