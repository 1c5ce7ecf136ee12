"""A training on tables that are read by windows: all branches, the same again, stopped and resumed, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmposter.features import layout, windowed
from mmposter.features.windowed import Windowed
from mmposter.measurement.evaluate import evaluate_run, score_split
from mmposter.runs.run import WEIGHTS, Run
from mmposter.training import loop
from mmposter.training.inputs import Inputs, load_inputs
from mmposter.training.train import train


@pytest.fixture
def long_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is long: chunks of 4 posters, windows of 8, blocks of some hundred bytes."""
    monkeypatch.setattr(layout, "LARGE", 10)
    monkeypatch.setattr(windowed, "WINDOW", 8)
    monkeypatch.setattr(windowed, "CHUNK", 4)
    monkeypatch.setattr("mmposter.features.columns.BLOCK_BYTES", 256)


def _inputs(world) -> Inputs:
    return load_inputs(world.config(), world.dataset, device="cpu", offline=True, quiet=True)


def test_a_model_is_trained_resumed_and_measured_as_on_mapped_tables(world, long_tables, tmp_path, monkeypatch):
    inputs = _inputs(world)
    assert isinstance(inputs.features.tensors["yolo.scores"].values, Windowed)
    assert inputs.features.places is not None

    def run(name: str, *, resume: bool = False) -> Path:
        folder = tmp_path / name
        train(world.config(), world.dataset, folder, device="cpu", offline=True, quiet=True, resume=resume)
        return folder

    first, again = run("first"), run("again")
    steps, original = [], loop.Trainer._step

    def stopped(self, *arguments):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            run("cut")
    cut = run("cut", resume=True)
    weights = [load_file(folder / WEIGHTS) for folder in (first, again, cut)]
    for other in weights[1:]:
        assert all(torch.allclose(weights[0][key], other[key], rtol=0, atol=1e-6) for key in weights[0])
    assert evaluate_run(Run.load(first), world.dataset, device="cpu", offline=True).n > 0

    # The same model over tables that are mapped whole says the same of every poster.
    rows = list(range(len(world.dataset)))
    by_windows = score_split(Run.load(first), world.dataset, inputs, rows, device="cpu")
    monkeypatch.setattr(layout, "LARGE", 10**6)
    mapped = _inputs(world)
    assert mapped.features.places is None
    whole = score_split(Run.load(first), world.dataset, mapped, rows, device="cpu")
    np.testing.assert_allclose(by_windows.probs, whole.probs, atol=1e-6)
    assert by_windows.rows.tolist() == whole.rows.tolist()
