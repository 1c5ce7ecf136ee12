"""A real (small) run: fewer branches for one request are those of a classifier that was loaded with fewer."""

from __future__ import annotations

import numpy as np
import pytest
import requests

from mmposter import PosterClassifier, Run, UserError
from mmposter.measurement.calibrate import calibrate_run
from mmposter.serve import create_app
from mmposter.training.train import train


@pytest.fixture(scope="module")
def calibrated(make_world, tmp_path_factory):
    """The data set and a calibrated run of two branches: each set of branches has a decision of its own."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv)
        config = world.config("train.epochs=2", "train.learning_rate=0.01", branches="cnn,style")
        train(config, world.dataset, folder / "run", device="cpu", offline=True, quiet=True)
        calibrate_run(Run.load(folder / "run"), world.dataset, device="cpu", offline=True, quiet=True).save(
            folder / "run"
        )
    return world, folder / "run"


@pytest.fixture(scope="module")
def classifier(calibrated):
    return PosterClassifier.load(calibrated[1], device="cpu", offline=True)


SUBSETS = (("cnn",), ("style",), ("cnn", "style"))


@pytest.mark.parametrize("branches", SUBSETS)
def test_masked_for_one_request_is_masked_for_all(calibrated, classifier, branches):
    world, run = calibrated
    paths = [world.dataset.image_path(row) for row in range(6)]
    alone = PosterClassifier.load(run, branches=branches, device="cpu", offline=True)
    for one, other in zip(classifier.predict(paths, branches=branches), alone.predict(paths), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
        assert one.genres == other.genres
    assert classifier.thresholds(branches) == alone.thresholds()


def test_branches_differ_and_leave_no_trace(calibrated, classifier):
    path = calibrated[0].dataset.image_path(0)
    before = classifier.predict(path)[0].scores
    masked = [classifier.predict(path, branches=branches)[0].scores for branches in SUBSETS]
    assert masked[0] != masked[1] != masked[2]
    assert masked[2] == classifier.predict(path)[0].scores == before
    assert classifier.predict(path, branches=["style", "cnn"])[0].scores == before
    assert classifier.thresholds(["cnn"]) != classifier.thresholds()


@pytest.mark.parametrize("branches", [["yolo"], ["cnn", "wheels"], []])
def test_other_branches_are_refused(classifier, branches):
    with pytest.raises(UserError, match=r"branches must be one or more of cnn,style; got"):
        classifier.predict(np.zeros((64, 64, 3), np.uint8), branches=branches)


def test_only_the_extractors_of_the_branches_run(calibrated, classifier, monkeypatch):
    from mmposter.features.extractors import StyleExtractor

    def refuse(*_):
        raise AssertionError("style was masked")

    path = calibrated[0].dataset.image_path(0)
    assert classifier.predict(path)[0].error is None
    monkeypatch.setattr(StyleExtractor, "__call__", refuse)
    assert classifier.predict(path, branches=["cnn"])[0].error is None
    assert "style was masked" in classifier.predict(path)[0].error


@pytest.fixture(scope="module")
def address(calibrated, serve_app):
    with serve_app(create_app(PosterClassifier.load(calibrated[1], device="cpu", offline=True))) as found:
        yield found


def post(address, path, posters, **query):
    files = [("posters", (path.name, path.read_bytes())) for path in posters]
    answer = requests.post(f"{address}/api/v1/{path}", params=query, files=files, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("branches", SUBSETS)
def test_the_server_says_what_the_library_says(calibrated, classifier, address, branches):
    paths = [calibrated[0].dataset.image_path(row) for row in range(4)]
    answer = post(address, "predict", paths, branches=",".join(branches))
    assert answer["model"] == "run"
    assert answer["thresholds"] == pytest.approx(classifier.thresholds(branches))
    expected = classifier.predict(paths, branches=branches)
    for path, entry, prediction in zip(paths, answer["posters"], expected, strict=True):
        assert (entry["name"], entry["genres"], entry["error"]) == (path.name, prediction.genres, None)
        assert entry["scores"] == pytest.approx(prediction.scores, abs=2e-6)


def test_the_server_explains_as_the_library_does(calibrated, classifier, address, tmp_path):
    paths = [calibrated[0].dataset.image_path(row) for row in range(2)]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    answer = post(address, "explain", [paths[0], bad, paths[1]], genres="Rare,Bright")
    assert (answer["branches"], answer["scale"]) == (["cnn", "style"], "calibrated")
    assert [entry["name"] for entry in answer["posters"]] == [paths[0].name, "bad.png", paths[1].name]
    assert answer["posters"][1]["error"].startswith("not_an_image: ")
    assert answer["posters"][1]["genres"] == []
    expected = classifier.explain(paths, genres=["Bright", "Rare"])
    for entry, explanation in zip(answer["posters"][::2], expected, strict=True):
        values = explanation.to_json()
        assert entry["scores"] == pytest.approx(values["scores"], abs=2e-6)
        for genre, other in zip(entry["genres"], values["genres"], strict=True):
            assert set(genre) == set(other)
            assert genre["genre"] == other["genre"]
            assert genre["shares"] == pytest.approx(other["shares"], abs=1e-4)
            assert set(genre["heat_maps"]) == {"cnn", "style"}
    plain = post(address, "explain", paths[:1], heat_maps="false", branches="cnn")
    assert all(genre["heat_maps"] is None for genre in plain["posters"][0]["genres"])
    assert plain["branches"] == ["cnn"]
