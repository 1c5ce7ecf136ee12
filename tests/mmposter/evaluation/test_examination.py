"""What `evaluate` reports beside its metrics: genres together, thresholds, the hardest posters, the saved file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk

from mmposter.errors import UserError
from mmposter.evaluation import evaluate
from mmposter.evaluation.cooccurrence import cooccurrence
from mmposter.evaluation.examination import examine
from mmposter.evaluation.hardest import hardest_posters
from mmposter.evaluation.listing import listing_line
from mmposter.evaluation.operating import threshold_table
from mmposter.evaluation.scored import ScoredPosters, Source, file_hash
from mmposter.evaluation.thresholds import apply_thresholds
from mmposter.report.evaluation import evaluation_document
from mmposter.report.evaluation_text import calibration_note, data_note
from mmposter.report.plots import plot_cooccurrence, plot_reliability

GENRES = ("Drama", "Comedy", "$War$")


def scored(seed: int = 0, n: int = 60) -> ScoredPosters:
    rng = np.random.default_rng(seed)
    target = rng.random((n, 3)) < [0.6, 0.4, 0.2]
    target[target.sum(axis=1) == 0, 0] = True
    target[0] = False
    probs = np.clip(0.3 * target + 0.6 * rng.random((n, 3)), 0, 1).astype(np.float32)
    limits = np.array([0.4, 0.45, 0.5])
    source = Source(
        run="mine",
        weights="ab" * 32,
        branches=("cnn",),
        config={"seed": 3, "branches": ["cnn", "yolo"], "fusion": {"head": "sum"}, "regime": "features"},
        data="posters",
        manifest="cd" * 32,
        split="test",
        empty="top1",
        constant={"macro_f1": 0.25, "macro_auroc": float("nan")},
        version="0",
        commit=None,
    )
    ids = tuple(f"tt{number:03}" for number in range(n))
    groups = np.array([f"g{number // 2}" for number in range(n)], dtype=object)
    return ScoredPosters(ids, groups, GENRES, target, probs, apply_thresholds(probs, limits, "top1"), limits, source)


# Genres together -----------------------------------------------------------------------------------------------------


def test_cooccurrence_by_hand():
    target = [[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    decided = [[1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 1, 1]]
    found = cooccurrence(target, decided, GENRES)
    assert found.support == (3, 3, 0)
    assert found.true[:2] == pytest.approx(np.array([[1, 2 / 3, 0], [2 / 3, 1, 0]]))
    assert found.decided[:2] == pytest.approx(np.array([[2 / 3, 1 / 3, 2 / 3], [1 / 3, 1 / 3, 1 / 3]]))
    assert np.isnan(found.true[2]).all()
    assert found.to_json()["decided"][2] is None
    json.dumps(found.to_json(), allow_nan=False)
    assert found.too_often == ()  # three posters say nothing


def test_a_confusion_that_was_put_in_is_the_first_one_named():
    rng = np.random.default_rng(0)
    target = rng.random((400, 3)) < 0.3
    target[:, 0] |= ~target.any(axis=1)
    decided = target.copy()
    decided[target[:, 2], 1] |= rng.random(target[:, 2].sum()) < 0.8  # on posters of the last, the second is decided
    decided[target[:, 1], 0] &= rng.random(target[:, 1].sum()) < 0.3  # with the second, the first is not
    found = cooccurrence(target, decided, GENRES)
    assert (found.too_often[0].genre, found.too_often[0].other) == ("$War$", "Comedy")
    assert (found.too_seldom[0].genre, found.too_seldom[0].other) == ("Comedy", "Drama")
    first = found.too_often[0]
    war = target[:, 2]
    assert (first.decided, first.true) == pytest.approx((decided[war, 1].mean(), target[war, 1].mean()))
    # The bound that ranks them: the mean of (decided - true) over the genre's posters, less 1.96 standard errors.
    gaps = decided[war, 1].astype(float) - target[war, 1]
    assert gaps.mean() - 1.96 * gaps.std() / np.sqrt(war.sum()) > 0
    assert "is decided too often: on" in first.sentence()


def test_right_decisions_are_no_confusion():
    target = np.random.default_rng(1).random((200, 3)) < 0.4
    target[:, 0] |= ~target.any(axis=1)
    found = cooccurrence(target, target, GENRES)
    assert found.too_often == found.too_seldom == ()
    assert np.array_equal(found.true, found.decided)


# Thresholds ----------------------------------------------------------------------------------------------------------


def test_threshold_table_agrees_with_scikit_learn():
    one = scored()
    keep = one.target.any(axis=1)
    truth, probs = one.target[keep], one.probs[keep].astype(np.float64)
    for g, row in enumerate(threshold_table(one.target, one.probs, one.thresholds, GENRES)):
        for point, limit in ((row.tuned, one.thresholds[g]), (row.half, 0.5)):
            said = probs[:, g] >= limit
            theirs = sk.precision_recall_fscore_support(truth[:, g], said, average="binary", zero_division=0)
            assert (point.precision, point.recall, point.f1) == pytest.approx(theirs[:3])
            assert point.decided == pytest.approx(said.mean())
        # No threshold at all is better than the one of hindsight.
        tried = [sk.f1_score(truth[:, g], probs[:, g] >= limit) for limit in np.unique(probs[:, g])]
        assert row.hindsight.f1 == pytest.approx(max(tried))
        assert sk.f1_score(truth[:, g], probs[:, g] >= row.hindsight.threshold) == pytest.approx(row.hindsight.f1)


def test_a_genre_without_a_positive_has_no_recall_and_no_hindsight():
    row = threshold_table([[1, 0], [1, 0]], [[0.9, 0.6], [0.8, 0.1]], [0.5, 0.5], ["A", "B"])[1]
    assert (row.tuned.precision, row.tuned.recall, row.tuned.f1, row.hindsight) == (0.0, None, None, None)
    assert row.tuned.decided == 0.5


# The hardest posters -------------------------------------------------------------------------------------------------


def test_hardest_posters_by_hand():
    target = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    probs = [[0.9, 0.1, 0.1], [0.6, 0.01, 0.9], [0.99, 0.99, 0.99], [0.5, 0.5, 0.4]]
    decisions = [[1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 0, 0]]
    found = hardest_posters(["a", "b", "c", "d"], target, probs, decisions, GENRES, top=2)
    assert [poster.id for poster in found] == ["b", "d"]  # c has no genre
    worst = found[0]
    assert worst.loss == pytest.approx(-np.log([0.6, 0.01, 0.1]).mean())
    assert (worst.true, worst.decided) == (("Drama", "Comedy"), ("Drama", "$War$"))
    assert (worst.missed, worst.false) == ({"Comedy": 0.01}, {"$War$": 0.9})
    assert (worst.worst, worst.worst_probability) == ("Comedy", 0.01)
    assert (found[1].missed, found[1].false) == ({"$War$": 0.4}, {"Drama": 0.5})


# The saved file ------------------------------------------------------------------------------------------------------


def test_scored_posters_come_back_as_they_were(tmp_path: Path):
    one = scored()
    one.save(tmp_path / "deep" / "predictions.parquet")
    back = ScoredPosters.load(tmp_path / "deep" / "predictions.parquet")
    for name in ("groups", "target", "probs", "decisions", "thresholds"):
        assert np.array_equal(getattr(back, name), getattr(one, name)), name
        assert getattr(back, name).dtype == getattr(one, name).dtype
    assert (back.ids, back.genres) == (one.ids, one.genres)
    assert np.isnan(back.source.constant["macro_auroc"])
    assert replace(back.source, constant={}) == replace(one.source, constant={})
    assert (back.source.seed, back.source.masked) == (3, ("yolo",))


def test_a_result_out_of_a_pack_says_so(tmp_path: Path):
    one = scored()
    train = {"train_target": one.target, "split": "test", "n_boot": 10}
    evaluation = evaluate(one.target, one.probs, one.thresholds, GENRES, **train)
    packed = replace(one, source=replace(one.source, pack="benchmark"))
    packed.save(tmp_path / "predictions.parquet")
    found = examine(ScoredPosters.load(tmp_path / "predictions.parquet"), evaluation)
    note = data_note(found)
    assert note is not None
    assert note.startswith("features: those of the pack benchmark, which are rounded; ")
    assert note in str(evaluation_document(found).sections[0])
    assert found.to_json()["provenance"]["pack"] == "benchmark"
    assert data_note(examine(one, evaluation)) is None


def test_the_file_reads_well_without_us_and_is_the_same_twice(tmp_path: Path):
    for name in ("a.parquet", "b.parquet"):
        scored().save(tmp_path / name)
    assert file_hash(tmp_path / "a.parquet") == file_hash(tmp_path / "b.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["id", "group", "genres", "decided", *(f"probability.{genre}" for genre in GENRES)]
    row = table.slice(1, 1).to_pylist()[0]
    assert row["genres"] == [genre for genre, on in zip(GENRES, scored().target[1], strict=True) if on]
    facts = json.loads(table.schema.metadata[b"mmposter"], parse_constant=lambda name: pytest.fail(name))
    assert facts["source"]["manifest"] == "cd" * 32
    assert facts["thresholds"] == [0.4, 0.45, 0.5]


def test_a_damaged_foreign_or_newer_file_is_refused(tmp_path: Path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="which should hold scored posters, is damaged"):
        ScoredPosters.load(path)
    scored().save(path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(UserError, match="mmposter evaluate RUN DATA"):
        ScoredPosters.load(path)
    facts = json.loads(table.schema.metadata[b"mmposter"]) | {"format": 99}
    pq.write_table(table.replace_schema_metadata({b"mmposter": json.dumps(facts).encode()}), path)
    with pytest.raises(UserError, match="pip install --upgrade mmposter"):
        ScoredPosters.load(path)


# All together --------------------------------------------------------------------------------------------------------


def test_examination_is_plain_json_and_says_where_the_calibration_was_fitted():
    one, val = scored(0), scored(1)
    result = evaluate(
        one.target, one.probs, one.thresholds, GENRES, train_target=val.target, split="test", n_boot=20,
        groups=one.groups,
    )  # fmt: skip
    found = examine(one, result, method="temperature", fit=(val.target, val.probs))
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["metrics"] == result.to_json()["metrics"]
    assert plain["provenance"]["manifest"] == "cd" * 32
    assert plain["provenance"]["seed"] == 3
    assert list(plain["thresholds"]) == list(GENRES)
    assert len(plain["hardest"]) == 20
    assert plain["calibration"]["temperature"] == found.calibration.calibrator.temperature
    assert "fitted on val posters" in calibration_note(found)
    assert found.listing[2] == listing_line("tt002", None, dict(zip(GENRES, one.probs[2].astype(float), strict=True)))
    titles = [("A film", 1999), (None, 2000), ("Another", None), *[(None, None)] * 57]
    named = [line.split("  ")[0] for line in examine(one, result, titles=titles).listing]
    assert named[:4] == ["A film (1999)", "tt001 (2000)", "Another", "tt003"]
    itself = examine(one, replace(result, split="val"), method="isotonic", fit=(one.target, one.probs))
    assert "on these very posters, so it flatters" in calibration_note(itself)
    assert calibration_note(examine(one, result, method="isotonic", fit=None)) == "calibration: none fitted"


def test_figures_show_the_numbers_they_were_given():
    one = scored()
    together = cooccurrence(one.target, one.decisions, GENRES)
    true, decided = plot_cooccurrence(together).axes
    order = np.argsort(-np.array(together.support), kind="stable")
    for axes, matrix in ((true, together.true), (decided, together.decided)):
        drawn = np.asarray(axes.collections[0].get_array()).reshape(3, 3)
        assert np.array_equal(drawn, matrix[np.ix_(order, order)])
        # The first row of the matrix is the uppermost one.
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
    result = evaluate(one.target, one.probs, one.thresholds, GENRES, train_target=one.target, split="test", n_boot=4)
    curve = examine(one, result).reliability
    share, counts = plot_reliability({"as trained": curve}).axes
    line = next(line for line in share.get_lines() if line.get_label() == "as trained")
    assert list(line.get_ydata()) == pytest.approx(curve.share[curve.count > 0])
    assert counts.get_yscale() == "log"
    with pytest.raises(UserError, match="one or two curves"):
        plot_reliability({})


@pytest.mark.parametrize(("posters", "wrong", "named"), [(10, 3, True), (10, 2, False), (9, 9, False), (40, 5, True)])
def test_a_confusion_is_named_where_luck_does_not_explain_it(posters, wrong, named):
    """Drama is decided on some War posters and true of none: the share less 1.96 standard errors, from ten posters on.

    Of 10, .3 - 1.96 * sqrt(.3 * .7 / 10) = .016 and .2 - 1.96 * sqrt(.2 * .8 / 10) = -.048.
    """
    target, decisions = np.tile([1, 0], (posters, 1)), np.tile([1, 0], (posters, 1))
    decisions[:wrong, 1] = 1
    found = cooccurrence(target, decisions, ["War", "Drama"])
    expected = [("War", "Drama", wrong / posters, 0.0, posters)] if named else []
    assert [(one.genre, one.other, one.decided, one.true, one.posters) for one in found.too_often] == expected
    assert found.too_seldom == ()
    # The other way round: it is true of them and not decided.
    turned = cooccurrence(decisions, target, ["War", "Drama"])
    assert len(turned.too_seldom) == (posters >= 10 and named)


def test_a_score_that_reaches_the_threshold_is_decided():
    (row,) = threshold_table([[1], [1], [1]], [[0.5], [0.7], [0.25]], [0.25], ["War"])
    assert (row.tuned.recall, row.half.recall, row.half.decided) == (1, 2 / 3, 2 / 3)
