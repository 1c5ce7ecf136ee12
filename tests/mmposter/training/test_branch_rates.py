"""`train.lr`: a branch learns at a rate of its own."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from mmposter.config import differences, load_config, parse_stored
from mmposter.errors import UserError
from mmposter.runs.run import WEIGHTS
from mmposter.training import loop
from mmposter.training.train import train

STILL = "train.lr.yolo=1e-12"


def _train(world, out, *overrides, resume=False, epochs=2):
    config = world.config(f"train.epochs={epochs}", "train.keep=last", *overrides, branches="yolo,ocr")
    train(config, world.dataset, out, device="cpu", offline=True, quiet=True, resume=resume)
    return load_file(out / WEIGHTS)


def _moved(first, second):
    """The parts of a model that two trainings left at different weights; what is merely counted is no weight."""
    counted = ("running_mean", "running_var", "num_batches_tracked")
    names = [name for name in first if not name.endswith(counted)]
    return {".".join(name.split(".")[:3]) for name in names if not torch.allclose(first[name], second[name], atol=1e-7)}


def test_only_that_branch_learns_at_it(world, tmp_path):
    one = _train(world, tmp_path / "one", STILL, epochs=1)
    two = _train(world, tmp_path / "two", STILL, epochs=2)
    moved = _moved(one, two)
    assert "fusion.branches.yolo" not in moved
    assert {"fusion.branches.ocr", "fusion.head.bias"} <= moved
    assert "fusion.branches.yolo" in _moved(one, _train(world, tmp_path / "usual", epochs=1))


def test_it_is_resumed_and_no_other_rate_is(world, tmp_path, monkeypatch):
    own = "train.lr.yolo=0.02"
    whole = _train(world, tmp_path / "whole", own)
    steps, count = loop.Trainer._step, 0

    def dies(self, *arguments):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return steps(self, *arguments)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", dies)
        with pytest.raises(KeyboardInterrupt):
            _train(world, tmp_path / "parts", own)
    with pytest.raises(UserError, match=r"train\.lr\.yolo: 0\.02 there, None now"):
        _train(world, tmp_path / "parts", resume=True)
    parts = _train(world, tmp_path / "parts", own, resume=True)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "train.lr.objects=0.1",
            "train.lr: allowed are cnn, style, yolo, ocr, photo; got objects. One from outside",
        ),
        ("train.lr.yolo=0", "train.lr.yolo: Input should be greater than 0; got 0"),
        ("train.lr.yolo=.inf", "train.lr.yolo: Input should be a finite number"),
        ("train.lr=0.1", "train.lr: Input should be a valid dictionary; got 0.1"),
    ],
)
def test_what_is_refused(given, said):
    with pytest.raises(UserError) as caught:
        load_config(None, [given])
    assert said in str(caught.value)


def test_a_network_without_branches_has_none():
    with pytest.raises(UserError, match=r"whose rates are train\.learning_rate and .*; got train\.lr\.cnn=0\.1"):
        load_config(None, ["cnn.classifier=own", "regime=finetune", "train.lr.cnn=0.1"], branches="cnn")


def test_earlier_runs_have_no_rates_of_branches():
    config = load_config()
    there = config.model_dump(mode="json")
    del there["train"]["lr"]
    assert parse_stored(there).train.lr == {}
    assert not differences(there, config.model_dump(mode="json"))
