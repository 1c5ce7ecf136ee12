"""A training that was stopped goes on to the same weights as one that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmposter.errors import UserError
from mmposter.runs.run import WEIGHTS, Run
from mmposter.training import loop
from mmposter.training import train as training
from mmposter.training.checkpoint import TrainingProgress
from mmposter.training.train import train


class _StopError(Exception):
    pass


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    """One for all of them: no test here changes the posters or the features."""
    with pytest.MonkeyPatch.context() as patch:
        yield make_world(tmp_path_factory.mktemp("world"), patch.setenv)


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Path:
    """The run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(world.config(), world.dataset, folder, device="cpu", offline=True, quiet=True)
    return folder


def _stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Make training die after that many optimiser steps, as a kill would, with the state of the last save."""
    original = loop.Trainer._step
    count = 0

    def step(self, *arguments):
        nonlocal count
        if count == steps:
            raise _StopError
        count += 1
        return original(self, *arguments)

    monkeypatch.setattr(loop.Trainer, "_step", step)


def _assert_same(first: Path, second: Path) -> None:
    for name in (WEIGHTS, loop.LAST):
        a, b = load_file(first / name), load_file(second / name)
        assert a.keys() == b.keys()
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=1e-6, msg=f"{name}: {key}")
    assert Run.load(first).thresholds.tolist() == pytest.approx(Run.load(second).thresholds.tolist(), abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("every", [1e9, 0.0], ids=["at epoch ends", "after every batch"])
def test_resumed_training_equals_an_uninterrupted_one(world, whole, tmp_path, monkeypatch, steps, every):
    config = world.config()  # 32 training posters in batches of 16: two steps an epoch, three epochs
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", every)
    with monkeypatch.context() as patch:
        _stop_after(patch, steps)
        with pytest.raises(_StopError):
            train(config, world.dataset, tmp_path / "cut", device="cpu", offline=True, quiet=True)
    torch.rand(7)  # whatever happened since must not matter
    taken, measured = [], []
    original, measure = loop.Trainer._step, training._measure
    monkeypatch.setattr(loop.Trainer, "_step", lambda *a: taken.append(1) or original(*a))
    monkeypatch.setattr(training, "_measure", lambda *a: measured.append(1) or measure(*a))
    train(config, world.dataset, tmp_path / "cut", device="cpu", resume=True, offline=True, quiet=True)
    _assert_same(whole, tmp_path / "cut")
    kept = steps if every == 0.0 else steps // 2 * 2
    assert len(taken) == 6 - kept
    assert len(measured) == (kept == 0), "the checkpoint has what was measured of all posters"


def test_where_a_training_goes_on_is_told():
    assert TrainingProgress(epoch=1, batch=30).told == "going on in epoch 2, after 30 of its batches"
    assert "trained before" in TrainingProgress(epoch=3, finished=True).told


@pytest.mark.parametrize("steps", [1, 3])
def test_a_resumed_finetuning_equals_an_uninterrupted_one(world, tmp_path, monkeypatch, steps):
    """With averaged weights, and random views of posters that are decoded once."""
    config = world.config(
        "train.average=0.9", "train.epochs=2", "cnn.batch_norms=held", regime="finetune", branches="cnn,style,yolo"
    )
    train(config, world.dataset, tmp_path / "whole", device="cpu", offline=True, quiet=True)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        _stop_after(patch, steps)
        with pytest.raises(_StopError):
            train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    train(config, world.dataset, tmp_path / "run", device="cpu", resume=True, offline=True, quiet=True)
    _assert_same(tmp_path / "whole", tmp_path / "run")


def test_resume_of_a_finished_run_changes_nothing(world, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    before = (tmp_path / "run" / WEIGHTS).read_bytes()
    result = train(world.config(), world.dataset, tmp_path / "run", device="cpu", resume=True, offline=True, quiet=True)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == before
    assert len(result.progress.history) == 3


def test_resume_refuses_another_configuration_and_names_the_difference(world, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(UserError, match=r"fusion\.head: 'sum' there, 'gated' now"):
        train(
            world.config("fusion.head=gated"), world.dataset, tmp_path / "run", device="cpu", resume=True, offline=True
        )
    with pytest.raises(UserError, match="go on with --resume, or replace it with --overwrite"):
        train(world.config(), world.dataset, tmp_path / "run", device="cpu", offline=True)


def test_same_seed_same_weights_other_seed_other_weights(world, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = world.config("train.epochs=1", seed=seed, branches="yolo,ocr")
        train(config, world.dataset, tmp_path / name, device="cpu", offline=True, quiet=True)
    a, b, c = (load_file(tmp_path / name / WEIGHTS) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)


def test_progress_survives_json():
    assert TrainingProgress(**vars(TrainingProgress(epoch=3, history=[{"epoch": 0}]))).epoch == 3


def _log_steps(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """The step that is begun, a line each, as the child writes it."""
    original = loop.Trainer._step

    def step(self, *args):
        with log.open("a") as file:
            file.write(f"{self.progress.step}\n")
        return original(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", step)


_CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from mmposter.config import load_config
from mmposter.data import Dataset
from mmposter.training import loop
from mmposter.training import train as training
from mmposter.training.train import train
loop.CHECKPOINT_SECONDS = 0.0
step = loop.Trainer._step
def slow(self, *args):
    with open(sys.argv[3], "a") as log:
        log.write(f"{self.progress.step}\\n")
    time.sleep(0.05)
    return step(self, *args)
loop.Trainer._step = slow
out = Path(sys.argv[2])
config = load_config(None, sys.argv[4:])
train(config, Dataset.load(sys.argv[1]), out, device="cpu", resume=True, offline=True, quiet=True)
"""


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments(world, tmp_path, monkeypatch, kills):
    overrides = [*world.overrides, "train.epochs=8"]
    whole = world.config("train.epochs=8")
    train(whole, world.dataset, tmp_path / "whole", device="cpu", offline=True, quiet=True)
    log = tmp_path / "steps.log"
    command = [sys.executable, "-c", _CHILD, str(world.dataset.folder), str(tmp_path / "cut"), str(log), *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    chance = random.Random(kills)
    killed = 0
    for _ in range(kills):
        taken = len(log.read_text().splitlines()) if log.exists() else 0
        child = subprocess.Popen(command, env=environment)
        target = taken + chance.randint(1, 2)
        while child.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < target):
            time.sleep(0.01)
        time.sleep(chance.random() * 0.1)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            killed += 1
        child.wait()
    _log_steps(monkeypatch, log)
    train(whole, world.dataset, tmp_path / "cut", device="cpu", resume=True, offline=True, quiet=True)
    assert killed >= 1
    _assert_same(tmp_path / "whole", tmp_path / "cut")
    steps = [int(line) for line in log.read_text().splitlines()]
    assert set(steps) == set(range(16))
    assert len(steps) - 16 <= killed  # at most the batch in flight was done twice, once a kill
