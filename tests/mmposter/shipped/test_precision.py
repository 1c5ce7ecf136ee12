"""`predict --precision`: genres of which a precision is promised, the other posters for review, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter import PosterClassifier, Run, UserError
from mmposter.cli import app
from mmposter.config import BRANCHES
from mmposter.evaluation.promise import NOTHING, Evidence, expected_gain, percents
from mmposter.inference.accepting import Tally
from mmposter.inference.task import Request
from mmposter.measurement.evaluate import score_split
from mmposter.runs.decisions import SUBSETS
from mmposter.training.inputs import load_inputs

NAMES = ("cnn", "style")


def promising(percent: int) -> Evidence:
    """Validation posters that promise up to .9 of the genres from this percent on, and nothing of those below."""
    percents_, true = np.array([[percent, percent - 1, 0]] * 400), np.array([[True, False, False]] * 400)
    return Evidence(percents_, true, 400, 800)


def keep(run, **evidence: Evidence) -> None:
    """Leave this in a run folder as what validation posters say, by branches (``cnn_style``)."""
    found = Run.load(run).subsets()
    subsets = {
        names: replace(subset, evidence=evidence.get("_".join(names), subset.evidence))
        for names, subset in found.subsets.items()
    }
    replace(found, subsets=subsets).save(run)


@pytest.fixture
def posters(world):
    return [world.dataset.image_path(row) for row in range(12)]


@pytest.fixture
def middle(calibrated, posters):
    """The percent that the surest genre of half of the posters reaches."""
    found = PosterClassifier.load(calibrated, branches=NAMES, device="cpu", offline=True).predict(posters)
    return int(percents(np.sort([max(p.scores.values()) for p in found])[len(found) // 2]))


@pytest.fixture
def ready(calibrated, middle):
    keep(calibrated, cnn_style=promising(middle), cnn=promising(99))
    return calibrated


def load(run, **more):
    return PosterClassifier.load(run, branches=NAMES, device="cpu", offline=True, **more)


def test_calibrate_keeps_what_the_validation_posters_say(world, calibrated):
    run = Run.load(calibrated)
    inputs = load_inputs(run.serving_config(), world.dataset, device="cpu", offline=True)
    groups = np.array(world.dataset.table["group"], dtype=object)
    for only in (BRANCHES, NAMES, ("ocr",)):
        raw, rows, seen = score_split(run, world.dataset, inputs, inputs.rows("val"), only=only, device="cpu")
        expected = Evidence.of(inputs.labels[rows] > 0, run.decision(only).apply(raw, seen), groups[rows])
        assert run.evidence(only).to_json() == expected.to_json()
        assert run.evidence(only).count == 16


def test_genres_are_given_from_the_promised_probability_on(ready, posters, middle, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    classifier = load(ready)
    plain, found = classifier.predict([*posters, broken]), classifier.predict([*posters, broken], precision=0.8)
    assert (found[-1].verdict, found[-1].gain, found[-1].genres) == (None, None, [])
    assert found[-1].error.startswith("not_an_image")
    verdicts = set()
    for before, now in zip(plain[:-1], found[:-1], strict=True):
        assert now.scores == before.scores
        assert before.verdict is None
        surest = sorted(now.scores, key=lambda genre: -now.scores[genre])[:3]
        expected = [genre for genre in surest if percents(now.scores[genre]) >= middle]
        assert now.genres == expected
        assert now.verdict == ("accept" if expected else "review")
        given = np.array([[genre in expected for genre in now.scores]])
        assert now.gain == pytest.approx(expected_gain([list(now.scores.values())], given)[0])
        verdicts.add(now.verdict)
    assert verdicts == {"accept", "review"}
    assert {p.verdict for p in classifier.predict(posters, precision=0.8, branches=["cnn"])} == {"review"}, "its own"


def test_what_cannot_be_promised_gives_nothing_and_is_said(ready, posters, capsys):
    found = load(ready).predict(posters, precision=0.985)
    assert {(p.verdict, len(p.genres)) for p in found} == {("review", 0)}
    highest = promising(50).promise(0.985).highest
    said = " ".join(capsys.readouterr().err.split())
    assert "precision .985 cannot be promised (confidence .95), so no genre is given; the highest that can is" in said
    assert f"that can is {highest:.2f}".replace("0.", ".") in said
    assert {p.verdict for p in load(ready).predict(posters, precision=0.97, confidence=0.5)} == {"accept", "review"}


def test_a_poster_of_which_a_branch_failed_is_for_review(ready):
    task = load(ready)._task
    request = Request(["a.jpg"], promise=promising(60).promise(0.8))
    probs = np.float32([0.9, 0.7, 0.1, 0.1])
    good, bad = (task._prediction("a.jpg", (probs, True), error, request) for error in (None, "ocr: failed"))
    assert (good.verdict, len(good.genres), good.gain) == ("accept", 2, pytest.approx(0.6))
    assert (bad.verdict, bad.genres, bad.gain) == ("review", [], pytest.approx(1.8))


@pytest.mark.parametrize("precision", [0, 1, 1.5, -1, float("nan")])
def test_no_precision_is_refused(ready, posters, precision):
    with pytest.raises(UserError, match="precision must lie between 0 and 1"):
        load(ready).predict(posters, precision=precision)
    asked = ["predict", str(posters[0]), "--model", str(ready), "--precision", str(precision)]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, UserError)


def test_top_k_and_listing_are_of_any_precision(ready, posters):
    with pytest.raises(UserError, match="one of precision and top_k"):
        load(ready).predict(posters, precision=0.8, top_k=2)
    for other in (["--top-k", "2"], ["--listing"]):
        done = CliRunner().invoke(app, ["predict", str(posters[0]), "--model", str(ready), "--precision", ".8", *other])
        assert f"one of --precision and {other[0]}" in str(done.exception)


def test_a_run_without_it_says_what_to_type(trained, posters):
    with pytest.raises(UserError, match=rf"Type:\n  mmposter calibrate {trained} DATA"):
        load(trained).predict(posters, precision=0.8)


def test_a_calibration_of_before_is_read_and_says_what_to_type(calibrated, posters):
    values = json.loads((calibrated / SUBSETS).read_text())
    for subset in values["subsets"].values():
        del subset["evidence"]
    (calibrated / SUBSETS).write_text(json.dumps(values))
    assert load(calibrated).predict(posters[0])[0].scores
    with pytest.raises(UserError, match="mmposter calibrate"):
        load(calibrated).predict(posters, precision=0.8)


def test_of_a_shipped_model_a_copy_is_calibrated(shipped):
    (shipped / SUBSETS).unlink()
    with pytest.raises(UserError) as refused:
        Run.load(shipped).evidence()
    assert f"cp -r {shipped} posters-calibrated\n  mmposter calibrate posters-calibrated DATA" in str(refused.value)


@pytest.mark.parametrize("surest", [7, "87", "42-87+", "87+ " * 99])
def test_damaged_evidence_is_refused(calibrated, surest):
    values = json.loads((calibrated / SUBSETS).read_text())
    values["subsets"]["cnn"]["evidence"]["surest"] = surest
    (calibrated / SUBSETS).write_text(json.dumps(values))
    with pytest.raises(UserError, match="is damaged"):
        Run.load(calibrated).evidence(["cnn"])


def command(run, posters, *more) -> str:
    asked = ["predict", *map(str, posters), "--model", str(run), "--branches", ",".join(NAMES), "--offline"]
    done = CliRunner().invoke(app, [*asked, "--precision", ".8", "--workers", "1", *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_files_have_the_verdicts_and_the_order_of_the_reviews(ready, posters, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    command(ready, [*posters, broken], "--out", str(tmp_path / "out.csv"))
    command(ready, [*posters, broken], "--out", str(tmp_path / "out.jsonl"))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:7] == ["path", "genres", "verdict", "review", "gain", "error", "saw_nothing"]
    assert [row["path"] for row in rows] == [str(path) for path in [*posters, broken]], "in the order they were given"
    reviews = sorted((row for row in rows if row["verdict"] == "review"), key=lambda row: int(row["review"]))
    assert [int(row["review"]) for row in reviews] == list(range(1, len(reviews) + 1))
    gains = [float(row["gain"]) for row in reviews]
    assert gains == sorted(gains, reverse=True)
    assert all(row["genres"] and not row["review"] for row in rows if row["verdict"] == "accept")
    assert (rows[-1]["verdict"], rows[-1]["review"], rows[-1]["error"][:12]) == ("", "", "not_an_image")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for line, row in zip(lines, rows, strict=True):
        assert (line.get("verdict") or "", str(line["review"] or "")) == (row["verdict"], row["review"])


def test_the_summary_says_what_share_is_given_without_a_person(ready, posters, middle, capsys):
    command(ready, posters)
    said = capsys.readouterr().err
    classifier = load(ready)
    tally = Tally(classifier.evidence(), 0.8)
    found = list(tally.counted(classifier.stream(posters, precision=0.8)))
    accepted = sum(p.verdict == "accept" for p in found)
    assert (tally.accepted, tally.review, tally.others) == (accepted, len(posters) - accepted, 0)
    assert f"precision .80 is promised (confidence .95) for genres from .{middle} on" in said
    assert f"{accepted} accepted, with {sum(len(p.genres) for p in found)} genres; {len(posters) - accepted} to" in said
    first = max((p for p in found if p.verdict == "review"), key=lambda p: p.gain)
    assert tally.first[0] == (first.path, first.gain)
    assert f"{first.path} ({first.gain:.1f})" in said
    given = sum(p.scores[genre] for p in found for genre in p.genres)
    everything = sum(sum(p.scores.values()) for p in found)
    shares = {share.promise.precision: share for share in tally.shares()}
    assert list(shares) == [0.7, 0.8, 0.9]
    assert shares[0.8].expected == pytest.approx(given / everything)
    assert shares[0.8].promise.share == 0.5
    assert f"50 % │ {100 * given / everything:>17.0f} %" in said.replace("┃", "│")


def test_a_precision_that_is_asked_for_stands_among_the_usual(posters):
    tally = Tally(promising(60), 0.99)
    assert [share.promise.precision for share in tally.shares()] == [0.7, 0.8, 0.9, 0.99]
    assert tally.asked.percent == NOTHING
    assert [share.expected for share in tally.shares()] == [0, 0, 0, 0]
