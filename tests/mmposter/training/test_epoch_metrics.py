"""Each epoch's accuracy, precision, recall and OF1: right, in metrics.csv, and in the figure."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score, precision_score, recall_score

from mmposter.config import load_config
from mmposter.files.tensors import tensor_metadata
from mmposter.report.plots import plot_training_curves
from mmposter.training.epochs import validation_columns
from mmposter.training.train import train

NEW = ["val_accuracy", "val_precision", "val_recall", "val_of1"]


def drawn(single: bool = False):
    rng = np.random.default_rng(3)
    target = (rng.random((60, 4)) < 0.4).astype(np.float32)
    if single:
        target = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 60)]
    target[0] = 1 if not single else target[0]
    return target, rng.random((60, 4)).astype(np.float32)


@pytest.mark.parametrize(("said", "limit"), [("tuned", 0.5), ("0.3", 0.3)])
def test_columns_are_those_of_scikit_learn(said, limit):
    target, probs = drawn()
    keep = target.any(axis=1)
    config = load_config(None, [f"evaluation.thresholds={said}", "evaluation.empty=allow"])
    found = validation_columns(target, probs, config)
    decided = probs >= limit
    for column, score in (("val_precision", precision_score), ("val_recall", recall_score), ("val_of1", f1_score)):
        assert found[column] == pytest.approx(score(target[keep], decided[keep], average="micro")), column
    ranked = (-probs).argsort(axis=1)
    hits = [row[order[: int(row.sum())]].mean() for row, order in zip(target, ranked, strict=True) if row.any()]
    assert found["val_accuracy"] == pytest.approx(np.mean(hits))


def test_one_genre_a_poster_has_its_accuracy_and_macro_means():
    target, probs = drawn(single=True)
    probs /= probs.sum(axis=1, keepdims=True)
    found = validation_columns(target, probs, load_config("published/p2/alexnet"))
    true, said = target.argmax(axis=1), probs.argmax(axis=1)
    assert found["val_accuracy"] == pytest.approx((true == said).mean())
    assert found["val_of1"] == pytest.approx(found["val_accuracy"])
    assert found["val_precision"] == pytest.approx(precision_score(true, said, average="macro"))
    assert found["val_recall"] == pytest.approx(recall_score(true, said, average="macro"))


def test_a_run_has_them_by_epoch(world, tmp_path):
    result = train(
        world.config("train.epochs=2"), world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True
    )
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert len(table) == 2
    assert table[NEW].notna().all(axis=None)
    assert ((table[NEW] >= 0) & (table[NEW] <= 1)).all(axis=None)
    assert table["val_accuracy"].tolist() == [row["val_accuracy"] for row in result.progress.history]


def test_a_checkpoint_of_an_earlier_version_goes_on(world, tmp_path):
    """Its epochs have no such columns, and their cells stay empty."""
    config, run = world.config("train.epochs=2"), tmp_path / "run"
    train(config, world.dataset, run, device="cpu", offline=True, quiet=True)
    last = run / "last.safetensors"
    metadata = tensor_metadata(last)
    progress = json.loads(metadata["progress"])
    first = {key: value for key, value in progress["history"][0].items() if key not in NEW}
    progress |= {"epoch": 1, "step": progress["history"][0]["step"], "finished": False, "history": [first]}
    save_file(load_file(last), last, {**metadata, "progress": json.dumps(progress)})
    train(config, world.dataset, run, device="cpu", offline=True, quiet=True, resume=True)
    table = pd.read_csv(run / "metrics.csv")
    assert table[NEW].isna().all(axis=1).tolist() == [True, False]
    assert table["val_map"].notna().all()


def test_the_figure_shows_them_and_does_without():
    rows = [{"epoch": i, "train_loss": 1.0, "val_loss": 0.5, "val_map": 0.1 * i, "lr": 0.1} for i in range(3)]
    assert len(plot_training_curves(rows).axes) == 3
    figure = plot_training_curves([*rows[:2], {**rows[2], **dict.fromkeys(NEW, 0.25)}])
    assert len(figure.axes) == 4
    labels = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert labels == ["accuracy", "precision", "recall", "OF1"]
    assert np.isnan(figure.axes[2].lines[3].get_ydata()[:2]).all()
    assert figure.axes[2].lines[3].get_ydata()[2] == 0.25
