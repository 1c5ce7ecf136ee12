"""Prediction agrees with evaluation, and a bad poster never costs a good one its genres."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from mmposter import PosterClassifier, Run, UserError
from mmposter.measurement.evaluate import evaluate_run, score_split
from mmposter.training.inputs import load_inputs
from mmposter.training.train import train


@pytest.fixture
def trained(world, tmp_path):
    config = world.config("train.epochs=2", branches="cnn,style")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    return tmp_path / "run"


def test_predict_gives_the_scores_of_evaluate(world, trained):
    run = Run.load(trained)
    inputs = load_inputs(run.serving_config(), world.dataset, device="cpu", offline=True)
    probs, rows, _ = score_split(run, world.dataset, inputs, inputs.rows("test"), device="cpu")
    paths = [world.dataset.image_path(int(row)) for row in rows]
    predictions = PosterClassifier.load(trained, device="cpu", offline=True).predict(paths)
    for expected, prediction in zip(probs, predictions, strict=True):
        assert list(prediction.scores) == list(run.vocabulary.genres)
        np.testing.assert_allclose(list(prediction.scores.values()), expected, atol=1e-5)
        above = {g for g, p, t in zip(run.vocabulary.genres, expected, run.thresholds, strict=True) if p >= t}
        assert set(prediction.genres) == (above or {run.vocabulary.genres[int(np.argmax(expected))]})


def test_the_run_folder_is_all_that_is_needed(world, trained, tmp_path):
    poster = tmp_path / "poster.png"
    shutil.copy(world.dataset.image_path(0), poster)
    here = PosterClassifier.load(trained, device="cpu", offline=True).predict(poster)[0]
    trained.rename(tmp_path / "moved")
    shutil.rmtree(world.dataset.folder)
    shutil.rmtree(world.dataset.root)
    there = PosterClassifier.load(tmp_path / "moved", device="cpu", offline=True).predict(poster)[0]
    assert there.scores == pytest.approx(here.scores, abs=1e-7)


def test_bad_posters_are_named_and_cost_nobody_else_anything(world, trained, tmp_path):
    good = world.dataset.image_path(0)
    broken = tmp_path / "broken.png"
    broken.write_bytes(good.read_bytes()[:300])
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    classifier = PosterClassifier.load(trained, device="cpu", offline=True)
    alone = classifier.predict(good)[0]
    mixed = classifier.predict([broken, good, text, tmp_path / "nowhere.jpg", np.zeros((5, 5, 3), np.uint8)])
    reasons = [None if p.error is None else p.error.split(":")[0] for p in mixed]
    assert reasons == ["truncated", None, "not_an_image", "missing", "too_small"]
    assert mixed[1].scores == pytest.approx(alone.scores, abs=1e-6)
    assert all(not p.scores and not p.genres for p in (mixed[0], *mixed[2:]))


def test_top_k_and_its_limits(world, trained):
    classifier = PosterClassifier.load(trained, device="cpu", offline=True)
    prediction = classifier.predict(Image.open(world.dataset.image_path(1)), top_k=2)[0]
    ranked = sorted(prediction.scores, key=lambda genre: -prediction.scores[genre])
    assert prediction.genres == ranked[:2]
    assert prediction.path is None
    with pytest.raises(ValueError, match="top_k must be 1 or more; got 0"):
        classifier.predict(world.dataset.image_path(1), top_k=0)


def test_other_weights_than_those_trained_behind_are_refused(world, tmp_path):
    train(
        world.config("train.epochs=1", branches="cnn,yolo"), world.dataset, tmp_path / "run", offline=True, quiet=True
    )
    (tmp_path / "weights" / "yolo11n.pt").write_bytes(b"another detector")
    with pytest.raises(UserError, match=r"yolo branch of .* was trained behind other weights"):
        PosterClassifier.load(tmp_path / "run", device="cpu", offline=True)
    with pytest.raises(UserError, match=r"yolo branch of .* was trained behind other weights"):
        evaluate_run(Run.load(tmp_path / "run"), world.dataset, device="cpu", offline=True)
    # Without that branch the run is still good.
    classifier = PosterClassifier.load(tmp_path / "run", branches=["cnn"], device="cpu", offline=True)
    assert classifier.predict(world.dataset.image_path(0))[0].error is None


def test_unfinished_and_foreign_folders(world, trained, tmp_path):
    with pytest.raises(UserError, match="is no run folder"):
        Run.load(tmp_path)
    (trained / "best.safetensors").unlink()
    with pytest.raises(UserError, match="has not ended; go on with"):
        Run.load(trained)


def test_a_stream_is_taken_part_by_part(world, trained):
    """So that memory does not grow with the number of posters; and a short one does not wait for a full part."""
    classifier = PosterClassifier.load(trained, device="cpu", offline=True)
    taken = []
    paths = [world.dataset.image_path(row) for row in range(64)]
    endless = (taken.append(path) or path for path in itertools.cycle(paths))
    stream = classifier.stream(endless)
    for count in (1, 32, 1):
        for _ in range(count):
            last = next(stream)
        assert len(taken) <= 96
    assert last.path == str(paths[33])
    stream.close()
    assert [p.path for p in classifier.stream(iter(paths[:1]))] == [str(paths[0])]


def test_the_same_picture_object_twice(world, trained):
    """Pillow reads from one file behind it; two threads must not do so at once."""
    classifier = PosterClassifier.load(trained, device="cpu", offline=True)
    with Image.open(world.dataset.image_path(1)) as picture:
        predictions = classifier.predict([picture] * 20)
    assert {p.error for p in predictions} == {None}
    assert all(p.scores == pytest.approx(predictions[0].scores, abs=1e-6) for p in predictions)


@pytest.mark.slow
def test_two_workers_predict_the_same_in_the_same_order(world, trained, tmp_path):
    classifier = PosterClassifier.load(trained, device="cpu", offline=True)
    paths = [world.dataset.image_path(row) for row in range(64)]
    paths[3] = tmp_path / "nowhere.png"
    items = [*paths, np.asarray(Image.open(paths[0])), paths[5].read_bytes(), Image.open(paths[6])]
    alone = classifier.predict(items)  # with its models started, the classifier must still reach the workers
    several = classifier.predict(items, workers=2, threads=1)
    assert [p.path for p in several] == [p.path for p in alone] == [*map(str, paths), None, None, None]
    assert [p.error for p in several] == [p.error for p in alone]
    assert several[3].error == "missing: there is no such file"
    for one, other in zip(alone, several, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


@pytest.mark.slow
def test_a_local_ray_predicts_the_same_in_the_same_order(world, trained, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    classifier = PosterClassifier.load(trained, device="cpu", offline=True)
    paths = [world.dataset.image_path(row) for row in range(64)]
    for one, other in zip(classifier.predict(paths), classifier.predict(paths, workers=2, engine="ray"), strict=True):
        assert one.path == other.path
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
