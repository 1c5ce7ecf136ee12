"""What looks on while a model is trained: a person's own code, TensorBoard, and what stands in for the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mmposter import TrainingCallback
from mmposter.config import comparable, load_config, parse_stored
from mmposter.engines.trackers import with_trackers
from mmposter.errors import UserError
from mmposter.training.train import train

# As much of wandb and mlflow as accelerate's classes call; each writes down what it was told.
WANDB = """
import json, os
told = os.environ["TOLD"]
def _say(*what):
    with open(told, "a") as file:
        file.write(json.dumps(what) + "\\n")
class _Config:
    def update(self, values, **_): _say("config", values)
config = _Config()
class _Run:
    def log(self, values, step=None, **_):
        if os.environ.get("FAILS") == str(step):
            raise ConnectionError("the line is gone")
        _say("log", step, values)
    def finish(self): _say("finish")
def init(project, **how):
    if os.environ.get("FAILS") == "init":
        raise RuntimeError("no API key")
    _say("init", project, how)
    return _Run()
"""


class Told(TrainingCallback):
    """Writes down what it is told, and stops after an epoch."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.calls: list = []
        self.stop_after = stop_after

    def on_start(self, folder, config):
        self.calls.append(("start", folder.name, config.branches))

    def on_epoch_end(self, metrics):
        self.calls.append(("epoch", metrics["epoch"], set(metrics)))
        return metrics["epoch"] == self.stop_after

    def on_end(self, progress):
        self.calls.append(("end", len(progress.history), progress.finished))


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    """One for all of them: no test here changes the posters or the features."""
    with pytest.MonkeyPatch.context() as patch:
        yield make_world(tmp_path_factory.mktemp("world"), patch.setenv)


@pytest.fixture
def run(world, tmp_path):
    """Trains on the objects alone, two epochs."""

    def training(*overrides: str, **more):
        config = world.config("train.epochs=2", *overrides, branches="yolo")
        more = {"device": "cpu", "offline": True, "quiet": True} | more
        return train(config, world.dataset, tmp_path / "run", **more)

    return training


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """A package `wandb` that stands in for the real one; what it was told so far."""
    (tmp_path / "packages" / "wandb").mkdir(parents=True)
    (tmp_path / "packages" / "wandb" / "__init__.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    told = tmp_path / "told.jsonl"
    monkeypatch.setenv("TOLD", str(told))
    yield lambda: [json.loads(line) for line in told.read_text().splitlines()]
    sys.modules.pop("wandb", None)


def test_a_callback_is_told_of_the_beginning_each_epoch_and_the_end(run):
    told = Told()
    result = run(callbacks=[told])
    kinds = [call[0] for call in told.calls]
    assert kinds == ["start", "epoch", "epoch", "end"]
    assert told.calls[0] == ("start", "run", ("yolo",))
    assert told.calls[1][2] == set(result.progress.history[0])
    assert {"train_loss", "val_map", "lr"} <= told.calls[1][2]
    assert told.calls[-1] == ("end", 2, True)


def test_a_callback_stops_a_training_which_is_then_finished(run):
    told = Told(stop_after=0)
    result = run("train.epochs=9", callbacks=[told])
    assert len(result.progress.history) == 1
    assert result.run.thresholds is not None
    again = Told()
    assert len(run("train.epochs=9", callbacks=[again], resume=True).progress.history) == 1
    assert again.calls == []


def test_a_callback_that_fails_ends_the_training_and_all_hear_of_it(run, tmp_path):
    class Failing(TrainingCallback):
        def on_epoch_end(self, metrics):
            raise ZeroDivisionError

    told = Told()
    with pytest.raises(ZeroDivisionError):
        run(callbacks=[told, Failing()])
    assert told.calls[-1] == ("end", 1, False)
    assert len(run(resume=True).progress.history) == 2


def test_a_callback_changes_no_weight(run, tmp_path):
    first = run(callbacks=[Told()])
    kept = (tmp_path / "run" / "best.safetensors").read_bytes()
    second = run(overwrite=True)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == kept
    assert [row["val_map"] for row in first.progress.history] == [row["val_map"] for row in second.progress.history]


def test_the_curves_of_tensorboard_are_those_of_the_history(run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run("train.tensorboard=true")  # the earlier key
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    for name in ("val_map", "train_loss", "lr"):
        written = [event.value for event in events.Scalars(name)]
        assert written == pytest.approx([row[name] for row in result.progress.history], abs=1e-6)
    assert [event.step for event in events.Scalars("lr")] == [0, 1]
    run("train.trackers=tensorboard", overwrite=True)  # all that is there is known as the run's own
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


def test_wandb_gets_the_settings_and_each_epoch(run, wandb, tmp_path):
    result = run("train.trackers=[tensorboard,wandb]", offline=False)
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1  # each is begun once
    begun, config, *logs, end = wandb()
    assert begun == ["init", "mmposter", {"name": "run"}]
    assert config[1]["yolo.model"] == "yolo11n.pt"
    assert [(kind, step, values["val_map"]) for kind, step, values in logs] == [
        ("log", row["epoch"], row["val_map"]) for row in result.progress.history
    ]
    assert end == ["finish"]


def test_a_tracker_that_fails_is_given_up_and_the_training_goes_on(run, wandb, monkeypatch, capfd):
    monkeypatch.setenv("FAILS", "0")
    assert len(run("train.trackers=[wandb]").progress.history) == 2
    assert [line[0] for line in wandb()] == ["init", "config"]
    assert wandb()[0][2]["mode"] == "offline"  # nothing leaves this machine
    assert "the tracker wandb is given up (ConnectionError: the line is gone)" in capfd.readouterr().err


def test_a_tracker_that_cannot_begin_is_one_message(run, wandb, monkeypatch):
    monkeypatch.setenv("FAILS", "init")
    with pytest.raises(UserError, match=r"the tracker wandb cannot begin \(RuntimeError: no API key\)"):
        run("train.trackers=[wandb]")


def test_offline_mlflow_on_another_machine_is_refused(run, tmp_path, monkeypatch):
    (tmp_path / "mlflow.py").write_text("def get_tracking_uri(): return 'https://mlflow.example'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    with pytest.raises(UserError, match=r"MLflow logs to https://mlflow\.example"):
        run("train.trackers=[mlflow]")
    sys.modules.pop("mlflow", None)


def test_missing_packages_are_one_message(run, monkeypatch, tmp_path):
    monkeypatch.setattr("mmposter.engines.trackers.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"needs tensorboard and wandb; type: pip install 'mmposter\[tensorboard,wandb\]'"
    ):
        run("train.trackers=[tensorboard,wandb]")
    assert not Path(tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UserError, match=r"train\.trackers"):
        load_config(None, ["train.trackers=[aim]"])


def test_the_earlier_key_is_still_read():
    assert load_config(None, ["train.tensorboard=true"]).train.trackers == ("tensorboard",)
    both = ["train.trackers=wandb,tensorboard", "train.tensorboard=false"]
    assert load_config(None, both).train.trackers == ("wandb",)
    assert parse_stored({"train": {"tensorboard": False}}).train.trackers == ()
    now = load_config(None).model_dump(mode="json")
    then = {**now, "train": {key: value for key, value in now["train"].items() if key != "trackers"}}
    then["train"]["tensorboard"] = False
    assert comparable(then) == comparable(now)
    assert with_trackers({"train": {"tensorboard": "maybe"}}) == {"train": {"tensorboard": "maybe"}}
