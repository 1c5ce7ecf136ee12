"""A world of posters whose run was trained once for all tests here; indexes lie in a cache of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmposter import PosterClassifier
from mmposter.pretrained.resolver import ENVIRONMENT
from mmposter.training.train import train


@pytest.fixture(scope="session")
def _made(tmp_path_factory, make_world):
    folder = tmp_path_factory.mktemp("similar")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv, count=24)
        # Pixels, because a network with random weights sees hardly any difference between two pictures.
        config = world.config(
            "cnn.backbone=pixels", "cnn.size=[48,32]", "train.epochs=10", "train.batch_size=4", branches="cnn,yolo"
        )
        train(config, world.dataset, folder / "run", device="cpu", offline=True, quiet=True)
    return SimpleNamespace(dataset=world.dataset, run=folder / "run", weights=folder / "weights")


@pytest.fixture
def made(_made, tmp_path, monkeypatch):
    """The data set and the run folder."""
    monkeypatch.setenv(ENVIRONMENT, str(_made.weights))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return _made


@pytest.fixture
def whole(made):
    """Both branches: for data whose store has the objects; there is no detector."""
    return PosterClassifier.load(made.run, device="cpu", offline=True)


@pytest.fixture
def pictures(made):
    """The branch that needs no detector, for pictures."""
    return PosterClassifier.load(made.run, branches=["cnn"], device="cpu", offline=True)
