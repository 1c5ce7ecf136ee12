"""Folders of ablations: what a finished training left is used whole and true, or the training is done again."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from mmposter.ablation.scores import Scores, TrainingFacts, load_scores
from mmposter.config import Config, load_config

POSTERS, GENRES = 10, 3


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(None, [])


@pytest.fixture
def cell(tmp_path, config):
    facts = TrainingFacts(config.model_dump(mode="json"), "m", "test", [0.5] * GENRES, 3, 1, 0.4, 2.0)
    rows = np.array([1, 4, 7])
    Scores(facts, rows, {"full": np.full((3, GENRES), 0.25, np.float32)}).save(tmp_path)
    return tmp_path


def load(folder, config):
    return load_scores(folder, config, "m", "test", posters=POSTERS, genres=GENRES)


def save(folder, **arrays) -> None:
    np.savez(folder / "scores.npz", **{name.replace("__", ":"): values for name, values in arrays.items()})


def test_what_was_saved_comes_back(cell, config):
    found = load(cell, config)
    assert found.rows.tolist() == [1, 4, 7]
    assert found.probs["full"].tolist() == np.full((3, GENRES), 0.25).tolist()


GOOD = {"rows": np.array([1, 4, 7]), "probs__full": np.full((3, GENRES), 0.25, np.float32)}


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.array([1, 4, POSTERS])},
        {"rows": np.array([-1, 4, 7])},
        {"rows": np.array([4, 1, 7])},
        {"rows": np.array([1.0, 4.0, 7.0])},
        {"probs__full": np.full((3, GENRES), 5e37, np.float32)},
        {"probs__full": np.full((3, GENRES), np.nan, np.float32)},
        {"probs__full": np.full((3, GENRES + 1), 0.5, np.float32)},
        {"probs__full": np.full((2, GENRES), 0.5, np.float32)},
        {"probs__full": np.array([[None] * GENRES] * 3, object)},
    ],
    ids=str,
)
def test_numbers_that_no_training_leaves_are_as_good_as_none(cell, config, change):
    save(cell, **GOOD)
    assert load(cell, config) is not None
    save(cell, **{**GOOD, **change})
    assert load(cell, config) is None


def test_a_flipped_bit_is_found(cell, config):
    data = bytearray((cell / "scores.npz").read_bytes())
    at = data.index(np.float32(0.25).tobytes() * 3)
    data[at + 2] ^= 1
    (cell / "scores.npz").write_bytes(data)
    assert load(cell, config) is None


def test_an_array_that_unpacks_to_much_is_not_unpacked(cell, config):
    np.savez_compressed(cell / "scores.npz", rows=np.array([1]), junk=np.zeros(2**22))
    assert load(cell, config) is None
    with zipfile.ZipFile(cell / "scores.npz", "w") as archive:  # one that promises 8 TB and holds nothing
        stream = archive.open("rows.npy", "w")
        np.lib.format.write_array_header_1_0(stream, {"descr": "<i8", "fortran_order": False, "shape": (2**40,)})
        stream.close()
    assert load(cell, config) is None


@pytest.mark.parametrize("key", ["config", "manifest", "split", "thresholds", "epochs", "best_epoch", "val_map"])
@pytest.mark.parametrize("value", [None, "x", -1, [1], {"a": 1}, [None] * GENRES], ids=str)
def test_facts_of_another_type_are_as_good_as_none(cell, config, key, value):
    facts = json.loads((cell / "training.json").read_text())
    (cell / "training.json").write_text(json.dumps({**facts, key: value}))
    assert load(cell, config) is None or (key == "val_map" and value in (None, -1))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"config": 1e400}', "7", "", "\xff"], ids=lambda text: text[:20])
def test_json_that_is_none_is_as_good_as_none(cell, config, text):
    (cell / "training.json").write_bytes(text.encode("latin-1"))
    assert load(cell, config) is None
