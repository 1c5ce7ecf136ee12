"""A tiny data set with records of all four branches that no model computed, and its pack."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mmposter.config import Config, load_config
from mmposter.data import Dataset
from mmposter.features.extractors import build_extractors
from mmposter.features.store import ExtractorStore, Failure
from mmposter.packs.write import write_pack

CHANNELS, SIDE = 24, 8
UNUSABLE = 5
"""The row of a poster that the image network could not compute."""


@dataclass(frozen=True)
class Prepared:
    """Data with their records, the overrides behind these, and the folder of the dummy weight files."""

    dataset: Dataset
    overrides: tuple[str, ...]
    weights: Path


@dataclass(frozen=True)
class Packed:
    """The data, the pack of them, and what to override to read it; all weight files lie in `weights`, out of sight."""

    dataset: Dataset
    overrides: tuple[str, ...]
    file: Path
    weights: Path

    def config(self, *more: str, **direct) -> Config:
        return load_config(None, [*self.overrides, *more], **direct)


@pytest.fixture(scope="session")
def prepared_once(make_world, tmp_path_factory) -> Prepared:
    """The world, with records of cnn and style behind a tower file; it is no network, as nobody loads it."""
    folder = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv)
        tower = folder / "weights" / "tower.safetensors"
        save_file({"weight": np.zeros(1, np.float32)}, tower, metadata={"mmposter_weights": "trained-elsewhere"})
        overrides = (*(text for text in world.overrides if not text.startswith("cnn.init")), f"cnn.init={tower}")
        extractors = build_extractors(load_config(None, overrides), ["cnn", "style"], offline=True)
    _write_records(world.dataset, extractors)
    return Prepared(world.dataset, overrides, folder / "weights")


@pytest.fixture
def prepared(prepared_once, monkeypatch) -> Prepared:
    """On the machine that made the records; not to be written into."""
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(prepared_once.weights))
    return prepared_once


@pytest.fixture(scope="session")
def packed_once(prepared_once, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("pack") / "tiny.mmpack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMPOSTER_WEIGHTS", str(prepared_once.weights))
        write_pack(prepared_once.dataset, load_config(None, prepared_once.overrides), file, quiet=True)
    return file


@pytest.fixture
def packed(prepared_once, packed_once, tmp_path, monkeypatch) -> Packed:
    """The pack where no file of any model is found: another machine."""
    monkeypatch.delenv("MMPOSTER_WEIGHTS", raising=False)
    monkeypatch.setattr("mmposter.pretrained.resolver._inside_package", lambda module, inside: None)
    for variable in ("HOME", "XDG_CACHE_HOME", "EASYOCR_MODULE_PATH", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    plain = tuple(text for text in prepared_once.overrides if not text.startswith("cnn.init"))
    kept = tmp_path / "kept"
    shutil.copytree(prepared_once.weights, kept)
    return Packed(prepared_once.dataset, plain, packed_once, kept)


def _write_records(dataset: Dataset, extractors) -> None:
    """Bright shows in the pooled features; style.mean is the same numbers, but for the last bit."""
    rng = np.random.default_rng(1)
    cnn, style = {}, {}
    for sha, genres in zip(dataset.table["sha256"], dataset.table["genres"], strict=True):
        pooled = np.abs(rng.normal(size=(1, CHANNELS))).astype(np.float32) + 3 * ("Bright" in genres)
        maps = rng.normal(size=(SIDE, 30))
        gram = (maps @ maps.T / 30)[np.triu_indices(SIDE)][None].astype(np.float32)
        std = np.abs(rng.normal(size=(1, CHANNELS))).astype(np.float32)
        cnn[sha], style[sha] = {"pooled": pooled}, {"gram": gram, "mean": pooled + np.float32(1e-6), "std": std}
    bad = Failure("truncated", "MINE/film005.png ends too early")
    sizes = {"channels": CHANNELS, "gram_size": SIDE, "tap_is_last": True}
    for name, records, facts in (("cnn", cnn, {"num_features": CHANNELS}), ("style", style, sizes)):
        store = ExtractorStore(dataset.features_folder, name, extractors[name].feature.fingerprint())
        store.describe(facts)
        store.write({**records, dataset.table["sha256"].iloc[UNUSABLE]: bad})
