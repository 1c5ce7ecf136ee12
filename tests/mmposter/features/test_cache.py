"""Tables that stay in memory: the same as read anew, each read once, and not more of them than are held."""

from __future__ import annotations

import pytest
import torch

from mmposter.features import cache
from mmposter.features.extractors import build_extractors
from mmposter.features.ragged import batch_of
from mmposter.features.table import load_features


@pytest.fixture
def reads(monkeypatch):
    done = []

    def read(dataset, branches):
        done.extend(branches)
        return load_features(dataset, branches)

    monkeypatch.setattr(cache, "load_features", read)
    return done


def test_a_table_is_read_once_and_is_what_the_store_holds(world, reads):
    held = cache.FeatureCache()
    branches = build_extractors(world.config(), ["yolo", "ocr"], offline=True)
    expected = load_features(world.dataset, branches)
    for _ in range(2):
        found = held.load(world.dataset, branches)
        assert found.metadata == expected.metadata
        assert (found.usable == expected.usable).all()
        rows = torch.arange(len(world.dataset))
        ours, theirs = batch_of(found.tensors, rows), batch_of(expected.tensors, rows)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    held.load(world.dataset, build_extractors(world.config(), ["ocr"], offline=True))
    assert reads == ["yolo", "ocr"]


def test_other_settings_are_another_table_and_the_oldest_goes(world, reads, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 2)
    held = cache.FeatureCache()

    def load(*settings):
        branches = build_extractors(world.config(*settings), ["yolo"], offline=True)
        return held.load(world.dataset, branches).tensors["yolo.boxes"].counts.max()

    assert load("yolo.max_boxes=3") == 3
    assert load() > 3
    assert load("yolo.max_boxes=3") == 3
    assert len(reads) == 2
    assert load("yolo.max_boxes=2") == 2
    assert load("yolo.max_boxes=3") == 3
    assert len(reads) == 3
    load()
    assert len(reads) == 4
