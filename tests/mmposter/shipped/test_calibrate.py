"""What `mmposter calibrate` fits is what predict and evaluate use, for the very branches they look through."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter import PosterClassifier, Run, UserError
from mmposter.cli import app
from mmposter.config import BRANCHES
from mmposter.evaluation import apply_thresholds, mean_average_precision
from mmposter.evaluation.scaling import fit_scaling
from mmposter.evaluation.scored import PREDICTIONS
from mmposter.measurement.calibrate import calibrate_run
from mmposter.measurement.compare import compare_runs
from mmposter.measurement.evaluate import evaluate_run, examine_run, score_split
from mmposter.report.evaluation import evaluation_folder
from mmposter.runs.decisions import SUBSETS, branch_subsets
from mmposter.training.inputs import load_inputs
from mmposter.training.train import train

ALL = [names for size in range(1, 5) for names in combinations(BRANCHES, size)]


def raw(run, dataset, only, split):
    """What the model says, before any decision."""
    inputs = load_inputs(run.serving_config(), dataset, device="cpu", offline=True)
    probs, rows, _ = score_split(run, dataset, inputs, inputs.rows(split), only=only, device="cpu")
    return probs, inputs.labels[rows], rows


def test_branch_subsets_are_all_of_them_the_largest_first():
    found = branch_subsets(BRANCHES)
    assert found[0] == BRANCHES
    assert set(found) == set(ALL)
    assert len(found) == 15


def test_every_subset_is_fitted_on_val_and_measured_on_test(world, calibrated):
    run = Run.load(calibrated)
    found = run.subsets()
    assert set(found.subsets) == set(ALL)
    assert (found.fitted.split, found.fitted.count, found.measured.split, found.measured.count) == (
        "val",
        16,
        "test",
        16,
    )

    def shown(only):
        """mAP of what is shown; of nearly equal logits (random weights) the raw ones may have another order."""
        inputs = load_inputs(run.serving_config(), world.dataset, device="cpu", offline=True)
        probs, rows, seen = score_split(run, world.dataset, inputs, inputs.rows("test"), only=only, device="cpu")
        return mean_average_precision(inputs.labels[rows], found.subsets[only].decision.apply(probs, seen))

    for only in (("cnn",), ("style", "ocr"), BRANCHES):
        subset = found.subsets[only]
        val, target, _ = raw(run, world.dataset, only, "val")
        fitted = fit_scaling(target, val)
        assert subset.decision.scaling.slope == pytest.approx(fitted.slope, rel=1e-6)
        assert subset.decision.scaling.offsets == pytest.approx(fitted.offsets, abs=1e-6)
        assert subset.metrics["mean_average_precision"].value == pytest.approx(shown(only))
        if only == BRANCHES:
            assert subset.difference is None
        else:
            assert subset.difference["mean_average_precision"].value == pytest.approx(shown(only) - shown(BRANCHES))
    _, target, _ = raw(run, world.dataset, None, "test")
    prevalence = target[:, target.any(axis=0)].mean(axis=0).mean()
    assert found.constant["mean_average_precision"] == pytest.approx(prevalence)


@pytest.mark.parametrize("only", [("cnn",), ("style",), ("cnn", "style")])
def test_predict_and_evaluate_agree_on_every_subset(world, calibrated, only):
    """yolo and ocr cannot run here (their files are dummies), so they are masked."""
    run = Run.load(calibrated)
    found = examine_run(run, world.dataset, only=only, calibration=None, device="cpu", offline=True).scored
    rows = [int(np.flatnonzero(world.dataset.table["id"] == name)[0]) for name in found.ids]
    classifier = PosterClassifier.load(calibrated, branches=only, device="cpu", offline=True)
    predictions = classifier.predict([world.dataset.image_path(row) for row in rows])
    for expected, decided, prediction in zip(found.probs, found.decisions, predictions, strict=True):
        np.testing.assert_allclose(list(prediction.scores.values()), expected, atol=1e-5)
        assert set(prediction.genres) == {run.vocabulary.genres[g] for g in np.flatnonzero(decided)}
    decision = run.decision(only)
    assert found.thresholds == pytest.approx(decision.thresholds)
    assert found.source.decision == decision.digest
    probs, _, _ = raw(run, world.dataset, only, "test")
    np.testing.assert_array_equal(found.probs, decision.apply(probs))
    assert not np.allclose(found.probs, probs, atol=1e-3), "the scaling was in use"


def test_without_the_file_nothing_changes(world, trained):
    run = Run.load(trained)
    decision = run.decision(("cnn",))
    assert (decision.scaling, decision.digest) == (None, None)
    assert decision.thresholds is run.thresholds
    probs, _, _ = raw(run, world.dataset, ("cnn",), "test")
    assert decision.apply(probs) is probs
    found = examine_run(run, world.dataset, only=("cnn",), device="cpu", offline=True).scored
    np.testing.assert_array_equal(found.probs, probs)
    np.testing.assert_array_equal(found.decisions, apply_thresholds(probs, run.thresholds, "top1"))


def test_what_evaluate_measures_is_what_the_file_says(world, calibrated):
    run = Run.load(calibrated)
    known = run.subsets().subsets[("cnn", "ocr")]
    found = evaluate_run(run, world.dataset, only=("ocr", "cnn"), device="cpu", offline=True)
    for name, value in known.metrics.items():
        assert found.metrics[name].value == pytest.approx(value.value)
        assert found.metrics[name].ci95 == pytest.approx(value.ci95)
    assert found.metrics["expected_calibration_error"].value == pytest.approx(known.error_after.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: "no JSON", "is damaged"),
        (lambda v: v["subsets"].pop("cnn"), "other genres or branches"),
        (lambda v: v["genres"].reverse(), "other genres or branches"),
        (lambda v: v["subsets"]["cnn"]["offsets"].pop(), "4 numbers must be there"),
        (lambda v: v["subsets"]["cnn"].update(slope=-1), "slope must be above 0"),
        (lambda v: v["subsets"]["cnn"].pop("thresholds"), "KeyError: 'thresholds'"),
        (lambda v: v.update(subsets=[1]), "is damaged"),
        (lambda v: v["subsets"]["cnn"]["metrics"].pop("macro_f1"), "KeyError: 'macro_f1'"),
        (lambda v: v.update(format=2), "has format 2, this mmposter reads up to 1"),
        (lambda v: v.update(weights="0" * 64), "was trained again since it was calibrated"),
    ],
)
def test_a_damaged_file_is_told(calibrated, damage, message):
    path = calibrated / SUBSETS
    values = json.loads(path.read_text())
    said = damage(values)
    path.write_text(said if said == "no JSON" else json.dumps(values))
    with pytest.raises(UserError, match=message):
        PosterClassifier.load(calibrated, branches=["cnn"], device="cpu", offline=True)


def test_what_cannot_be_calibrated(world, trained, tmp_path):
    with pytest.raises(UserError, match="--split takes test or train"):
        calibrate_run(Run.load(trained), world.dataset, split="val", device="cpu", offline=True, quiet=True)
    alone = {"regime": "finetune", "branches": "cnn"}
    softmax = ("loss.name=cross_entropy", "evaluation.thresholds=top1", "cnn.backbone=pixels", "cnn.classifier=dense")
    config = world.config(*softmax, "train.epochs=1", **alone)
    train(config, world.dataset, tmp_path / "softmax", device="cpu", offline=True, quiet=True)
    with pytest.raises(UserError, match="gives each poster one genre"):
        calibrate_run(Run.load(tmp_path / "softmax"), world.dataset, device="cpu", offline=True, quiet=True)


def test_the_command_writes_the_file_and_shows_the_constant(world, trained):
    arguments = ["calibrate", str(trained), str(world.dataset.folder), "--device", "cpu", "--offline"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "constant" in result.stdout
    assert "cnn,style,yolo,ocr" in result.stdout
    first = (trained / SUBSETS).read_bytes()
    again = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert (trained / SUBSETS).read_bytes() == first
    assert json.loads(again.stdout) == json.loads(first)


def test_a_comparison_sees_that_a_run_was_calibrated_since(world, calibrated):
    run = Run.load(calibrated)
    saved = (calibrated / SUBSETS).read_bytes()
    (calibrated / SUBSETS).unlink()
    for name in ("cnn", "style"):
        found = examine_run(run, world.dataset, only=(name,), calibration=None, device="cpu", offline=True)
        found.scored.save(evaluation_folder(calibrated, "test", (name,)) / PREDICTIONS)
    folders = [evaluation_folder(calibrated, "test", (name,)) for name in ("cnn", "style")]
    compare_runs(folders, n_boot=20, quiet=True)
    (calibrated / SUBSETS).write_bytes(saved)
    with pytest.raises(UserError, match="was calibrated since its evaluation"):
        compare_runs(folders, n_boot=20, quiet=True)
