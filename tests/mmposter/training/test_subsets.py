"""Every non-empty subset of the branches trains, evaluates and predicts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mmposter.config import BRANCHES
from mmposter.errors import UserError
from mmposter.measurement.evaluate import evaluate_run
from mmposter.runs.run import Run
from mmposter.training.train import train

SUBSETS = [",".join(names) for size in range(1, 5) for names in combinations(BRANCHES, size)]


def test_there_are_fifteen_subsets():
    assert len(SUBSETS) == 15


@pytest.mark.parametrize("branches", SUBSETS)
def test_subset_trains_and_evaluates(world, tmp_path, branches):
    config = world.config("train.epochs=2", branches=branches)
    result = train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    assert result.run.config.branches == tuple(branches.split(","))
    evaluation = evaluate_run(Run.load(tmp_path / "run"), world.dataset, device="cpu", offline=True).to_json()
    assert evaluation["split"] == "test"
    assert evaluation["n"] == 16
    assert 0 <= evaluation["metrics"]["mean_average_precision"]["value"] <= 1


@pytest.mark.parametrize(("branch", "genre"), [("cnn", "Bright"), ("yolo", "Crowded"), ("ocr", "Wordy")])
def test_each_branch_learns_what_only_it_can_see(world, tmp_path, branch, genre):
    config = world.config("train.epochs=30", "train.patience=30", "train.learning_rate=0.01", branches=branch)
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    by_genre = evaluate_run(Run.load(tmp_path / "run"), world.dataset, device="cpu", offline=True).to_json()["by_genre"]
    assert by_genre[genre]["average_precision"] > by_genre[genre]["prevalence"] + 0.2


def test_masking_differs_from_the_whole_and_hides_the_others(world, tmp_path):
    train(world.config(branches="cnn,yolo"), world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    run = Run.load(tmp_path / "run")
    results = [
        evaluate_run(run, world.dataset, only=only, device="cpu", offline=True).metrics
        for only in (None, ("cnn",), ("yolo",))
    ]
    assert len({np.round(result["expected_calibration_error"].value, 9) for result in results}) == 3
    with pytest.raises(UserError, match=r"--branches ocr: this run was trained with cnn,yolo"):
        evaluate_run(run, world.dataset, only=("ocr",), device="cpu", offline=True)
