"""Posters that a run has seen are left out where it is measured, and other data have a folder of their own."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.data import Dataset, write_dataset
from mmposter.errors import UserError
from mmposter.evaluation.scored import PREDICTIONS, ScoredPosters
from mmposter.measurement.calibrate import calibrate_run, remember_fit
from mmposter.measurement.evaluate import examine_run
from mmposter.runs.run import Run
from mmposter.runs.seen import SEEN, SeenPosters
from mmposter.training.train import train

# Of 64 posters, by number modulo 4: the run trains on 0 and 1, stops by 2, and leaves 3.
OTHER = ("test", "train", "val", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_world):
    folder = tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv)
        config = world.config(branches="cnn,yolo")
        train(config, world.dataset, folder / "run", device="cpu", offline=True, quiet=True)
    return world, folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(made[1] / "weights"))
    return shutil.copytree(made[1] / "run", tmp_path / "run")


@pytest.fixture
def other(made, tmp_path) -> Dataset:
    """The same posters, prepared with another seed."""
    return split_anew(made[0].dataset, tmp_path / "other", OTHER)


def split_anew(dataset: Dataset, folder, sides) -> Dataset:
    folder.mkdir()
    table = dataset.table.assign(split=[sides[row % 4] for row in range(len(dataset))])
    info = {"root": str(dataset.root), "features": str(dataset.features_folder)}
    write_dataset(folder, table, dataset.vocabulary, info)
    return Dataset.load(folder)


def examined(run, data, **how):
    return examine_run(Run.load(run), data, device="cpu", offline=True, **how)


def test_training_keeps_the_hashes_of_its_posters(made, run):
    seen, table = SeenPosters.load(run), made[0].dataset.table
    assert seen.among(table).tolist() == [row % 4 != 3 for row in range(64)]
    assert seen.among(table, ["val"]).tolist() == [row % 4 == 2 for row in range(64)]


def test_trained_posters_are_left_out_and_said(run, other, capsys):
    found = examined(run, other)
    assert found.scored.source.left_out == 16
    assert {int(name[-3:]) % 4 for name in found.scored.ids} == {3}
    assert "16 of 32 posters were seen in training and are left out" in capsys.readouterr().err
    everything = examined(run, other, include_trained=True)
    assert len(everything.scored.ids) == 32
    assert everything.scored.source.left_out == 0
    assert "16 of 32 posters were seen in training: the numbers say little" in capsys.readouterr().err


def test_a_near_copy_is_found_by_its_perceptual_hash(made, run, tmp_path):
    """The files are others, so nothing but the hash tells."""
    table = made[0].dataset.table
    hashes = np.random.default_rng(0).integers(0, 2**63, 64, dtype=np.uint64)
    SeenPosters.of(
        table.iloc[:4].assign(phash=hashes[:4], sha256=["0" * 64, "1" * 64, "2" * 64, "3" * 64]), "train"
    ).save(run)
    near = split_anew(made[0].dataset, tmp_path / "near", ("test", "train", "val", "test"))
    write_dataset(near.folder, near.table.assign(phash=hashes ^ np.uint64(5)), near.vocabulary, dict(near.info))
    found = examined(run, Dataset.load(near.folder))
    assert found.scored.source.left_out == 2  # posters 0 and 3
    assert not {"film000", "film003"} & set(found.scored.ids)


def test_all_seen_is_refused_and_the_runs_own_split_is_not(made, run, tmp_path, capsys):
    data = split_anew(made[0].dataset, tmp_path / "all", ("test", "train", "val", "train"))
    with pytest.raises(UserError, match=r"seen all 16 posters of test in training.*\n.*--include-trained"):
        examined(run, data)
    assert len(examined(run, made[0].dataset, split="train").scored.ids) == 32
    assert "32 of 32 posters were seen in training" in capsys.readouterr().err
    assert examined(run, made[0].dataset).scored.source.left_out == 0


def test_a_run_without_the_record_says_that_it_cannot_tell(made, run, other, capsys):
    (run / SEEN).unlink()
    found = examined(run, other)
    assert len(found.scored.ids) == 32
    assert found.scored.source.left_out is None
    assert capsys.readouterr().err.count("cannot be told") == 1


def test_calibration_leaves_them_out_and_counts_its_own(made, run, tmp_path):
    data = split_anew(made[0].dataset, tmp_path / "other", ("val", "train", "test", "val"))
    with pytest.raises(UserError, match="seen all 16 posters of test"):  # they chose the epoch
        calibrate_run(Run.load(run), data, device="cpu", offline=True, quiet=True)
    data = split_anew(made[0].dataset, tmp_path / "third", ("test", "train", "val", "test"))
    found = calibrate_run(Run.load(run), data, device="cpu", offline=True, quiet=True)
    assert (found.fitted.count, found.measured.count) == (16, 16)
    data = split_anew(made[0].dataset, tmp_path / "fourth", ("val", "train", "test", "val"))
    remember_fit(Run.load(run), data)
    seen = SeenPosters.load(run)
    assert seen.among(data.table).all()
    assert seen.among(data.table, ["val"]).tolist() == [row % 4 in (2, 3) for row in range(64)]


def test_other_data_do_not_replace_the_runs_evaluation(made, run, other, tmp_path):
    """Both are kept, and compared on either data."""
    second = shutil.copytree(run, tmp_path / "second")
    invoke = CliRunner().invoke
    how = ["--device", "cpu", "--offline"]
    for folder in (run, second):
        for data in (made[0].dataset, other):
            done = invoke(app, ["evaluate", str(folder), str(data.folder), *how])
            assert done.exit_code == 0, done.output
    place = run / "evaluation" / f"other-{other.info['manifest_sha256'][:8]}" / "test"
    kept = {
        path: ScoredPosters.load(path / PREDICTIONS).source.manifest for path in (run / "evaluation" / "test", place)
    }
    assert list(kept.values()) == [data.info["manifest_sha256"] for data in (made[0].dataset, other)]
    for data in (made[0].dataset, other):
        done = invoke(app, ["compare", str(run), str(second), "--data", str(data.folder), "--json", *how])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["manifest"] == data.info["manifest_sha256"]
    done = invoke(app, ["compare", str(place), str(second / place.relative_to(run)), "--json"])
    assert json.loads(done.stdout)["manifest"] == other.info["manifest_sha256"]


def test_an_evaluation_of_earlier_times_is_found(made, run, other, tmp_path):
    """Of other data, in the first place."""
    second = shutil.copytree(run, tmp_path / "second")
    for folder in (run, second):
        examined(run, other).scored.save(folder / "evaluation" / "test" / PREDICTIONS)
    done = CliRunner().invoke(app, ["compare", str(run), str(second), "--data", str(other.folder), "--json"])
    assert done.exit_code == 0, done.output
    assert not list(run.glob("evaluation/other-*"))
