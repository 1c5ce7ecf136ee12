"""Small data: a training that begins at the base rates, takes its steps, and claims no more than it can."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.evaluation.thresholds import ENOUGH, NEVER, TELLING
from mmposter.measurement.evaluate import evaluate_run, examine_run
from mmposter.runs.listing import list_runs
from mmposter.runs.run import BASE_RATES, Run
from mmposter.training.inputs import load_inputs
from mmposter.training.train import train


def _train(world, out, *more, **direct):
    return train(world.config(*more, **direct), world.dataset, out, device="cpu", offline=True, quiet=True)


def _labels(world, config):
    inputs = load_inputs(config, world.dataset, device="cpu", offline=True, quiet=True)
    return inputs.labels[inputs.rows("train")]


@pytest.fixture
def without(world):
    """No training poster has the genre `Rare`."""
    table = world.dataset.table
    table["genres"] = [
        [genre for genre in genres if genre != "Rare"] or ["Bright"] if split == "train" else genres
        for genres, split in zip(table["genres"], table["split"], strict=True)
    ]
    return world


def test_twenty_posters_do_not_get_all_genres(world_of, tmp_path):
    world = world_of(20)
    result = _train(world, tmp_path / "run", "train.epochs=null", "train.min_steps=24", branches="ocr")
    assert result.progress.step >= 24
    found = examine_run(result.run, world.dataset, split="test", device="cpu", offline=True).scored
    labels = _labels(world, result.run.config)
    assert found.decisions.sum(axis=1).mean() <= 1.5 * labels.sum(axis=1).mean()


@pytest.mark.parametrize("head", ["sum", "concat"])
def test_a_genre_without_a_training_poster_stays_at_its_prior_and_is_never_given(without, tmp_path, head):
    options = (f"fusion.head={head}", "fusion.options.dropout=0")
    result = _train(without, tmp_path / "run", *options, "train.learning_rate=0.05", branches="cnn,ocr")
    place = result.run.vocabulary.genres.index("Rare")
    found = examine_run(result.run, without.dataset, split="test", device="cpu", offline=True).scored
    assert found.probs[:, place] == pytest.approx(0.5 / len(_labels(without, result.run.config)), abs=1e-6)
    assert not found.decisions[:, place].any()
    assert result.run.thresholds[place] == NEVER
    assert np.ptp(found.probs[:, 0]) > 0.01, "the others have learnt"


@pytest.mark.parametrize("branches", ["cnn,yolo", "yolo"])
def test_a_training_begins_at_the_base_rates(world, tmp_path, branches):
    still = ("train.learning_rate=1e-12", "train.epochs=1")
    result = _train(world, tmp_path / "run", *still, branches=branches)
    labels = _labels(world, result.run.config)
    assert result.run.facts[BASE_RATES] == pytest.approx(labels.mean(axis=0).tolist())
    found = examine_run(result.run, world.dataset, split="test", device="cpu", offline=True).scored
    # The weights add what they see, which is near nothing yet.
    assert found.probs.mean(axis=0) == pytest.approx(labels.mean(axis=0), abs=0.12)


def test_posters_without_boxes_get_the_base_rates_from_evaluate_too(world, tmp_path):
    result = _train(world, tmp_path / "run", branches="yolo,ocr")
    for only in (("yolo",), ("ocr",)):
        found = examine_run(result.run, world.dataset, split="test", only=only, device="cpu", offline=True).scored
        rates = np.array(result.run.facts[BASE_RATES], np.float32)
        blind = (found.probs == rates).all(axis=1)
        assert 0 < blind.sum() < len(blind)
        assert len(np.unique(found.decisions[blind], axis=0)) == 1
        assert found.decisions[blind][0].sum() < len(rates)


def test_a_handful_of_validation_posters_is_no_result(world_of, tmp_path):
    world = world_of(28)  # 7 to validate on
    data, out = str(world.dataset.folder), str(tmp_path / "run")
    sets = [part for override in (*world.overrides, "train.epochs=4") for part in ("--set", override)]
    done = CliRunner().invoke(app, ["train", data, "--branches", "ocr", "--out", out, "--offline", *sets])
    assert done.exit_code == 0, done.output
    assert "last epoch, 4 of 4: 7 validation posters are too few to tell how good it is" in done.output
    assert "val mAP" not in done.output
    assert "mAP" not in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert done.output.count("warning: ") == 1
    assert f"7 validation posters with a genre are too few for thresholds genre by genre ({ENOUGH}" in done.output
    run = Run.load(out)
    assert run.facts["best_epoch"] == 3
    assert len(set(run.thresholds[run.thresholds < NEVER].tolist())) == 1
    assert list_runs(tmp_path)[0].val_map is None
    assert TELLING > 7


def test_a_warning_names_genres_that_no_training_poster_has(without, tmp_path, capsys):
    train(without.config(branches="ocr"), without.dataset, tmp_path / "run", device="cpu", offline=True)
    assert "no training poster has Rare (1 of 4 genres): never given" in capsys.readouterr().err


@pytest.mark.parametrize("branches", ["ocr", "cnn,style,yolo,ocr"])
def test_batches_of_one_poster_teach(world_of, tmp_path, branches):
    world = world_of(16)
    options = ("train.batch_size=1", "train.epochs=3", "train.learning_rate=0.003")
    result = _train(world, tmp_path / "run", *options, branches=branches)
    losses = [row["train_loss"] for row in result.progress.history]
    assert losses[0] > losses[-1] > 0
    assert result.progress.step == 3 * len(_labels(world, result.run.config))
    assert evaluate_run(result.run, world.dataset, device="cpu", offline=True).n > 0


def test_the_image_network_learns_from_one_poster_at_a_time(world_of, tmp_path):
    world = world_of(8)
    options = ("train.batch_size=1", "train.epochs=1", "cnn.size=[32,32]")
    result = _train(world, tmp_path / "run", *options, branches="cnn", regime="finetune")
    assert result.progress.history[0]["train_loss"] > 0
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])["step"] == 4
