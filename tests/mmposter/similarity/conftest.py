"""A world of posters whose run was trained once for all tests here; indexes lie in a cache of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmposter import PosterClassifier, Run
from mmposter.files.tensors import save_tensors
from mmposter.pretrained.resolver import ENVIRONMENT
from mmposter.runs.run import WEIGHTS
from mmposter.training.train import train


@pytest.fixture(scope="session")
def _made(tmp_path_factory, make_world):
    folder = tmp_path_factory.mktemp("similar")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv, count=24)
        config = world.config("train.epochs=40", "train.batch_size=4", "train.keep=last")
        train(config, world.dataset, folder / "run", device="cpu", offline=True, quiet=True)
        _tell_apart(folder / "run")
    return SimpleNamespace(dataset=world.dataset, run=folder / "run", weights=folder / "weights")


def _tell_apart(run):
    """To a network with random weights all posters look alike, so much that the batch norms' eps hides the rest."""
    model = Run.load(run).load_model()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            spread = module.running_var + 1e-12
            module.weight.data *= ((spread + module.eps) / spread).sqrt()
    save_tensors(run / WEIGHTS, model.state_dict())


@pytest.fixture
def made(_made, tmp_path, monkeypatch):
    """The data set (four branches in its store) and the run folder."""
    monkeypatch.setenv(ENVIRONMENT, str(_made.weights))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return _made


@pytest.fixture
def whole(made):
    """All four branches; what looks at pictures needs `pictures`."""
    return PosterClassifier.load(made.run, device="cpu", offline=True)


@pytest.fixture
def pictures(made):
    """The branches that need no detector and no reader."""
    return PosterClassifier.load(made.run, branches=["cnn", "style"], device="cpu", offline=True)
