"""What is held of each poster while a model is trained: a million of them must fit beside it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pytest
import torch

from mmposter.data.dataset import Dataset, write_dataset
from mmposter.features import layout, windowed
from mmposter.features.ragged import Ragged, batch_of
from mmposter.features.windowed import Windowed
from mmposter.runs.seen import SeenPosters
from mmposter.training.inputs import load_inputs

POSTERS = 20_000
Found = TypeVar("Found")


def measured(make: Callable[[], Found]) -> tuple[Found, float, float]:
    """What it makes, and the bytes a poster that it holds, and that were needed at a time."""
    make()  # what is imported on the way is no part of it
    arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        found = make()
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return found, (held + pa.total_allocated_bytes() - arrow) / POSTERS, most / POSTERS


@pytest.fixture
def many(tmp_path) -> Dataset:
    """The posters of the benchmark again and again, under other names."""
    pack = Dataset.load("benchmark")
    names = [f"made-up-{number:08}" for number in range(POSTERS)]
    table = pack.table.iloc[np.arange(POSTERS) % len(pack)].reset_index(drop=True)
    hashes = [np.random.default_rng(number).bytes(32).hex() for number in range(POSTERS)]
    table = table.assign(id=names, group=names, title=names, path=[f"{name}.jpg" for name in names], sha256=hashes)
    write_dataset(tmp_path, table, pack.vocabulary, {"root": str(tmp_path)})
    return Dataset.load(tmp_path)


def test_a_manifest_its_labels_and_splits_take_half_a_kilobyte_each(many):
    dataset, held, _ = measured(lambda: Dataset.load(many.folder))
    assert held < 420
    _, held, _ = measured(dataset.labels)
    assert held < 90  # 20 genres
    splits, held, _ = measured(dataset.split_names)
    assert held < 10
    assert splits.tolist() == list(dataset.table["split"])


def test_posters_that_were_seen_are_noted_without_an_object_for_each(many):
    train, val = many.table[: POSTERS // 2], many.table[POSTERS // 2 :]
    seen, held, most = measured(lambda: SeenPosters.of(train, "train").with_more(SeenPosters.of(val, "val")))
    assert len(seen) == POSTERS
    assert held < 40
    assert most < 180


def test_long_tables_share_the_places_of_posters_and_forget_their_windows(world, monkeypatch):
    monkeypatch.setattr(layout, "LARGE", 10)
    monkeypatch.setattr(windowed, "WINDOW", 8)
    monkeypatch.setattr(windowed, "CHUNK", 4)
    features = load_inputs(world.config(), world.dataset, device="cpu", offline=True, quiet=True).features
    columns = [inputs.values if isinstance(inputs, Ragged) else inputs for inputs in features.tensors.values()]
    assert all(isinstance(column, Windowed) for column in columns)
    places = [column.places for column in columns if column.places is not None]
    assert len(places) > 1
    assert {known.data_ptr() for known in places} == {features.places.ctypes.data}
    rows = torch.arange(4)
    before = batch_of(features.tensors, rows)
    assert any(column._blocks.buffer.any() for column in columns)
    features.release()
    assert not any(column._blocks.buffer.any() for column in columns)
    after = batch_of(features.tensors, rows)
    assert all(torch.equal(after[name], values) for name, values in before.items())
