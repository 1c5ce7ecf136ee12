"""The filter is a part of what a tower is; stores, towers and runs from before there was a choice stay bicubic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmposter.ablation.scores import TrainingFacts
from mmposter.config import CnnConfig, load_config
from mmposter.errors import UserError
from mmposter.explain.classifier import PosterClassifier
from mmposter.features.extractors import CnnExtractor
from mmposter.features.tower import SharedTower, TowerWeights
from mmposter.measurement.evaluate import evaluate_run
from mmposter.runs.run import Run
from mmposter.training.train import train

NAME = "mobilenet_v3_small"  # bilinear, by torchvision's records
EARLIER = {"version": 1, "backbone": NAME, "weights": "random-0", "size": [64, 48]}


def found(init: str | Path = "none", **settings) -> TowerWeights:
    return TowerWeights.find(CnnConfig(backbone=NAME, init=str(init), size=(64, 48), **settings), offline=True)


def fingerprint(**settings) -> dict:
    config = CnnConfig(backbone=NAME, init="none", size=(64, 48), **settings)
    return CnnExtractor(SharedTower(config, found(**settings), device="cpu")).fingerprint()


def that_sees(path: Path) -> Path:
    """Weights whose features tell posters apart: behind batch norms that never saw a picture all are nearly zero."""
    weights = found()
    network = weights.build().train()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(64, 3, 64, 48, generator=torch.Generator().manual_seed(0)))
    weights.save_trained(path, network.eval())
    return path


def as_made_before(run: Path) -> Path:
    """Take away what earlier versions did not write."""
    model = json.loads((run / "model.json").read_text())
    del model["config"]["cnn"]["resize"]
    assert "resize" not in json.dumps(model["fingerprints"])
    (run / "model.json").write_text(json.dumps(model))
    return run


# --- stores and towers ---


def test_a_store_of_another_filter_is_another_store_and_bicubic_ones_stay_valid():
    assert fingerprint(resize="bicubic") == EARLIER
    assert fingerprint() == fingerprint(resize="bilinear") == {**EARLIER, "resize": "bilinear"}
    assert fingerprint(resize="nearest") == {**EARLIER, "resize": "nearest"}


def test_a_tower_file_says_its_filter_and_one_that_says_none_is_bicubic(tmp_path):
    weights = found()
    weights.save(tmp_path / "tower.safetensors")
    weights.save_trained(tmp_path / "trained.safetensors", weights.build())
    TowerWeights(NAME, tmp_path / "trained.safetensors").save_state(
        tmp_path / "half.safetensors", weights.build().half().state_dict(), "half"
    )
    for name in ("tower", "trained", "half"):
        assert found(tmp_path / f"{name}.safetensors").filter == "bilinear"
    assert found(tmp_path / "tower.safetensors").identity() == weights.identity()
    assert found(tmp_path / "tower.safetensors", resize="nearest").filter == "nearest"
    found(resize="bicubic").save(tmp_path / "earlier.safetensors")
    assert found(tmp_path / "earlier.safetensors").filter == "bicubic"


def test_a_filter_that_there_is_not_is_a_damaged_file(tmp_path):
    found().save(tmp_path / "tower.safetensors")
    said = {"mmposter_weights": "trained-1", "mmposter_resize": "sharp"}
    save_file(load_file(tmp_path / "tower.safetensors"), tmp_path / "odd.safetensors", said)
    with pytest.raises(UserError, match=r"(?s)odd\.safetensors.*bicubic, bilinear, nearest.*sharp"):
        found(tmp_path / "odd.safetensors").identity()


def test_the_shipped_tower_is_bicubic():
    config = CnnConfig(init="posters")
    assert TowerWeights.find(config, offline=True).filter == "bicubic"
    assert "resize" not in TowerWeights.find(config, offline=True).identity()
    assert TowerWeights.find(CnnConfig(init="none"), offline=True).filter == "bilinear"


# --- runs ---


@pytest.mark.parametrize("regime", ["features", "finetune"])
def test_a_run_keeps_the_filter_that_it_was_trained_behind(world, tmp_path, regime):
    sets = {"regime": regime, "branches": "cnn"}
    init = f"cnn.init={that_sees(tmp_path / 'tower.safetensors')}"
    poster = world.dataset.image_path(0)

    def scores(folder: Path) -> dict[str, float]:
        return PosterClassifier.load(folder, device="cpu", offline=True).predict(poster)[0].scores

    plain, bicubic = tmp_path / "plain", tmp_path / "bicubic"
    train(world.config("train.epochs=1", init, **sets), world.dataset, plain, device="cpu", offline=True, quiet=True)
    config = world.config("train.epochs=1", "cnn.resize=bicubic", init, **sets)
    train(config, world.dataset, bicubic, device="cpu", offline=True, quiet=True)
    assert Run.load(plain).tower_input().resize == Run.load(plain).fingerprints["tower"]["resize"] == "bilinear"
    before = scores(bicubic)
    metrics = evaluate_run(Run.load(bicubic), world.dataset, device="cpu", offline=True).metrics
    assert any(abs(score - before[genre]) > 1e-5 for genre, score in scores(plain).items())

    run = Run.load(as_made_before(bicubic))
    assert run.config.cnn.resize == "backbone"
    assert run.tower_input().resize == "bicubic"
    assert scores(bicubic) == before
    assert evaluate_run(run, world.dataset, device="cpu", offline=True).metrics == metrics
    (bicubic / "tower.safetensors").unlink(missing_ok=True)  # as a run on a pack, which goes without
    assert scores(bicubic) == before


def test_a_run_of_an_earlier_version_goes_on_with_its_own_filter_alone(world, tmp_path):
    out, sets = tmp_path / "run", {"branches": "cnn"}
    bicubic = world.config("train.epochs=1", "cnn.resize=bicubic", **sets)
    train(bicubic, world.dataset, out, device="cpu", offline=True, quiet=True)
    as_made_before(out)
    with pytest.raises(
        UserError, match=r"filter bicubic, and mobilenet_v3_small now takes bilinear\.\nGo on with --set cnn"
    ):
        train(world.config("train.epochs=1", **sets), world.dataset, out, device="cpu", offline=True, resume=True)
    train(bicubic, world.dataset, out, device="cpu", offline=True, quiet=True, resume=True)
    assert Run.load(out).resize == "bicubic"


def test_a_run_with_another_filter_than_there_is_is_damaged(world, tmp_path):
    out = tmp_path / "run"
    train(world.config("train.epochs=1", branches="cnn"), world.dataset, out, device="cpu", offline=True, quiet=True)
    text = (out / "model.json").read_text()
    (out / "model.json").write_text(text.replace('"resize": "bilinear"', '"resize": "sharp"'))
    with pytest.raises(UserError, match="bicubic, bilinear, nearest"):
        Run.load(out)


# --- grids ---


@pytest.mark.parametrize(
    ("sets", "branches", "means"),
    [
        (("cnn.backbone=cnn3", "cnn.init=none"), "cnn", "backbone"),  # bicubic then and now
        (("cnn.init=posters",), "cnn", "backbone"),
        ((f"cnn.backbone={NAME}", "cnn.init=tower.safetensors"), "cnn", "backbone"),
        ((f"cnn.backbone={NAME}", "cnn.init=none"), "cnn,ocr", "bicubic"),
        ((f"cnn.backbone={NAME}", "cnn.init=tower.pth"), "style", "bicubic"),
        (("cnn.backbone=hf/org/model", "cnn.init=imagenet"), "cnn", "bicubic"),
        ((f"cnn.backbone={NAME}",), "ocr", "backbone"),  # it looks at no picture
    ],
)
def test_a_finished_cell_of_an_earlier_version_was_bicubic(sets, branches, means):
    config = load_config(None, sets, branches=branches).model_dump(mode="json")
    facts = TrainingFacts(config, "", "test", [], 1, 0, 0.5, 1.0)
    assert facts.parsed().cnn.resize == "backbone"
    del config["cnn"]["resize"]
    assert facts.parsed().cnn.resize == means
