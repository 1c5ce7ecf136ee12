"""`predict --precision`: genres of which a precision is promised, the other posters for review, and what is refused."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit
from typer.testing import CliRunner

from mmposter import PosterClassifier, Run, UserError
from mmposter.cli import app
from mmposter.evaluation.promise import NOTHING, Evidence, expected_gain, percents
from mmposter.evaluation.scaling import Scaling
from mmposter.inference.accepting import Tally
from mmposter.runs.decisions import SUBSETS

NAMES = ("cnn", "style")


def promising(percent: int) -> Evidence:
    """Validation posters that promise up to .9 of the genres from this percent on, and nothing of those below."""
    percents_, true = np.array([[percent, percent - 1, 0]] * 400), np.array([[True, False, False]] * 400)
    return Evidence(percents_, true, 400, 800)


def change(run, *branches: str, **values) -> None:
    """Put other values in place of those that were fitted for these branches."""
    found = Run.load(run).subsets()
    replace(found, subsets=found.subsets | {branches: replace(found.of(branches), **values)}).save(run)


@pytest.fixture
def posters(tmp_path, make_drawn):
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        make_drawn(number, 60, 90).save(path)
    return paths


@pytest.fixture
def run(make_run):
    """Calibrated, without what a precision is promised by."""
    return make_run("evaluation.empty=allow", branches="cnn,style,ocr", calibrated=True)


def scores(run, posters):
    return np.array([list(found.scores.values()) for found in load(run).predict(posters)])


@pytest.fixture
def spread(run, posters):
    """The run with probabilities that tell the posters apart: the logits are stretched around their means."""
    decision, shown = Run.load(run).decision(NAMES), logit(scores(run, posters))
    times = 1 / shown.std(axis=0).mean()
    offsets = times * (decision.scaling.offsets - shown.mean(axis=0))
    change(run, *NAMES, decision=replace(decision, scaling=Scaling(times * decision.scaling.slope, offsets)))
    return run


@pytest.fixture
def middle(spread, posters):
    """The percent that the surest genre of half of the posters reaches."""
    return int(percents(np.sort(scores(spread, posters).max(axis=1))[len(posters) // 2]))


@pytest.fixture
def ready(spread, middle):
    change(spread, *NAMES, evidence=promising(middle))
    change(spread, "cnn", evidence=promising(99))
    return spread


def load(run, **more):
    return PosterClassifier.load(run, branches=NAMES, device="cpu", offline=True, **more)


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


def test_a_poster_of_which_a_branch_failed_is_for_review(ready, eyes, posters):
    """Nothing was promised of what the others say alone."""
    change(ready, *NAMES, "ocr", evidence=promising(21))
    classifier = PosterClassifier.load(ready, device="cpu", offline=True)
    assert classifier.predict(posters[0], precision=0.8)[0].verdict == "accept"
    eyes.fails = True
    found = classifier.predict(posters[0], precision=0.8)[0]
    assert "the reader is ill" in found.error
    assert (found.verdict, found.genres) == ("review", [])
    assert found.gain == pytest.approx(sum(found.scores.values()))


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


def test_a_run_without_it_says_what_to_type(run, posters):
    for _ in range(2):  # calibrated before there was such a thing, and not calibrated
        with pytest.raises(UserError, match=rf"Type:\n  mmposter calibrate {run} DATA"):
            load(run).predict(posters, precision=0.8)
        (run / SUBSETS).unlink(missing_ok=True)


def test_one_genre_a_poster_has_no_promise(make_run, posters):
    run = make_run("loss.name=cross_entropy", "evaluation.thresholds=top1", branches="cnn")
    with pytest.raises(UserError, match="it gives each poster one genre"):
        PosterClassifier.load(run, device="cpu", offline=True).predict(posters, precision=0.8)


def command(run, posters, *more):
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


def test_the_summary_says_what_share_is_given_without_a_person(ready, posters, middle):
    said = command(ready, posters, "-v").output
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
    assert re.search(rf"\.80\W+\.{middle}\W+50 %\W+{100 * given / everything:.0f} %", said)


def test_a_precision_that_is_asked_for_stands_among_the_usual(posters):
    tally = Tally(promising(60), 0.99)
    assert [share.promise.precision for share in tally.shares()] == [0.7, 0.8, 0.9, 0.99]
    assert tally.asked.percent == NOTHING
    assert [share.expected for share in tally.shares()] == [0, 0, 0, 0]
