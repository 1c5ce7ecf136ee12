"""Runs trained as controls: they train and evaluate, and are no models for use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmposter import Dataset, PosterClassifier, Run, UserError
from mmposter.config import Config
from mmposter.data import write_dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.features.store import ExtractorStore
from mmposter.features.table import dataset_extractors
from mmposter.measurement.evaluate import evaluate_run
from mmposter.training.inputs import load_inputs
from mmposter.training.train import train


def fit(config: Config, dataset: Dataset, out: Path) -> Path:
    train(config, dataset, out, device="cpu", offline=True, quiet=True)
    return out


def average_precision(run: Path, dataset: Dataset, genre: str, split: str = "test") -> tuple[float, float]:
    result = evaluate_run(Run.load(run), dataset, split=split, device="cpu", offline=True).to_json()["by_genre"][genre]
    return result["average_precision"], result["prevalence"]


def with_masked_records(world, config: Config, dataset: Dataset | None = None) -> Dataset:
    """The data set, with what the text encoder would make of masked lines: the records of the unmasked ones."""
    dataset = dataset or world.dataset
    plain = dataset_extractors(dataset, world.config(), ["ocr"], offline=True)["ocr"].feature
    masked = dataset_extractors(dataset, config, ["ocr"], offline=True)["ocr"].feature
    hashes = list(dataset.table["sha256"])
    before, after = (ExtractorStore(dataset.features_folder, "text", step.fingerprint()) for step in (plain, masked))
    after.describe(before.metadata())
    after.write(dict(zip(hashes, before.read(hashes), strict=True)))
    return dataset


# --- shuffled ---


def test_a_shuffled_branch_learns_nothing_of_what_it_alone_can_see(world, tmp_path):
    """Crowded shows in the boxes only, and whoever sees them learns it (see test_subsets)."""
    quick = ("train.epochs=30", "train.patience=30", "train.learning_rate=0.01")
    gains = []
    for seed in range(3):
        config = world.config(*quick, "shuffled=yolo", f"seed={seed}", branches="yolo")
        value, prevalence = average_precision(
            fit(config, world.dataset, tmp_path / f"{seed}"), world.dataset, "Crowded"
        )
        gains.append(value - prevalence)
    # With its own boxes the gain is .6. On 16 test posters chance alone moves it by .1, and more often up than down.
    assert np.mean(gains) < 0.2


def test_only_the_named_branch_is_dealt_for_training_and_for_evaluation_alike(world):
    plain = load_inputs(world.config(branches="cnn,yolo"), world.dataset, device="cpu", offline=True, quiet=True)
    config = world.config("shuffled=yolo", branches="cnn,yolo")
    first, again = (load_inputs(config, world.dataset, device="cpu", offline=True, quiet=True) for _ in range(2))
    every = np.arange(len(world.dataset))
    pooled, scores = (
        [found.features.tensors[key][every] for found in (plain, first, again)] for key in ("cnn.pooled", "yolo.scores")
    )
    assert pooled[0].equal(pooled[1])
    assert scores[1].equal(scores[2])
    assert not scores[0].equal(scores[1])
    for split in ("train", "val", "test"):
        rows = plain.rows(split)
        one, other = (sorted(map(tuple, values[rows].tolist())) for values in scores[:2])
        assert one == other
    labels = np.array([row[1] for row in plain.labels])
    own, dealt = (np.corrcoef((values > 0).sum(dim=1), labels)[0, 1] for values in scores[:2])
    assert own > 0.9
    assert abs(dealt) < 0.35  # 64 posters: three standard errors


def test_predict_refuses_a_shuffled_branch_and_takes_the_others(world, tmp_path):
    config = world.config("train.epochs=1", "shuffled=yolo", branches="cnn,yolo")
    run = fit(config, world.dataset, tmp_path / "run")
    with pytest.raises(UserError) as caught:
        PosterClassifier.load(run, device="cpu", offline=True)
    assert str(caught.value).splitlines() == [
        f"{run} is a control, not a model for use:",
        "  yolo was trained on the records of other posters (shuffled=yolo)",
        "Leave that out with --branches cnn, or train a model without these settings: mmposter train DATA --out OTHER",
        f"To measure this one: mmposter evaluate {run} DATA",
    ]
    with pytest.raises(UserError, match="Train a model without these settings"):
        PosterClassifier.load(run, branches=["yolo"], device="cpu", offline=True)
    classifier = PosterClassifier.load(run, branches=["cnn"], device="cpu", offline=True)
    assert classifier.predict(world.dataset.image_path(0))[0].error is None


# --- masked ---


def test_a_run_behind_masked_titles_evaluates_and_is_refused_for_new_posters(world, tmp_path):
    config = world.config("train.epochs=1", "ocr.mask=title", branches="cnn,ocr")
    dataset = with_masked_records(world, config)
    run = fit(config, dataset, tmp_path / "run")
    assert evaluate_run(Run.load(run), dataset, device="cpu", offline=True).to_json()["n"] == 16
    with pytest.raises(
        UserError, match=r"ocr was trained without the words of each poster's title \(ocr\.mask=title\), and a new"
    ) as caught:
        PosterClassifier.load(run, device="cpu", offline=True)
    assert "--branches cnn, or train" in str(caught.value)
    assert PosterClassifier.load(run, branches=["cnn"], device="cpu", offline=True).branches == ("cnn",)


def test_a_masked_run_measures_other_films_too_but_not_unmasked_text(world, tmp_path):
    """The titles decide the store, not the model; whether they are masked decides the model."""
    config = world.config("train.epochs=1", "ocr.mask=title", branches="ocr")
    run = Run.load(fit(config, with_masked_records(world, config), tmp_path / "run"))
    table: pd.DataFrame = world.dataset.table.assign(title=[f"Other {row}" for row in range(len(world.dataset))])
    genres = Vocabulary("tiny", world.dataset.vocabulary.genres, {})
    write_dataset(tmp_path / "other", table, genres, {"root": str(world.dataset.root)})
    (tmp_path / "other" / "features").symlink_to(world.dataset.features_folder)
    other = with_masked_records(world, config, Dataset.load(tmp_path / "other"))
    folders = [path.name for path in (world.dataset.features_folder).glob("text-*")]
    assert len(folders) == 3  # unmasked, and two sets of titles
    assert evaluate_run(run, other, device="cpu", offline=True).to_json()["n"] == 16
    plain = dataset_extractors(world.dataset, world.config(), ["ocr"], offline=True)
    with pytest.raises(UserError, match=r"the ocr branch of .* was trained behind other weights or settings"):
        run.require_same_extractors(plain)


def test_training_says_that_the_data_have_no_names(world, tmp_path):
    with pytest.raises(UserError, match=r"ocr\.mask=names .* has no actors of any poster"):
        fit(world.config("ocr.mask=names", branches="ocr"), world.dataset, tmp_path / "run")
