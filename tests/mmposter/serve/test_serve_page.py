"""The page without a browser: what it says of made-up predictions, and that it asks nobody else for anything."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mmposter.explain import Explanation, GenreExplanation, HeatMap, Item
from mmposter.inference.classifier import Prediction
from mmposter.readiness.states import BranchState
from mmposter.serve import ServeSettings, create_app

pytest.importorskip("gradio")

from mmposter.serve.gradio_page import VisitorPage, add_page, surest_first
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.page_scores import scores_html, signed
from mmposter.serve.page_why import why_html
from mmposter.serve.places import Places
from mmposter.serve.schema import PosterAnswer

BRANCHES = ("cnn", "yolo", "ocr")
SCORES = {
    "Comedy": 0.2,
    "Drama": 0.7,
    "Horror": 0.4,
    "War": 0.1,
    "Music": 0.05,
    "Crime": 0.04,
    "News": 0.03,
    "Sport": 0.0,
}
THRESHOLDS = dict.fromkeys(SCORES, 0.5) | {"Horror": 0.35}
EVIL = "<script>alert(1)</script>"
MEANINGS = {"cnn": "the picture", "yolo": "objects", "ocr": "words", "style": "its style"}


def explanation(picture: Image.Image, genre: str, branches=BRANCHES) -> Explanation:
    items = (
        Item("ocr", EVIL, 0.9, (0.1, 0.8, 0.9, 0.9), 0.5),
        Item("yolo", "person", 0.8, (-0.1, 0.0, 0.5, 1.2), -0.25),
    )
    heat = HeatMap.of(np.array([[0.0, 1.0], [2.0, 0.0]]))
    shares = dict(zip(branches, (1.0, -0.5, 0.25), strict=False))
    score, threshold = SCORES[genre], THRESHOLDS[genre]
    why = GenreExplanation(
        genre, score, threshold, score >= threshold, 0.85, 0.1, shares, {"cnn": heat}, items
    )  # fmt: skip
    return Explanation(None, (why,), SCORES, branches, picture=picture)


class FakeClassifier:
    """Whoever looks through fewer branches is less sure."""

    genres, branches, left_out = tuple(SCORES), BRANCHES, ()
    run = SimpleNamespace(folder=Path("fake"))

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def thresholds(self, branches=None) -> dict[str, float]:
        return THRESHOLDS

    def predict(self, posters, *, branches=BRANCHES, threads=None) -> list[Prediction]:
        if isinstance(posters, Image.Image):
            return [Prediction(None, [], SCORES)]
        self.asked.append(branches)
        scores = {genre: score * len(branches) / 3 for genre, score in SCORES.items()}
        given = [genre for genre in ("Drama", "Horror") if scores[genre] >= THRESHOLDS[genre]]
        bad = Prediction(None, error="not_an_image: the content is none of JPEG, PNG")
        return [Prediction(None, given, scores) if data.startswith(b"\x89PNG") else bad for data in posters]

    def explain(self, posters, *, branches, genres) -> list[Explanation]:
        self.asked.append(branches)
        picture = Image.open(io.BytesIO(posters[0])).convert("RGB")
        one = [explanation(picture, genre, branches) for genre in genres]
        return [Explanation(None, tuple(e.genres[0] for e in one), SCORES, branches, picture=picture)]


@pytest.fixture(scope="module")
def classifier() -> FakeClassifier:
    return FakeClassifier()


@pytest.fixture(scope="module")
def client(classifier):
    settings = ServeSettings(max_posters=2)
    app = create_app(classifier, settings, add_page)
    with TestClient(app, base_url="http://127.0.0.1") as found:
        found.uploads = app.state.uploads
        found.page = VisitorPage(classifier, settings, app.state.worker, Places(4, 10**9, lambda: 1), found.uploads)
        yield found


@pytest.fixture
def files(client, picture) -> list[str]:
    return client.uploads.keep([UploadedPoster("a&b.png", picture(1)), UploadedPoster("notes.txt", b"no picture")])


def saved(html: str, name: str) -> bytes:
    return base64.b64decode(re.search(rf'download="{name}" href="data:[\w/]+;base64,([^"]*)"', html)[1])


def test_the_page_names_no_other_machine(client):
    answer = client.get("/", headers={"Accept-Encoding": "br"})
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r'(?:src|href|content)="(?:https?:)?//', answer.text)
    assert not re.search(r"googleapis|gstatic|cdnjs|huggingface\.co/|analytics_enabled\W+true", answer.text)
    styles = client.get("/theme.css").text
    assert "--body-text-color" in styles
    assert not re.search(r"https?://(?!www\.w3\.org/)|@import", styles)  # a name of SVG, which nobody loads


def test_the_page_hides_no_endpoint(client):
    assert client.get("/health").json() == {"status": "ready"}
    assert "/api/v1/predict" in client.get("/docs").text
    wrong = client.get("/api/v1/predict")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "wrong_method")
    for path in ("/nowhere", "/login", "/monitoring"):
        assert client.get(path).json()["error"]["code"] == "unknown_path"
    assert client.get("/gradio_api/file=/etc/passwd").status_code == 404


def test_given_genres_come_first_and_the_rest_is_folded(client, files):
    html, answers, _ = client.page.scores(files[:1], BRANCHES)
    names = re.findall(r'class="name">(\w+)<', html)
    assert names == ["Drama", "Horror", "Comedy", "War", "Music", "Crime", "News", "Sport"]
    assert re.findall(r"<li class=given[^>]*>.*?>(\w+)</span>", html) == ["Drama", "Horror"]
    assert "1 more genres" not in html
    assert re.search(r"<summary>1 more genre</summary>.*Sport", html)
    assert 'title="Horror: 0.40, threshold 0.35"' in html
    assert '<b style="left:35.0%">' in html
    assert "a&amp;b.png" in html
    assert 'class="change"' not in html
    assert surest_first(answers[0])[:3] == ["Drama", "Horror", "Comedy"]


def test_a_switch_shows_the_change_and_is_computed_once(client, classifier, files):
    html, answers, _ = client.page.scores(files[:1], ("ocr", "cnn"))
    assert answers[0].scores["Drama"] == pytest.approx(0.7 * 2 / 3, abs=1e-6)
    assert '<span class="change">−.23</span>' in html
    assert '<s style="width:70.0%">' in html
    before = list(classifier.asked)
    assert client.page.scores(files[:1], ("cnn", "ocr"))[0] == html
    assert classifier.asked == before
    assert ("cnn", "ocr") in before


def test_what_cannot_be_shown_is_a_sentence(client, files):
    html, answers, downloads = client.page.scores(files[1:], BRANCHES)
    assert "notes.txt cannot be used: the content is none of JPEG, PNG." in html
    assert (answers[0].scores, downloads) == ({}, "")
    assert "at least one branch" in client.page.scores(files, [])[0]
    assert "3 posters are too many: at most 2." in client.page.scores([*files, files[0]], BRANCHES)[0]
    told = "Sorry: a poster is no longer here (they are let go after an hour); drop it again."
    assert told in client.page.scores(["0" * 32], BRANCHES)[0]
    assert "No poster yet" in client.page.scores(None, BRANCHES)[0]
    assert "cannot be used" in client.page.why(files, BRANCHES, 1, None)[0]
    assert "Drop a poster first" in client.page.why(None, BRANCHES, 0, None)[0]


def test_an_error_of_ours_goes_to_the_log_alone(client, files, monkeypatch, caplog):
    def fail(*_, **__):
        raise ValueError("a secret of the server")

    monkeypatch.setattr(client.page, "_results", SimpleNamespace(scores=fail))
    html = client.page.scores(files, BRANCHES)[0]
    assert "Sorry: the server failed; its log has the cause under the id" in html
    assert "secret" not in html
    assert "a secret of the server" in caplog.text


@pytest.mark.figures
def test_everything_can_be_saved(client, files):
    downloads = client.page.scores(files, BRANCHES)[2]
    rows = list(csv.DictReader(io.StringIO(saved(downloads, "posters.csv").decode())))
    assert [(row["path"], row["genres"], row["Drama"]) for row in rows] == [
        ("a&b.png", "Drama|Horror", "0.7"),
        ("notes.txt", "", ""),
    ]
    html, downloads = client.page.why(files, BRANCHES, 0, "War")
    found = json.loads(saved(downloads, "posters.json"))
    assert found["prediction"]["posters"][0]["genres"] == ["Drama", "Horror"]
    explained = found["explanations"][0]["posters"][0]
    assert {genre["genre"] for genre in explained["genres"]} == {"Drama", "Horror", "War"}
    assert explained["name"] == "a&b.png"
    assert Image.open(io.BytesIO(saved(downloads, "card.png"))).width == 1200
    assert "a&amp;b: War 0.10" in html


def test_a_genre_that_was_given_is_explained_with_the_others(client, classifier, files):
    client.page.why(files, ("cnn",), 0, None)
    before = list(classifier.asked)
    assert "Drama 0.70" in client.page.why(files, ("cnn",), 0, "Drama")[0]
    assert classifier.asked == before


def test_an_explanation_shows_shares_boxes_and_heat():
    found = explanation(Image.new("RGB", (40, 60)), "Drama")
    html = why_html(found, found.genres[0], MEANINGS)
    assert "It is given: its threshold is 0.50. Looked through: cnn, yolo, ocr." in html
    assert EVIL not in html
    assert "“&lt;script&gt;alert(1)&lt;/script&gt;”" in html
    # The longest share fills its side; one of half its size to the left starts at a quarter.
    assert "left:50.0%;width:50.0%;background:#0072B2" in html
    assert "left:25.0%;width:25.0%" in html
    # What reaches out of the poster is cut at its edge.
    assert "left:0.0%;top:0.0%;width:50.0%;height:100.0%" in html
    heat = re.search(r'class="heat" alt="" src="data:image/png;base64,([^"]*)"', html)[1]
    alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(heat))))[..., 3]
    assert (alpha[0, 0], alpha[-1, 0]) == (0, round(0.85 * 255 - 0.5))


def test_names_are_escaped_and_a_genre_without_threshold_has_no_mark():
    answer = PosterAnswer(name=EVIL, genres=[], scores={EVIL: 0.25}, error=f"failed: {EVIL}")
    html = scores_html([UploadedPoster(EVIL, b"")], [answer], {EVIL: 2.0})
    assert "<script" not in html
    assert "No genre is beyond its threshold" in html
    assert "left:" not in html


def test_a_branch_that_is_left_out_is_named(classifier, monkeypatch):
    missing = (BranchState("ocr", "missing", "pip install easyocr", ("easyocr",), commands=("pip install easyocr",)),)
    folder, config = Path("posters"), SimpleNamespace(branches=BRANCHES)
    some = FakeClassifier()
    some.branches, some.left_out = ("cnn", "yolo"), missing
    some.run = SimpleNamespace(folder=folder, config=config, subsets=lambda: None)
    settings = ServeSettings()
    app = create_app(some, settings, add_page)
    text = TestClient(app, base_url="http://localhost").get("/config").text
    assert "ocr (words): easyocr is not here. To add it: pip install easyocr" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.124, "+.12"), (-0.001, "+.00"), (-0.5, "−.50"), (0.999, "+1.00"), (10.04, "+10.04")]
)
def test_signed(value, text):
    assert signed(value) == text
