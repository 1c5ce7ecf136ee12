"""TensorBoard is an extra: curves where it is asked for, and a word on how to get it where it is missing."""

from __future__ import annotations

import sys

import pytest

from mmposter.errors import UserError
from mmposter.training.train import train


def test_curves_are_those_of_the_history(world, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = world.config("train.tensorboard=true", branches="yolo")
    result = train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    written = [event.value for event in events.Scalars("val_map")]
    assert written == pytest.approx([row["val_map"] for row in result.progress.history], abs=1e-6)


def test_missing_tensorboard_says_what_to_install(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    config = world.config("train.tensorboard=true", branches="yolo")
    with pytest.raises(UserError, match=r"pip install 'mmposter\[tensorboard\]'"):
        train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
