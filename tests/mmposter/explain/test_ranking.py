"""Which poster says its genres best, and two of them side by side."""

from __future__ import annotations

import csv
import json
import math
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter import PosterClassifier, UserError
from mmposter.cli import app
from mmposter.explain.ranking import parse_genres, rank_explained, strongest
from mmposter.explain.result import Explanation
from mmposter.explain.side_by_side import side_by_side_page
from mmposter.explain.values import GenreExplanation, Item
from mmposter.report.plots.style import new_figure

KNOWN = ("Action", "Comedy", "Drama", "Horror")


def genre(name: str, probability: float, **shares: float) -> GenreExplanation:
    items = (
        Item("ocr", "BLOOD", 0.9, (0, 0, 1, 1), 0.7),
        Item("yolo", "dog", 0.9, (0, 0, 1, 1), -0.9),
        Item("ocr", "THE", 0.9, (0, 0, 1, 1), 0.1),
    )
    return GenreExplanation(name, probability, 0.5, probability >= 0.5, 0.0, 0.0, shares, {}, items)


def poster(path: str, horror: float, drama: float, comedy: float = 0.1) -> Explanation:
    genres = (genre("Horror", horror, cnn=0.2, ocr=1.5), genre("Drama", drama, cnn=0.4, yolo=0.1))
    return Explanation(path, genres, {"Horror": horror, "Drama": drama, "Comedy": comedy}, ("cnn", "ocr"))


def test_the_score_is_the_geometric_mean_and_ranks_as_the_product_does():
    posters = [poster("a.jpg", 0.9, 0.1), poster("b.jpg", 0.4, 0.4, comedy=0.45), Explanation("bad.jpg", error="bad")]
    ranked = rank_explained(posters, ["Horror", "Drama"])
    assert [(one.rank, one.explanation.path) for one in ranked] == [(1, "b.jpg"), (2, "a.jpg")]
    assert ranked[0].score == pytest.approx(0.4)
    assert ranked[1].score == pytest.approx(math.sqrt(0.9 * 0.1))
    assert list(ranked[0].evidence) == ["Horror", "Drama"]
    assert ranked[0].louder == {"Comedy": 0.45}
    assert ranked[1].louder == {}, "0.1 is not louder than 0.1"
    assert rank_explained([poster("c.jpg", 0.0, 0.5)], ["Horror"])[0].score == pytest.approx(0, abs=1e-9)


def test_what_speaks_for_a_genre_is_the_largest_share_and_its_item():
    assert strongest(genre("Horror", 0.9, cnn=0.2, ocr=1.5)) == "ocr +1.50: BLOOD"
    assert strongest(genre("Horror", 0.9, cnn=0.3, yolo=0.1)) == "cnn +0.30"
    assert strongest(genre("Horror", 0.1, cnn=-0.3, yolo=-0.1)) == "no branch"
    assert strongest(genre("Horror", 0.1)) == "", "a network without fusion has no shares"


def test_genres_are_those_of_the_model():
    assert parse_genres("horror, DRAMA,Horror", KNOWN) == ("Horror", "Drama")
    with pytest.raises(
        UserError, match=r"--as Horor: the model has no such genre \(did you mean Horror\?\); allowed are"
    ):
        parse_genres("Drama,Horor", KNOWN)
    with pytest.raises(UserError, match="--as names no genre; allowed are Action, Comedy, Drama, Horror"):
        parse_genres(" ,", KNOWN)


def run_command(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu", "--offline"])


@pytest.fixture
def run(make_run):
    return make_run("cnn.backbone=pixels", "cnn.size=[48,32]", branches="cnn")


def test_rank_says_what_predict_says(run, poster_files, tmp_path):
    posters = poster_files(3)
    (posters[0].parent / "text.jpg").write_text("no picture")
    asked = ["rank", posters[0].parent, "--model", run, "--as", "Drama,Horror"]
    result = run_command(*asked)
    assert result.exit_code == 0, result.output
    assert "3 of 4 posters ranked as Drama, Horror" in result.stderr
    assert "text.jpg: not_an_image" in result.stderr
    predicted = PosterClassifier.load(run, device="cpu", offline=True).predict(posters)
    expected = {p.path: math.sqrt(p.scores["Drama"] * p.scores["Horror"]) for p in predicted}
    for ending in (".csv", ".jsonl"):
        assert run_command(*asked, "--out", tmp_path / f"rank{ending}").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "rank.csv").open(newline="")))
    assert [row["path"] for row in rows] == sorted(expected, key=lambda path: -expected[path])
    assert [float(row["score"]) for row in rows] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-5)
    assert float(rows[0]["Drama by cnn"]) != 0
    lines = [json.loads(line) for line in (tmp_path / "rank.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [row["path"] for row in rows]
    assert lines[0]["genres"][0]["genre"] == "Drama"
    for arguments, message in (
        ([*asked, "--out", tmp_path / "rank.csv"], "is there already"),
        ([*asked, "--out", tmp_path / "rank.txt"], "--out must end in .csv or .jsonl"),
        ([*asked[:-1], "Western"], "--as Western: the model has no such genre"),
    ):
        assert message in str(run_command(*arguments).exception)
    assert run_command("rank", tmp_path / "nowhere.jpg", "--model", run, "--as", "Drama").exit_code == 1


def test_a_page_shows_what_differs(make_drawn):
    pictures = {"picture": make_drawn(1), "scale": "calibrated"}
    one, other = (
        Explanation(p.path, p.genres, p.scores, p.branches, **pictures)
        for p in (poster("<b>.jpg", 0.9, 0.1), poster("b.jpg", 0.2, 0.3))
    )
    page = side_by_side_page(one, other)
    assert "&lt;b&gt;" in page
    assert "<b>.jpg" not in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert ">Horror<" in page
    assert ">Drama<" not in page, "neither of the two is given it"
    cells = re.findall(r"<t[dh][^>]*>([^<]*)<", page)
    assert "-0.70" in cells
    assert "“BLOOD”" in cells
    assert ">Drama<" in side_by_side_page(one, other, ["Drama"])
    with pytest.raises(ValueError, match="for the same genres"):
        side_by_side_page(one, Explanation("bad.jpg", error="bad"))


@pytest.fixture
def plain_cards(monkeypatch, tmp_path):
    monkeypatch.setattr("mmposter.explain.result.draw_card", lambda explanation: new_figure(1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_explain_compares_two_and_names_the_nearest(run, poster_files, tmp_path, plain_cards):
    posters, out = poster_files(4), tmp_path / "why"
    asked = ["explain", *posters[:2], "--model", run, "--genre", "Drama", "--out", out]
    result = run_command(*asked, "--side-by-side", "--among", posters[0].parent)
    assert result.exit_code == 0, result.output
    assert ">Drama<" in (out / "000-and-001.html").read_text()
    assert "nearest to 000" in result.stdout
    near = json.loads((out / "000.json").read_text())["nearest"]
    assert len(near) == 4
    assert near[0]["id"] == str(posters[0].resolve())
    assert near[0]["similarity"] == pytest.approx(1, abs=1e-3)
    classifier = PosterClassifier.load(run, device="cpu", offline=True)
    (explanation,) = classifier.explain(posters[2], genres=["Drama"])
    np.testing.assert_allclose(explanation.vector, classifier.embed(posters[2])[0], atol=1e-5)
    assert explanation.nearest is None
    assert "nearest" not in explanation.to_json()
    result = run_command(*asked, "--side-by-side", "--among", posters[0].parent)
    assert "000-and-001.html is there already" in str(result.exception)
    assert "made with another model, branches, --genre or --among" in str(run_command(*asked).exception)
    result = run_command("explain", *posters, "--side-by-side", "--model", run, "--out", out)
    assert "--side-by-side compares two posters; got 4" in str(result.exception)
