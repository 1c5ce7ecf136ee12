"""What validation posters say of which precision can be promised is kept in subsets.json, for every set of branches."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmposter import Run, UserError
from mmposter.config import BRANCHES
from mmposter.evaluation.promise import Evidence
from mmposter.measurement.evaluate import score_split
from mmposter.runs.decisions import SUBSETS
from mmposter.shipped import shipped_models
from mmposter.training.inputs import load_inputs


def test_calibrate_keeps_what_the_validation_posters_say(world, calibrated):
    run = Run.load(calibrated)
    inputs = load_inputs(run.serving_config(), world.dataset, device="cpu", offline=True)
    groups = np.array(world.dataset.table["group"], dtype=object)
    for only in (BRANCHES, ("cnn", "style"), ("ocr",)):
        raw, rows, seen = score_split(run, world.dataset, inputs, inputs.rows("val"), only=only, device="cpu")
        expected = Evidence.of(inputs.labels[rows] > 0, run.decision(only).apply(raw, seen), groups[rows])
        assert run.evidence(only).to_json() == expected.to_json()
        assert run.evidence(only).count == 16


def test_a_calibration_of_before_is_read_and_says_what_to_type(calibrated):
    values = json.loads((calibrated / SUBSETS).read_text())
    for subset in values["subsets"].values():
        del subset["evidence"]
    (calibrated / SUBSETS).write_text(json.dumps(values))
    run = Run.load(calibrated)
    assert run.decision(["cnn"]).scaling is not None
    with pytest.raises(UserError, match=rf"Type:\n  mmposter calibrate {calibrated} DATA"):
        run.evidence(["cnn"])


def test_of_a_shipped_model_a_copy_is_calibrated(shipped):
    (shipped / SUBSETS).unlink()
    with pytest.raises(UserError) as refused:
        Run.load(shipped).evidence()
    typed = f"cp -r {shipped} posters-calibrated\n  mmposter calibrate posters-calibrated benchmark"
    assert str(refused.value).endswith(f"Type:\n  {typed}")


@pytest.mark.parametrize("surest", [7, "87", "42-87+", "87+ " * 99])
def test_damaged_evidence_is_refused(calibrated, surest):
    values = json.loads((calibrated / SUBSETS).read_text())
    values["subsets"]["cnn"]["evidence"]["surest"] = surest
    (calibrated / SUBSETS).write_text(json.dumps(values))
    with pytest.raises(UserError, match="is damaged"):
        Run.load(calibrated).evidence(["cnn"])


@pytest.mark.skipif(not shipped_models(), reason="this build came without a model")
def test_the_model_that_travels_with_us_keeps_it():
    """For every set of branches, also without the files that they can go without."""
    from mmposter.shipped import shipped_model

    found = Run.load(shipped_model()).subsets()
    assert [names for names, subset in (*found.subsets.items(), *found.spared.items()) if subset.evidence is None] == []
    # Of near-duplicates one counts.
    assert 0.99 * found.fitted.count < found.of(BRANCHES).evidence.count <= found.fitted.count
    assert found.of(BRANCHES).evidence.promise(0.5).holds
