"""A data set with its store, a run, a pack and an ablation, made at commit b7d764a: they load, and say the same.

24 drawn posters of noise, a small random network, records that no detector or reader made. What that commit computed
from them stands in ``expected.json``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmposter import Run, ablate, build_plan, examine_run
from mmposter.ablation.run import AblationSettings
from mmposter.config import load_config
from mmposter.data import Dataset
from mmposter.features.store import ExtractorStore
from mmposter.measurement.evaluate import score_split
from mmposter.training.inputs import load_inputs

MADE = Path(__file__).parent / "b7d764a"
EXPECTED = json.loads((MADE / "expected.json").read_text(encoding="utf-8"))
# Of the files of detector, reader and encoder only the digests count.
STAND_INS = ("craft_mlt_25k.pth", "english_g2.pth", "model.safetensors", "tokenizer.json", "yolo11n.pt")


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A copy of what was made, on a machine with the same files of the frozen models."""
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in STAND_INS:
        (weights / name).write_bytes(b"stands in for " + name.encode())
    (weights / "tokenizer_config.json").write_text("{}")
    (weights / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(weights))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(MADE, tmp_path / "made"))


def _sums(dataset: Dataset) -> dict[str, dict[str, float]]:
    """Of each field of each extractor the sum over all posters."""
    found = {}
    for folder in sorted(dataset.features_folder.iterdir()):
        fingerprint = json.loads((folder / "fingerprint.json").read_text(encoding="utf-8"))
        name = fingerprint.pop("name")
        sums: dict[str, float] = {}
        store = ExtractorStore(dataset.features_folder, name, fingerprint)
        for record in store.read(list(dataset.table["sha256"])):
            for field, values in (record or {}).items():
                sums[field] = sums.get(field, 0.0) + float(np.asarray(values, float).sum())
        found[name] = sums
    return found


def _require_equal(found: dict[str, dict[str, float]], expected: dict[str, dict[str, float]]) -> None:
    assert found.keys() == expected.keys()
    for name, fields in expected.items():
        assert found[name] == pytest.approx(fields, rel=1e-6, abs=1e-6), name


def test_store(made):
    _require_equal(_sums(Dataset.load(made / "data")), EXPECTED["store"])


def test_pack(made):
    _require_equal(_sums(Dataset.load(str(made / "tiny.mmpack"))), EXPECTED["pack"])


def test_run(made):
    run, dataset = Run.load(made / "run"), Dataset.load(made / "data")
    inputs = load_inputs(run.serving_config(), dataset, device="cpu", offline=True, quiet=True, behind=run)
    probs, rows, _ = score_split(run, dataset, inputs, range(len(dataset.table)), device="cpu")
    assert list(rows) == EXPECTED["rows"]
    np.testing.assert_allclose(probs, EXPECTED["probabilities"], atol=1e-6)
    assert run.subsets() is not None


def test_evaluation(made):
    # Measured before `mmposter calibrate` had been run.
    (made / "run" / "subsets.json").unlink()
    found = examine_run(Run.load(made / "run"), Dataset.load(made / "data"), split="test", device="cpu", offline=True)
    metrics = json.loads(json.dumps(found.evaluation.to_json()["metrics"]))
    assert metrics.keys() == EXPECTED["metrics"].keys()
    for name, known in EXPECTED["metrics"].items():
        numbers = {key: value for key, value in known.items() if isinstance(value, int | float)}
        assert {key: metrics[name][key] for key in numbers} == pytest.approx(numbers, abs=1e-6), name


def test_ablation_goes_on_without_training(made):
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (made / "ablation" / "cells").rglob("*") if path.is_file()}

    before = files()
    assert len(before) == 24
    run = Run.load(made / "run")
    plan = build_plan(
        load_config(None, _overrides(run)), grid="leave-one-out", mode="both", axes={"fusion.head": ["sum", "gated"]}
    )
    settings = AblationSettings(seeds=(0, 1), device="cpu", jobs=1, offline=True)
    found = ablate(plan, Dataset.load(made / "data"), made / "ablation", settings, resume=True, quiet=True)
    assert files() == before  # no finished cell is trained again, and none beside them
    assert {cell.name for cell in found.cells} == EXPECTED["ablation"].keys()
    for cell in found.cells:
        for metric, values in EXPECTED["ablation"][cell.name].items():
            assert cell.by_seed[metric] == pytest.approx(values, abs=1e-6), (cell.name, metric)


def _overrides(run: Run) -> list[str]:
    """What was typed for the run, said anew: the plan of an ablation begins with a configuration, not with a run."""
    return [
        "cnn.backbone=cnn3",
        "cnn.init=none",
        "cnn.size=[64,48]",
        "style.reduced=8",
        "yolo.encoding=set",  # which nobody had to type then
        "ocr.encoding=embedded",  # nor that
        "train.epochs=3",
        "train.batch_size=16",
        "evaluation.bootstrap=100",
        "fusion.hidden=16",
        *(f"{name}.dim=8" for name in run.config.branches),
    ]
