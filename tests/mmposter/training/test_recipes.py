"""Optimisers, schedules, kept epochs and thresholds as published recipes ask for them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmposter.config import TrainConfig, load_config
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import DivergedError, UserError
from mmposter.explain.classifier import PosterClassifier
from mmposter.measurement.evaluate import evaluate_run
from mmposter.runs.run import WEIGHTS, Run
from mmposter.training import loop
from mmposter.training.loop import build_optimizer, rate_factor
from mmposter.training.train import train

ALONE = {"regime": "finetune", "branches": "cnn"}


def _train(config, dataset, out):
    return train(config, dataset, out, device="cpu", offline=True, quiet=True)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        # One step of rate .1 at gradient 2, from 1: SGD goes down by rate x gradient; Adam by its rate, whatever the
        # gradient; RMSprop by rate x g / sqrt(.01 g^2).
        ("sgd", 0.8),
        ("adam", 0.9),
        ("adamw", 0.9),
        ("rmsprop", 0.0),
    ],
)
def test_first_step_of_each_optimiser(name, step):
    weight = torch.nn.Parameter(torch.ones(1))
    config = TrainConfig(optimizer=name, learning_rate=0.1, momentum=0.0)
    optimizer = build_optimizer([{"params": [weight], "weight_decay": 0.0, "lr": 0.1}], config)
    (weight * 2).sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(step, abs=1e-5)


def test_momentum_adds_up():
    weight = torch.nn.Parameter(torch.ones(1))
    config = TrainConfig(optimizer="sgd", learning_rate=0.1, momentum=0.5)
    optimizer = build_optimizer([{"params": [weight], "weight_decay": 0.0}], config)
    for _ in range(2):
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()
    assert weight.item() == pytest.approx(1 - 0.1 - 0.1 * 1.5)


def test_a_constant_rate_stays():
    assert [rate_factor(step, 10, 0.0, "constant") for step in range(10)] == [1.0] * 10
    assert rate_factor(0, 10, 0.2, "constant") == 0.5


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
def test_resume_with_every_optimiser(world, tmp_path, monkeypatch, optimizer):
    """32 training posters in batches of 16: stopped in the second epoch, it ends where an uninterrupted one does."""
    config = world.config(f"train.optimizer={optimizer}", "train.momentum=0.9", branches="yolo")
    _train(config, world.dataset, tmp_path / "whole")
    steps = loop.Trainer._step
    count = 0

    def dies(self, *arguments):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return steps(self, *arguments)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", dies)
        with pytest.raises(KeyboardInterrupt):
            _train(config, world.dataset, tmp_path / "parts")
    train(config, world.dataset, tmp_path / "parts", device="cpu", offline=True, quiet=True, resume=True)
    whole, parts = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=0, atol=1e-6)


def test_the_last_epoch_is_kept_on_demand(world, tmp_path):
    # A rate that ruins the model after the first epochs: the best epoch is not the last.
    ruin = ("train.epochs=6", "train.patience=1", "train.learning_rate=20", "train.schedule=constant")
    best = _train(world.config(*ruin, branches="yolo"), world.dataset, tmp_path / "best").progress
    last = _train(world.config(*ruin, "train.keep=last", branches="yolo"), world.dataset, tmp_path / "last").progress
    assert len(best.history) < 6, "stopped early"
    assert (len(last.history), last.best_epoch) == (6, 5)
    assert last.best == pytest.approx(last.history[-1]["val_map"])
    kept = load_file(tmp_path / "last" / WEIGHTS)
    state = load_file(tmp_path / "last" / loop.LAST)
    assert all(torch.equal(value, state[f"model.{key}"]) for key, value in kept.items())
    assert "kept is epoch 6 of 6, the last one" in (tmp_path / "last" / "README.md").read_text()


def test_thresholds_may_be_given(world, tmp_path):
    config = world.config("evaluation.thresholds=0.6225", "evaluation.empty=allow", branches="yolo")
    assert _train(config, world.dataset, tmp_path).run.thresholds.tolist() == [0.6225] * 4
    assert "A genre is decided from 0.6225 on." in (tmp_path / "README.md").read_text()
    with pytest.raises(UserError, match=r"allowed with evaluation\.empty=top1"):
        load_config(None, ["evaluation.thresholds=top1", "evaluation.empty=allow"])


def test_one_genre_a_poster_with_softmax(world, tmp_path):
    """Bright or not, as two genres that exclude each other."""
    table = world.dataset.table.copy()
    table["genres"] = table["raw_genres"] = [["Bright"] if "Bright" in names else ["Dark"] for names in table["genres"]]
    dataset = type(world.dataset)(
        world.dataset.folder, world.dataset.root, table, Vocabulary("two", ("Bright", "Dark"), {}), world.dataset.info
    )
    config = world.config(
        "loss.name=cross_entropy",
        "evaluation.thresholds=top1",
        "cnn.backbone=pixels",
        "cnn.classifier=dense",
        "cnn.hidden=[16]",
        "cnn.dropout=0",
        "train.learning_rate=0.01",
        "train.keep=last",
        "train.epochs=25",
        **ALONE,
    )
    result = _train(config, dataset, tmp_path / "run")
    found = evaluate_run(result.run, dataset, device="cpu", offline=True)
    assert found.single_label is not None
    assert found.metrics["accuracy"].value == found.metrics["r_precision"].value > 0.8
    poster = dataset.image_path(0)
    prediction = PosterClassifier.load(tmp_path / "run", offline=True, device="cpu").predict(poster)[0]
    assert sum(prediction.scores.values()) == pytest.approx(1)
    assert prediction.genres == [max(prediction.scores, key=lambda genre: prediction.scores[genre])]
    loss = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])["val_loss"]
    assert 0 < loss < 5


@pytest.mark.parametrize("classifier", ["cnn.classifier=own", "cnn.classifier=dense"])
def test_a_network_alone_learns_moves_and_predicts(world, tmp_path, classifier):
    more = (classifier, "cnn.dropout=0.1") + (("cnn.hidden=[8]",) if "dense" in classifier else ())
    config = world.config(*more, "train.epochs=2", **ALONE)
    _train(config, world.dataset, tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    run = Run.load(tmp_path / "moved")
    assert "fusion" not in {key.split(".")[0] for key in load_file(run.folder / WEIGHTS)}
    paths = [world.dataset.image_path(row) for row in range(3)]
    probs = [p.scores for p in PosterClassifier.load(run.folder, offline=True, device="cpu").predict(paths)]
    assert np.isfinite([list(scores.values()) for scores in probs]).all()
    for bad in (["cnn.classifier=own"], ["cnn.classifier=own", "regime=finetune"]):
        with pytest.raises(UserError, match="allowed with branches cnn and regime finetune"):
            load_config(None, bad)


def test_a_picture_too_small_for_the_network_is_told_before_training(world, tmp_path):
    config = world.config("cnn.backbone=alexnet", "cnn.size=[40,40]", "cnn.classifier=own", **ALONE)
    with pytest.raises(UserError, match="at least 63 x 63 pixels for alexnet, got 40 x 40"):
        _train(config, world.dataset, tmp_path / "run")


RUIN = ("train.learning_rate=1e30", "train.clip_norm=null", "train.schedule=constant", "train.optimizer=sgd")


def test_a_diverged_training_is_told_with_what_to_do(world, tmp_path):
    config = world.config(*RUIN, "train.warmup=0", branches="yolo")
    with pytest.raises(DivergedError, match=r"diverged in epoch 1: .* no number any more\.\nTake a smaller rate"):
        _train(config, world.dataset, tmp_path)


def test_half_precision_is_named_as_a_cause_where_it_was_used(world, tmp_path):
    for precision, named in (("bf16", True), ("fp32", False)):
        config = world.config(*RUIN, "train.warmup=0", f"train.precision={precision}", branches="yolo")
        with pytest.raises(DivergedError) as failed:
            _train(config, world.dataset, tmp_path / precision)
        assert ("--set train.precision=fp32" in str(failed.value)) == named


def test_the_best_epoch_before_a_divergence_is_kept(world, tmp_path, monkeypatch):
    """The rate explodes in the second epoch (two steps each)."""
    config = world.config("train.clip_norm=null", "train.optimizer=sgd", "train.epochs=5", branches="yolo")
    monkeypatch.setattr(loop, "rate_factor", lambda step, *_: 1.0 if step < 2 else 1e30)
    result = _train(config, world.dataset, tmp_path)
    assert (len(result.progress.history), result.progress.best_epoch) == (1, 0)
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / WEIGHTS).values())
    assert Run.load(tmp_path).thresholds is not None
