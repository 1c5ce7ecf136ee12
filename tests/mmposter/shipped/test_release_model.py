"""scripts/release_model.py: a released run is the same model, smaller, and works wherever it lies."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mmposter import PosterClassifier, Run, UserError
from mmposter.features.tower import TowerWeights
from mmposter.measurement.evaluate import evaluate_run, examine_run

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch):
    """The script as a module; it imports the one beside it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("release_model")


@pytest.fixture
def evaluation(world, calibrated):
    found = examine_run(Run.load(calibrated), world.dataset, calibration=None, device="cpu", offline=True)
    return json.loads(json.dumps(found.to_json()))


def test_a_released_run_is_the_same_model_in_half_the_size(script, world, calibrated, evaluation, tmp_path):
    old, out = Run.load(calibrated), tmp_path / "out" / "posters"
    found = script.release(old, world.dataset, out, evaluation, how="    mmposter train DATA")
    assert found["change"] < 1e-3
    assert {path.name for path in out.iterdir()} == {
        "model.json",
        "best.safetensors",
        "tower.safetensors",
        "subsets.json",
        "README.md",
        "seen.parquet",
    }
    for name in ("best.safetensors", "tower.safetensors"):
        before, after = load_file(calibrated / name), load_file(out / name)
        assert before.keys() == after.keys()
        for key, value in after.items():
            assert value.dtype == (torch.float16 if value.ndim > 1 else before[key].dtype), key
        assert (out / name).stat().st_size < 0.7 * (calibrated / name).stat().st_size
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1, "whoever installs the package can read all of it"
    new = Run.load(out)
    assert new.config.cnn.init == "posters"
    assert str(tmp_path) not in (out / "model.json").read_text()
    assert new.other_weights_allowed == ("yolo", "ocr")
    assert old.fingerprints["cnn"]["weights"] != new.fingerprints["cnn"]["weights"] != ""
    assert new.fingerprints["yolo"] == old.fingerprints["yolo"]
    # It predicts and evaluates like the one it was made of.
    poster = world.dataset.image_path(2)
    both = [
        list(
            PosterClassifier.load(run, branches=["cnn", "style"], device="cpu", offline=True)
            .predict(poster)[0]
            .scores.values()
        )
        for run in (calibrated, out)
    ]
    np.testing.assert_allclose(*both, atol=2e-3)
    assert evaluate_run(new, world.dataset, split="val", device="cpu", offline=True).n == 16


def test_the_header_says_what_was_rounded(script, world, calibrated, tmp_path):
    """Rounding twice is rounding once, so that what was computed behind a rounded tower stays valid."""
    first = TowerWeights("mobilenet_v3_small", calibrated / "tower.safetensors", size=(64, 48))
    script.save_half(first, tmp_path / "half.safetensors")
    second = TowerWeights("mobilenet_v3_small", tmp_path / "half.safetensors", size=(64, 48))
    script.save_half(second, tmp_path / "again.safetensors")
    second.save(tmp_path / "whole.safetensors")
    third = TowerWeights("mobilenet_v3_small", tmp_path / "again.safetensors", size=(64, 48))
    fourth = TowerWeights("mobilenet_v3_small", tmp_path / "whole.safetensors", size=(64, 48))
    assert first.identity() != second.identity() == third.identity() == fourth.identity()
    with safe_open(tmp_path / "half.safetensors", framework="pt") as file:
        assert file.metadata()["mmposter_weights"].startswith("half-")
    built, rounded = first.build().state_dict(), second.build().state_dict()
    assert all(value.dtype == built[key].dtype for key, value in rounded.items())
    assert all(torch.equal(value, built[key]) for key, value in rounded.items() if value.ndim < 2)
    largest = max(float((value - built[key]).abs().max()) for key, value in rounded.items() if value.ndim > 1)
    assert 0 < largest < 1e-3


def test_the_card_says_what_was_measured(script, world, calibrated, evaluation, tmp_path):
    script.release(
        Run.load(calibrated), world.dataset, tmp_path / "posters", evaluation, "By these commands.", evaluation
    )
    text = (tmp_path / "posters" / "README.md").read_text()
    run = Run.load(calibrated)
    assert text.startswith("# posters\n")
    for heading in ("Data", "How it was made", "Results", "Limits", "Licence"):
        assert f"\n## {heading}\n" in text
    assert "By these commands." in text
    value = evaluation["metrics"]["mean_average_precision"]
    assert f"| mAP | {value['value']:.3f} | " in text
    assert f" | {value['constant']:.3f} | " in text
    assert f"which keeps them rounded, and says mAP {value['value']:.3f} (" in text
    for names, subset in run.subsets().subsets.items():
        assert f"| {','.join(names)} | {subset.metrics['mean_average_precision'].value:.3f}" in text
    assert "| constant | " in text
    card = importlib.import_module("model_card")
    unseen, unknown = card.unseen_genres(
        {
            "by_genre": {
                "Seen": {"difference": {"ci95": [0.1, 0.3]}},
                "Unseen": {"difference": {"ci95": [0, 0.4]}},
                "Rare": {"difference": {"ci95": None}},
            }
        }
    )
    assert (unseen, unknown) == (["Unseen"], ["Rare"])


def test_what_is_not_released(script, world, calibrated, evaluation, tmp_path, monkeypatch):
    run, out = Run.load(calibrated), tmp_path / "posters"
    monkeypatch.setattr(script, "LARGEST_MB", 0.5)
    with pytest.raises(UserError, match=r"may take 0 MB and takes \d"):
        script.release(run, world.dataset, out, evaluation)
    monkeypatch.setattr(script, "LARGEST_CHANGE", 0.0)
    with pytest.raises(UserError, match="half precision moves a probability by"):
        script.release(run, world.dataset, out, evaluation)
    other = {**evaluation, "provenance": {**evaluation["provenance"], "decision": None}}
    with pytest.raises(UserError, match=r"\(decision differ\); type: mmposter evaluate"):
        script.release(run, world.dataset, out, other)
    (calibrated / "subsets.json").unlink()
    with pytest.raises(UserError, match="type: mmposter calibrate"):
        script.release(run, world.dataset, out, evaluation)
    assert not [path for path in tmp_path.iterdir() if "posters" in path.name]
