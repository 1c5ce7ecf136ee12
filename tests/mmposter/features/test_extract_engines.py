"""One process, several, shards and Ray write the same store; kills change nothing. Real extractors, small ones."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mmposter.config import load_config
from mmposter.features.extract import extract
from mmposter.features.extractors import build_extractors
from mmposter.features.store import ExtractorStore

SETTINGS = ["cnn.backbone=mobilenet_v3_small", "cnn.init=none", "cnn.size=[64,48]", "style.stage=stage3"]


def frozen():
    branches = build_extractors(load_config(None, [*SETTINGS, "style.reduced=8"]), ["cnn", "style"], offline=True)
    return [step for branch in branches.values() for step in branch.steps]


def everything(root, posters):
    found = {}
    for extractor in frozen():
        store = ExtractorStore(root, extractor.name, extractor.fingerprint())
        found[extractor.name] = (store.read([poster.sha256 for poster in posters]), store.done(), store.metadata())
    return found


def assert_same_store(first, second, posters):
    one, other = everything(first, posters), everything(second, posters)
    for name, (records, done, metadata) in one.items():
        assert other[name][1:] == (done, metadata)
        for number, (a, b) in enumerate(zip(records, other[name][0], strict=True)):
            assert (a is None) == (b is None), (name, number)
            assert a is None or all(a[field].tobytes() == b[field].tobytes() for field in a), (name, number)


@pytest.fixture
def posters(tmp_path, as_posters):
    """Three parts, the last one short; one file is cut off, one is gone, two are the same."""
    paths = noise(tmp_path / "posters", 70)
    paths[40].write_bytes(paths[40].read_bytes()[:200])
    paths[41].write_bytes(paths[8].read_bytes())
    listed = as_posters(paths)
    paths[50].unlink()
    return listed


def noise(folder, count):
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:04}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def alone(tmp_path, posters):
    """The store that one process writes."""
    import torch

    before = torch.get_num_threads()
    reports = extract(posters, frozen(), tmp_path / "alone", threads=1, quiet=True)
    torch.set_num_threads(before)
    return tmp_path / "alone", reports


def test_shards_write_the_same_store(tmp_path, posters, alone):
    for part in (1, 0):
        extract(posters, frozen(), tmp_path / "store", shard=(part, 2), threads=1, quiet=True)
    assert_same_store(tmp_path / "store", alone[0], posters)


@pytest.mark.slow
def test_two_workers_write_the_same_store_and_report_the_same(tmp_path, posters, alone):
    reports = extract(posters, frozen(), tmp_path / "store", workers=2, threads=1, quiet=True)
    assert reports == alone[1]
    assert [(r.computed, r.reasons()) for r in reports] == [(68, {"truncated": 1, "missing": 1})] * 2
    assert_same_store(tmp_path / "store", alone[0], posters)
    again = extract(posters, frozen(), tmp_path / "store", workers=2, threads=1, quiet=True)
    assert [(r.computed, r.present) for r in again] == [(0, 68)] * 2


@pytest.mark.slow
def test_a_local_ray_writes_the_same_store_and_leaves_nothing_running(tmp_path, posters, alone, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    reports = extract(posters, frozen(), tmp_path / "store", workers=2, threads=1, engine="ray", quiet=True)
    assert reports == alone[1]
    assert_same_store(tmp_path / "store", alone[0], posters)
    assert not ray.is_initialized()
    ours = subprocess.run(["ps", "-A", "-o", "ppid,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in ours.splitlines() if line.split()[0] == str(os.getpid()) and "raylet" in line]


RUN = """
import pickle, sys
from pathlib import Path
from mmposter.features.extract import extract
posters, extractors, root = pickle.loads(Path(sys.argv[1]).read_bytes())
extract(posters, extractors, root, workers=2, threads=1, quiet=True)
"""


@pytest.mark.slow
def test_ten_kills_of_two_workers_change_nothing(tmp_path, as_posters):
    import pickle

    posters = as_posters(noise(tmp_path / "posters", 32 * 70))
    extract(posters, frozen(), tmp_path / "whole", threads=1, quiet=True)
    (tmp_path / "task").write_bytes(pickle.dumps((posters, frozen(), tmp_path / "store")))
    cnn, rng = frozen()[0], random.Random(0)
    store = ExtractorStore(tmp_path / "store", cnn.name, cnn.fingerprint())

    def written():
        return len(list((store.folder / "index").glob("*.parquet")))

    for _ in range(10):
        before = written()
        child = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path / "task")])
        while written() == before:
            assert child.poll() is None
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        assert child.poll() is None, "the work was done before the kill: make it longer"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    left = 70 - written()
    assert 0 < left < 60
    extract(posters, frozen(), tmp_path / "store", workers=2, threads=1, quiet=True)
    assert_same_store(tmp_path / "store", tmp_path / "whole", posters)
