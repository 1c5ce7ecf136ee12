"""In half precision the loss is scaled, and the scale grows and shrinks on the way: a resumed training knows it."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mmposter.engines.device import make_accelerator
from mmposter.errors import UserError
from mmposter.runs.run import WEIGHTS
from mmposter.training import loop
from mmposter.training import train as train_module
from mmposter.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint


def _scaler() -> torch.amp.GradScaler:
    """It doubles the scale after every second good step, and halves it after a bad one."""
    return torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_factor=2.0, backoff_factor=0.5, growth_interval=2)


def _state(folder) -> dict[str, object]:
    with safe_open(folder / loop.LAST, framework="pt") as file:
        return json.loads(file.metadata()["scaler"])


@pytest.fixture
def scaled(monkeypatch):
    """`train` on the CPU with the scaler that accelerate has on a GPU in fp16; gives the scale at each step."""
    scales: list[float] = []

    def accelerator(device, precision, **options):
        made = make_accelerator(device, precision, **options)
        made.scaler = _scaler()
        return made

    steps = loop.Trainer._step

    def step(self, *arguments):
        scales.append(self.accelerator.scaler.get_scale())
        return steps(self, *arguments)

    monkeypatch.setattr(train_module, "make_accelerator", accelerator)
    monkeypatch.setattr(loop.Trainer, "_step", step)
    return scales


def test_a_resumed_training_goes_on_with_the_scale_it_had(world, tmp_path, monkeypatch, scaled):
    config = world.config(branches="yolo")  # two steps an epoch, three epochs
    settings = {"device": "cpu", "offline": True, "quiet": True}
    train_module.train(config, world.dataset, tmp_path / "whole", **settings)
    whole = list(scaled)
    assert whole == [2.0**10, 2.0**10, 2.0**11, 2.0**11, 2.0**12, 2.0**12]
    scaled.clear()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        step = loop.Trainer._step

        def dies(self, *arguments):
            if self.progress.step == 3:
                raise KeyboardInterrupt
            return step(self, *arguments)

        patch.setattr(loop.Trainer, "_step", dies)
        with pytest.raises(KeyboardInterrupt):
            train_module.train(config, world.dataset, tmp_path / "cut", **settings)
    assert _state(tmp_path / "cut") == {**_scaler().state_dict(), "scale": 2.0**11, "_growth_tracker": 1}
    train_module.train(config, world.dataset, tmp_path / "cut", resume=True, **settings)
    assert scaled == whole  # and not 2^10 again after three steps
    assert _state(tmp_path / "cut") == _state(tmp_path / "whole")
    for name in (WEIGHTS, loop.LAST):
        first, second = load_file(tmp_path / "whole" / name), load_file(tmp_path / "cut" / name)
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_state_survives_the_file_and_older_files_load(tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = _scaler()
    for values in ([1.0, 2.0], [float("inf"), 1.0], [1.0, 2.0]):  # a good step, one that overflows, a good one
        optimizer.zero_grad()
        scaler.scale(model(torch.tensor([values])).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    expected = copy.deepcopy(scaler.state_dict())
    assert (expected["scale"], expected["_growth_tracker"]) == (2.0**9, 1)
    file = tmp_path / "last.safetensors"
    save_checkpoint(file, model, optimizer, vars(TrainingProgress(step=3)), scaler)
    for fresh in (_scaler(), torch.amp.GradScaler("cpu")):  # the growth is part of the state
        assert load_checkpoint(file, model, optimizer, TrainingProgress, fresh).step == 3
        assert fresh.state_dict() == expected
    assert load_checkpoint(file, model, optimizer, TrainingProgress).step == 3  # to a precision without a scaler
    # A checkpoint from before leaves the scaler as it is.
    save_checkpoint(file, model, optimizer, vars(TrainingProgress(step=3)))
    fresh = _scaler()
    assert load_checkpoint(file, model, optimizer, TrainingProgress, fresh).step == 3
    assert fresh.state_dict() == _scaler().state_dict()


def test_a_damaged_state_is_refused_in_words(tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    file = tmp_path / "last.safetensors"
    save_checkpoint(file, model, optimizer, vars(TrainingProgress()))
    for damaged in ("{}", '{"scale": 2}'):
        save_file(load_file(file), file, metadata={"progress": json.dumps(vars(TrainingProgress())), "scaler": damaged})
        with pytest.raises(UserError, match=r"cannot be resumed .*; start again with --overwrite"):
            load_checkpoint(file, model, optimizer, TrainingProgress, _scaler())
