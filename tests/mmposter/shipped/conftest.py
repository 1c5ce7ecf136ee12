"""A run of all four branches, calibrated, and a package that it travels with. Trained once for all tests here."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmposter import Run
from mmposter.measurement.calibrate import calibrate_run
from mmposter.pretrained.resolver import ENVIRONMENT
from mmposter.runs.decisions import SUBSETS
from mmposter.runs.run import MODEL
from mmposter.training.train import train


@pytest.fixture(scope="session")
def _made(tmp_path_factory, make_world):
    """A data set, its weights folder, and a calibrated run behind them."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv)
        config = world.config("train.epochs=4", "train.learning_rate=0.01")
        train(config, world.dataset, folder / "run", device="cpu", offline=True, quiet=True)
        subsets = calibrate_run(Run.load(folder / "run"), world.dataset, device="cpu", offline=True, quiet=True)
        subsets.save(folder / "run")
    return world, folder


@pytest.fixture
def world(_made, tmp_path, monkeypatch):
    """As everywhere else, but made once: a test may change the weights folder, which is a copy of its own."""
    made, folder = _made
    weights = Path(shutil.copytree(folder / "weights", tmp_path / "weights"))
    monkeypatch.setenv(ENVIRONMENT, str(weights))
    return replace(made)


@pytest.fixture
def calibrated(_made, world, tmp_path):
    """The run folder with its subsets.json."""
    return Path(shutil.copytree(_made[1] / "run", tmp_path / "run"))


@pytest.fixture
def trained(calibrated):
    """The run folder as training leaves it."""
    (calibrated / SUBSETS).unlink()
    return calibrated


@pytest.fixture
def shipped(_made, world, tmp_path, monkeypatch):
    """The calibrated run as the model `posters` of this build."""
    package = tmp_path / "package"
    shutil.copytree(_made[1] / "run", package / "posters")
    monkeypatch.setattr("mmposter.shipped._folder", lambda: package)
    return package / "posters"


@pytest.fixture
def nothing_shipped(tmp_path, monkeypatch):
    """A build without a model."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("mmposter.shipped._folder", lambda: tmp_path / "empty")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without caches and without packages that carry weights; the folder MMPOSTER_WEIGHTS is empty."""
    from mmposter.pretrained import catalogue

    monkeypatch.setattr(catalogue, "_CACHE", tmp_path / "cache")
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path / "easyocr"))
    monkeypatch.setattr("mmposter.pretrained.resolver._inside_package", lambda module, inside: None)
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "mine"))
    return tmp_path / "mine"


@pytest.fixture
def edit_model():
    """Change the plain values of a run's model.json."""

    def edit(run: Path, change) -> None:
        values = json.loads((run / MODEL).read_text())
        change(values)
        (run / MODEL).write_text(json.dumps(values))

    return edit
