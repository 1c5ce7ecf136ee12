"""Small runs that differ from picture to picture, and files made of them. Made once for all tests here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mmposter import PosterClassifier, Run
from mmposter.cli import app
from mmposter.measurement.calibrate import calibrate_run
from mmposter.runs.run import MODEL, WEIGHTS
from mmposter.training.train import train

# Small, and its random weights tell pictures apart; those of a deeper network with batch norms do not.
NETWORK = ("cnn.backbone=cnn3", "cnn.size=[64,48]", "train.epochs=1")


def sharpen(run: Path) -> None:
    """Make scores vary: after a few steps of training those of all pictures are nearly the same."""
    state = load_file(run / WEIGHTS)
    for key in state:
        if key.startswith(("fusion.head.maps", "classifier.last.weight")):
            state[key] *= 100
    save_file(state, run / WEIGHTS)


@pytest.fixture(scope="session")
def made(tmp_path_factory, make_world) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv)
        config = world.config(*NETWORK)
        train(config, world.dataset, folder / "all", device="cpu", offline=True, quiet=True)
        sharpen(folder / "all")
        found = calibrate_run(Run.load(folder / "all"), world.dataset, device="cpu", offline=True, quiet=True)
        found.save(folder / "all")
    return SimpleNamespace(world=world, folder=folder, run=folder / "all")


@pytest.fixture
def calibrated(made, tmp_path) -> Path:
    """A run of all branches with its subsets.json; a copy that a test may change."""
    return Path(shutil.copytree(made.run, tmp_path / "all"))


@pytest.fixture
def train_run(made, tmp_path) -> Callable[..., Path]:
    """Trains another run on the same posters."""

    def make(*overrides: str, **direct) -> Path:
        config = made.world.config(*NETWORK, *overrides, **direct)
        train(config, made.world.dataset, tmp_path / "other", device="cpu", offline=True, quiet=True)
        sharpen(tmp_path / "other")
        return tmp_path / "other"

    return make


@pytest.fixture
def edit_config():
    """Change the configuration in a run's model.json."""

    def edit(run: Path, **changes) -> None:
        values = json.loads((run / MODEL).read_text())
        values["config"] |= changes
        (run / MODEL).write_text(json.dumps(values))

    return edit


def _exported(made: SimpleNamespace, to: str, name: str) -> SimpleNamespace:
    """A file by the command line, and what that said."""
    path = made.folder / name
    result = CliRunner().invoke(app, ["export", str(made.run), "--to", to, "--out", str(path), "--offline"])
    assert result.exit_code == 0, result.output
    return SimpleNamespace(path=path, example=made.folder / f"{name}.example.py", result=result, run=made.run)


@pytest.fixture(scope="session")
def onnx_file(made) -> SimpleNamespace:
    """The calibrated run as ONNX."""
    return _exported(made, "onnx", "posters of mine.onnx")


@pytest.fixture(scope="session")
def torchscript_file(made) -> SimpleNamespace:
    """The calibrated run as TorchScript."""
    return _exported(made, "torchscript", "posters.pt")


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Posters of odd sizes, up and down from the 64 x 48 pixels of the network; noise, a gradient, grey and flat."""
    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((33, 47), (64, 48), (64, 301), (257, 199))]
    rows, columns = np.mgrid[0:177, 0:93]
    gradient = np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)
    grey = np.repeat(noise[3][:, :, :1], 3, axis=2)
    return [*noise, gradient, grey, np.zeros((50, 50, 3), np.uint8), np.full((90, 60, 3), 255, np.uint8)]


@pytest.fixture(scope="session")
def expected(made, pictures) -> np.ndarray:
    """What predict says of them through cnn and style: N x G."""
    classifier = PosterClassifier.load(made.run, branches=["cnn", "style"], device="cpu", offline=True)
    return np.array([list(prediction.scores.values()) for prediction in classifier.predict(pictures)])
