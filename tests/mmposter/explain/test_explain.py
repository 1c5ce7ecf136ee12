"""Explanations of runs: what they say is what predict says, and what was planted on a poster counts most."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmposter import PosterClassifier, UserError
from mmposter.explain import Explanation, Item
from mmposter.runs.run import TOWER

pytestmark = pytest.mark.figures

ALL = ("cnn", "style", "yolo", "ocr")
GENRES = ("Action", "Comedy", "Drama", "Horror")


def load(run, **options):
    return PosterClassifier.load(run, device="cpu", offline=True, **options)


@pytest.fixture
def calibrated(make_run, eyes):
    return make_run(calibrated=True)


def check_against_predict(classifier, poster, explanation):
    prediction = classifier.predict(poster)[0]
    assert explanation.scores == pytest.approx(prediction.scores, abs=1e-6)
    assert [genre.genre for genre in explanation.genres if genre.chosen] == prediction.genres
    for genre in explanation.genres:
        assert genre.probability == explanation.scores[genre.genre]
        assert genre.probability == pytest.approx(1 / (1 + np.exp(-genre.logit)), abs=1e-6)
        assert sum(genre.shares.values()) == pytest.approx(genre.logit - genre.empty_logit, abs=1e-4)


def test_a_calibrated_run_of_four_branches(calibrated, poster, decision_of):
    classifier = load(calibrated)
    (explanation,) = classifier.explain(poster, genres=GENRES)
    check_against_predict(classifier, poster, explanation)
    assert (explanation.path, explanation.error, explanation.notes) == (str(poster), None, ())
    assert (explanation.branches, explanation.scale) == (ALL, "calibrated")
    probabilities = [genre.probability for genre in explanation.genres]
    assert probabilities == sorted(probabilities, reverse=True)
    decision = decision_of(ALL)
    for genre in explanation.genres:
        number = GENRES.index(genre.genre)
        assert genre.threshold == pytest.approx(decision.thresholds[number])
        assert set(genre.shares) == set(ALL)
        assert all(abs(share) > 1e-4 for share in genre.shares.values())
        assert genre.heat_maps["cnn"].values.shape == genre.heat_maps["style"].values.shape  # both of the last stage
        assert len(genre.objects) == 4
        assert len(genre.words) == 5
    (predicted,) = classifier.explain(poster)
    assert [genre.genre for genre in predicted.genres] == classifier.predict(poster)[0].genres


def test_predict_and_explain_share_what_is_loaded(calibrated, eyes, poster):
    classifier = load(calibrated)
    explained = classifier.explain(poster, branches=["yolo"])[0]
    assert explained.scores == pytest.approx(classifier.predict(poster, branches=["yolo"])[0].scores, abs=1e-6)
    classifier.explain([poster, poster])
    assert sorted(eyes.started) == ["ocr", "text", "yolo"]


def test_what_was_planted_counts_most(calibrated, poster):
    """Three equal boxes and a horse; four words that are one vector and one that is another."""
    (explanation,) = load(calibrated).explain(poster, genres=GENRES)
    for genre in explanation.genres:
        assert genre.words[0].label == "PLANTED"
        assert genre.objects[0].label == "horse"
        sizes = [abs(item.contribution) for item in genre.items]
        assert sizes == sorted(sizes, reverse=True)
    words = {item.label: item for item in explanation.genres[0].words}
    assert words["noise"].confidence == pytest.approx(0.1)
    assert words["noise"].box == pytest.approx((0.1, 0.1, 0.9, 0.3))  # around the slanted line
    assert words["PLANTED"].branch == "ocr"
    horse = explanation.genres[0].objects[0]
    assert (horse.branch, horse.box) == ("yolo", pytest.approx((0.6, 0.2, 0.9, 0.8)))


@pytest.mark.parametrize(
    "encoding",
    [
        *(f"yolo.encoding={name}" for name in ("counts", "histogram", "set", "joined")),
        *(f"ocr.encoding={name}" for name in ("joined", "ngrams")),
    ],
)
def test_a_contribution_is_what_predict_says_without_it(make_run, eyes, poster, encoding):
    classifier = load(make_run(encoding, "ocr.min_confidence=0.2", "yolo.max_boxes=3"))
    (before,) = classifier.explain(poster, genres=["Drama"])
    assert [item.label for item in before.genres[0].objects].count("person") == 2, "the fourth box has no slot"
    assert "noise" not in [item.label for item in before.genres[0].words], "it was not read"
    logit = before.genres[0].logit
    contributions = {item.label: item.contribution for item in before.genres[0].items}
    words = list(eyes.lines)
    eyes.lines[:] = [line for line in words if line[0] != "PLANTED"]
    without = classifier.explain(poster, genres=["Drama"])[0].genres[0].logit
    assert contributions["PLANTED"] == pytest.approx(logit - without, abs=1e-5)
    eyes.lines[:] = words
    eyes.boxes[:] = eyes.boxes[:2]  # without the horse
    without = classifier.explain(poster, genres=["Drama"])[0].genres[0].logit
    assert contributions["horse"] == pytest.approx(logit - without, abs=1e-5)
    assert abs(contributions["horse"]) > 1e-4


def test_leaving_out_a_line_reads_the_others_anew(calibrated, eyes, poster):
    classifier = load(calibrated)
    classifier.explain(poster)
    assert "the film PLANTED of noise" in eyes.encoded
    assert "the film of noise" in eyes.encoded
    assert "the film PLANTED of" in eyes.encoded


def test_a_poster_without_objects_and_words(calibrated, eyes, poster):
    eyes.boxes.clear()
    eyes.lines.clear()
    classifier = load(calibrated)
    (explanation,) = classifier.explain(poster, genres=GENRES)
    check_against_predict(classifier, poster, explanation)
    for genre in explanation.genres:
        assert (genre.shares["yolo"], genre.shares["ocr"]) == pytest.approx((0, 0), abs=1e-6)
        assert genre.items == ()
    assert explanation.card().get_size_inches()[0] == 12


def test_fewer_branches_by_loading_or_by_asking(calibrated, poster, decision_of):
    asked = load(calibrated).explain(poster, genres=["Comedy"], branches=["yolo", "cnn"])[0]
    loaded = load(calibrated, branches=["cnn", "yolo"]).explain(poster, genres=["Comedy"])[0]
    assert asked.branches == loaded.branches == ("cnn", "yolo")
    assert asked.scores == pytest.approx(loaded.scores, abs=1e-6)
    for explanation in (asked, loaded):
        genre = explanation.genres[0]
        assert set(genre.shares) == {"cnn", "yolo"}
        assert set(genre.heat_maps) == {"cnn"}
        assert genre.words == ()
        assert genre.threshold == pytest.approx(decision_of(("cnn", "yolo")).thresholds[1])
        assert sum(genre.shares.values()) == pytest.approx(genre.logit - genre.empty_logit, abs=1e-4)
    words = load(calibrated, branches=["ocr"]).explain(poster, genres=["Comedy"])[0].genres[0]
    assert words.heat_maps == {}
    assert words.shares["ocr"] == pytest.approx(words.logit - words.empty_logit, abs=1e-6)


@pytest.mark.parametrize("stage", ["null", "conv3"])
def test_a_finetuned_run(make_run, eyes, poster, stage):
    """The network is a part of the model, and the style gate re-weights its map before the later stages."""
    run = make_run(f"style.stage={stage}", regime="finetune")
    (run / TOWER).unlink()
    classifier = load(run)
    assert classifier._model.reweight_cnn
    (explanation,) = classifier.explain(poster, genres=GENRES)
    check_against_predict(classifier, poster, explanation)
    assert explanation.scale == "raw"
    fewer = load(run, branches=["cnn"])
    check_against_predict(fewer, poster, fewer.explain(poster, genres=GENRES)[0])


def test_one_genre_a_poster(make_run, poster):
    """Softmax: no probability has a logit of its own, so the model's are explained."""
    run = make_run("loss.name=cross_entropy", "evaluation.thresholds=top1", branches="cnn")
    classifier = load(run)
    (explanation,) = classifier.explain(poster)
    (genre,) = explanation.genres
    assert [genre.genre] == classifier.predict(poster)[0].genres
    assert (genre.threshold, genre.chosen, explanation.scale) == (None, True, "raw")
    assert "before the softmax" in explanation.notes[0]
    everyone = classifier.explain(poster, genres=GENRES)[0].genres
    logits = np.array([one.logit for one in everyone])
    assert [one.probability for one in everyone] == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=1e-6)
    assert explanation.card()


def test_a_network_without_fusion(make_run, poster):
    run = make_run("cnn.classifier=dense", branches="cnn", regime="finetune")
    classifier = load(run)
    (explanation,) = classifier.explain(poster, genres=["Action"])
    assert explanation.scores == pytest.approx(classifier.predict(poster)[0].scores, abs=1e-6)
    genre = explanation.genres[0]
    assert (genre.empty_logit, genre.shares, genre.items) == (None, {}, ())
    assert genre.heat_maps["cnn"].values.ndim == 2
    assert "without fusion" in explanation.notes[0]
    assert explanation.card()


def test_bad_posters_and_ill_branches_are_named(calibrated, eyes, poster, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(poster.read_bytes()[:200])
    classifier = load(calibrated)
    alone = classifier.explain(poster)[0]
    mixed = classifier.explain([broken, poster, tmp_path / "nowhere.jpg", Image.open(poster)])
    assert [e.error and e.error.split(":")[0] for e in mixed] == ["truncated", None, "missing", None]
    assert mixed[1].scores == pytest.approx(alone.scores, abs=1e-6)
    assert (mixed[0].genres, mixed[0].scores, mixed[0].picture) == ((), {}, None)
    assert (mixed[3].path, mixed[3].name) == (None, "untitled")
    assert "truncated" in mixed[0]._repr_html_()
    with pytest.raises(ValueError, match="must have been usable to be drawn, got the error 'truncated"):
        mixed[0].card()
    eyes.fails = True
    ill = classifier.explain(poster, genres=GENRES)[0]
    assert ill.error == classifier.predict(poster)[0].error
    assert "the reader is ill" in ill.error
    check_against_predict(classifier, poster, ill)
    assert ill.genres[0].words == ()
    assert len(ill.genres[0].objects) == 4


def test_unknown_genres_and_branches_are_refused_at_once(calibrated, poster):
    classifier = load(calibrated, branches=["cnn"])
    with pytest.raises(UserError, match="one or more of Action, Comedy, Drama, Horror; got 'Western'"):
        classifier.stream_explanations([poster], genres=["Comedy", "Western"])
    with pytest.raises(UserError, match="branches must be one or more of cnn; got 'ocr'"):
        classifier.explain(poster, branches=["ocr"])


def test_json_says_it_all_in_plain_values(calibrated, poster):
    (explanation,) = load(calibrated).explain(poster, genres=["Drama", "Horror"])
    plain = explanation.to_json()
    again = json.loads(json.dumps(plain))
    assert again == plain
    assert set(again["genres"][0]) == {
        "genre", "probability", "threshold", "chosen", "logit", "empty_logit", "shares", "heat_maps", "objects", "words"
    }  # fmt: skip
    for said, genre in zip(again["genres"], explanation.genres, strict=True):
        assert sum(said["shares"].values()) == pytest.approx(said["logit"] - said["empty_logit"], abs=1e-4)
        assert [item["label"] for item in said["words"]] == [item.label for item in genre.words]
        heat = np.array(said["heat_maps"]["style"]["values"])
        np.testing.assert_allclose(heat, genre.heat_maps["style"].values, atol=5e-4)
    without = explanation.to_json(heat_maps=False)
    assert "heat_maps" not in without["genres"][0]


def test_the_card_is_drawn(calibrated, poster, tmp_path):
    (explanation,) = load(calibrated).explain(poster, genres=GENRES)
    figure = explanation.card()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "card.png")
    with Image.open(tmp_path / "card.png") as card:
        pixels = np.asarray(card.convert("RGB"))
    assert pixels.shape[1] == 1200
    assert pixels.shape[0] > 600
    for colour in ((0, 114, 178), (204, 121, 167), (213, 94, 0), (0, 158, 115)):  # of the four branches
        assert (pixels == colour).all(axis=2).sum() > 50
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    assert {"Action", "Comedy", "Drama", "Horror", "“PLANTED”", "horse"} <= set(texts)
    assert "<img" in explanation._repr_html_()


@pytest.mark.parametrize("size", [(400, 60), (60, 400)])
def test_odd_posters_and_odd_words_are_drawn(size):
    words = Item("ocr", "$100 \\frac{1}{2} " + "very long words " * 9, 0.5, (-0.1, 0.9, 1.3, 1.2), 0.3)
    picture = Image.new("RGB", size, (10, 200, 30))
    explanation = Explanation("odd $name$.png", scores={"Drama": 0.1}, branches=("cnn",), picture=picture)
    assert explanation.card().get_size_inches()[0] == 12  # no genre
    from mmposter.explain import GenreExplanation, HeatMap

    nothing = HeatMap.of(np.zeros((2, 2), np.float32))
    genre = GenreExplanation("Drama", 0.1, 0.5, False, -2.0, -1.0, {"cnn": -1.0}, {"cnn": nothing}, (words,))
    figure = Explanation("x.png", (genre,) * 5, {"Drama": 0.1}, ("cnn",), picture=picture).card()
    figure.canvas.draw()
    assert "nothing" in [text.get_text() for axes in figure.axes for text in axes.texts]
