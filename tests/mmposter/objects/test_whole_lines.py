"""The whole line over links: prepare, extract, train, stopped, and gone on with on another machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

pytestmark = pytest.mark.slow

GENRES = ["Drama", "Comedy", "Horror"]
SMALL = ["cnn.init=none", "cnn.backbone=mobilenet_v3_small", "cnn.size=[64,48]"]
SMALL = ["--branches", "cnn", *(word for setting in SMALL for word in ("--set", setting))]
TRAIN = [*SMALL, "--regime", "finetune", "--set", "train.epochs=12", "--set", "train.patience=12", "--device", "cpu"]


def mmposter(machine, *words: str) -> list[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(machine / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mmposter", *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=machine,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def machines(tmp_path):
    made = [tmp_path / name for name in ("first", "second", "third")]
    for folder in made:
        folder.mkdir()
    return made


@pytest.fixture
def tables(tmp_path, bucket):
    """The same posters as files and as links."""
    folder = tmp_path / "posters"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (60, 40, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    bucket.put_folder(folder, "posters")
    made = []
    for kind, place in [("files", f"{folder}/"), ("links", bucket.link("posters/"))]:
        rows = [f"{place}{number:02}.png,m{number},{GENRES[number % 3]}" for number in range(60)]
        (tmp_path / f"{kind}.csv").write_text("image,id,genres\n" + "\n".join(rows) + "\n")
        made.append(tmp_path / f"{kind}.csv")
    return made


def test_data_and_runs_in_a_store(tables, machines, bucket):
    files, links = tables
    first, second, third = machines
    assert mmposter(first, "prepare", str(files), "--out", "data", "--format", "csv")
    mmposter(first, "train", "data", *TRAIN, "--out", "run")
    expected = load((first / "run" / "last.safetensors").read_bytes())

    data, run = bucket.link("data"), bucket.link("runs/one")
    assert mmposter(second, "prepare", str(links), "--out", data, "--format", "csv") == [f"{data}/report.md"]
    assert mmposter(second, "extract", data, *SMALL) == [f"{data}/features/report.md"]
    stopped = subprocess.Popen(
        [sys.executable, "-m", "mmposter", "train", data, *TRAIN, "--out", run],
        env={**os.environ, "XDG_CACHE_HOME": str(second / "cache"), "OMP_NUM_THREADS": "1"},
        cwd=second,
        stderr=subprocess.PIPE,
        text=True,
    )
    copy = None
    while copy is None or copy.read_text().count("\n") < 3:  # of 12 epochs
        assert stopped.poll() is None, stopped.stderr.read()
        time.sleep(0.05)
        copy = next(second.glob("cache/mmposter/objects/*/one/metrics.jsonl"), None)
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(60) == 130
    assert "runs/one/last.safetensors" in set(bucket.keys())
    assert bucket.get("runs/one/metrics.jsonl").count(b"\n") < 12

    assert mmposter(third, "train", data, *TRAIN, "--out", run, "--resume") == [run]
    found = load(bucket.get("runs/one/last.safetensors"))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)

    out = bucket.link("answers/out.csv")
    listed = [bucket.link(f"posters/{number:02}.png") for number in range(5)]
    assert mmposter(first, "predict", *listed, "--model", run, "--out", out) == [out]
    assert bucket.get("answers/out.csv").count(b"s3://") == 5
    assert not [key for key in list(bucket.keys()) if key.endswith(".partial")]
