"""A poster without words through `ocr`, without objects through `yolo`: base rates, and every door says so."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter import PosterClassifier, Run
from mmposter.cli import app
from mmposter.inference.predictions import PredictionFile
from mmposter.runs.decisions import SUBSETS
from mmposter.runs.run import BASE_RATES
from mmposter.serve.answers import predict_answer
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.page_downloads import as_csv
from mmposter.serve.page_scores import scores_html
from mmposter.serve.work import Predict

RATES = [0.5, 0.4, 0.05, 0.05]  # Action and Comedy are the best constant
NOTE = "saw nothing (ocr): base rates"


@pytest.fixture
def run(make_run, eyes):
    """Tuned thresholds that everything passes, as those of a weak branch were, and known base rates."""
    eyes.boxes, eyes.lines = [], []
    folder = make_run("evaluation.thresholds=tuned", branches="yolo,ocr")
    known = Run.load(folder)
    replace(known, thresholds=np.full(4, 0.01), facts={BASE_RATES: RATES}).save()
    return folder


def _load(folder, branches=None):
    return PosterClassifier.load(folder, branches=branches, device="cpu", offline=True)


@pytest.mark.parametrize("branches", [["ocr"], ["yolo"], ["yolo", "ocr"]])
def test_it_is_the_base_rates_and_the_best_constant(run, poster, branches):
    found = _load(run, branches).predict(poster)[0]
    assert list(found.scores.values()) == pytest.approx(RATES)
    assert (found.genres, found.saw_nothing, found.error) == (["Action", "Comedy"], branches, None)
    top = _load(run, branches).predict(poster, top_k=1)[0]
    assert (top.genres, top.saw_nothing) == (["Action"], branches)


def test_one_branch_that_sees_something_is_enough(run, poster, eyes):
    eyes.lines = [("word", 0.9)]
    found = _load(run).predict(poster)[0]
    assert found.saw_nothing == []
    assert found.note is None
    assert list(found.scores.values()) != pytest.approx(RATES, abs=0.01)
    assert _load(run, ["yolo"]).predict(poster)[0].saw_nothing == ["yolo"]


def test_a_calibrated_run_has_an_answer_for_every_set(make_run, eyes, poster):
    eyes.boxes, eyes.lines = [], []
    folder = make_run("evaluation.thresholds=tuned", branches="yolo,ocr", calibrated=True)
    values = json.loads((folder / SUBSETS).read_text())
    for names, rates in (("yolo", [0.1, 0.6, 0.2, 0.1]), ("yolo,ocr", [0.1, 0.1, 0.7, 0.1])):
        values["subsets"][names]["unseen"] = rates
    (folder / SUBSETS).write_text(json.dumps(values))
    assert list(_load(folder, ["yolo"]).predict(poster)[0].scores.values()) == pytest.approx([0.1, 0.6, 0.2, 0.1])
    assert _load(folder).predict(poster)[0].genres == ["Drama"]
    # Of this set the file says nothing, as that of an earlier version, and the run knows no base rates either.
    earlier = _load(folder, ["ocr"]).predict(poster)[0]
    assert (len(earlier.genres), earlier.saw_nothing) == (1, ["ocr"])


def test_an_earlier_run_knows_them_from_its_validation(make_run, eyes, poster):
    eyes.lines = []
    folder = make_run("evaluation.thresholds=tuned", branches="ocr")
    by_genre = {
        genre: {"prevalence": rate} for genre, rate in zip(Run.load(folder).vocabulary.genres, RATES, strict=True)
    }
    (folder / "validation.json").write_text(json.dumps({"by_genre": by_genre}))
    found = _load(folder).predict(poster)[0]
    assert (list(found.scores.values()), found.genres) == (pytest.approx(RATES), ["Action", "Comedy"])


def test_an_explanation_says_it_and_has_nothing_to_share(run, poster):
    found = _load(run, ["ocr"]).explain(poster)[0]
    assert list(found.scores.values()) == pytest.approx(RATES)
    assert NOTE in found.notes
    assert [genre.genre for genre in found.genres] == ["Action", "Comedy"]
    for genre in found.genres:
        assert 1 / (1 + np.exp(-genre.logit)) == pytest.approx(genre.probability)
        assert genre.shares == {"ocr": pytest.approx(0)}


def test_files_lists_and_notebooks_say_it(run, poster, tmp_path):
    found = _load(run, ["ocr"]).predict(poster)[0]
    assert found.to_json()["saw_nothing"] == ["ocr"]
    assert found.listing().endswith(f"({NOTE})")
    assert NOTE in repr(found)
    assert NOTE in found._repr_html_()
    with PredictionFile(tmp_path / "out.csv") as file:
        file.write(found)
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert next(csv.DictReader(stream))["saw_nothing"] == "ocr"


def test_the_command_says_it(run, poster, monkeypatch, capsys):
    line = CliRunner().invoke(app, ["predict", str(poster), "--model", str(run), "--branches", "ocr", "--offline"])
    assert json.loads(line.stdout)["saw_nothing"] == ["ocr"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    from mmposter.cli.predict import _table

    monkeypatch.setenv("COLUMNS", "200")
    _table(_load(run, ["ocr"]).predict(poster), None)
    assert NOTE in capsys.readouterr().out


def test_the_server_and_its_page_say_it(run, poster):
    classifier = _load(run, ["ocr"])
    answer = predict_answer(classifier, Predict(("ocr",)), ["a.png"], classifier.predict(poster))
    assert answer.posters[0].saw_nothing == ["ocr"]
    assert "saw_nothing" in as_csv(answer).splitlines()[0]
    assert ",ocr," in as_csv(answer).splitlines()[1]
    page = scores_html([UploadedPoster("a.png", poster.read_bytes())], answer.posters, answer.thresholds)
    assert NOTE in page
