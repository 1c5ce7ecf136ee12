"""Lists of probable label mistakes, on labels and probabilities that are written down or drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mmposter.evaluation.audited import AuditedPoster, find_mistakes
from mmposter.evaluation.mistakes import (
    calibrated,
    label_findings,
    misleading_posters,
    ranks,
    suspicion,
    twin_findings,
)
from mmposter.evaluation.separability import confused_genres


def drawn(posters: int = 2000, genres: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True labels and the true probability of each: what a perfect model would say."""
    rng = np.random.default_rng(seed)
    probs = 1 / (1 + np.exp(-rng.normal(np.linspace(-4, -0.5, genres), 2.0, (posters, genres))))
    return rng.random(probs.shape) < probs, probs


def test_within_given_and_not_given_labels_the_order_is_that_of_self_confidence():
    target, probs = drawn()
    doubt = suspicion(target, probs)
    for of, unlikely in ((target, 1 - probs), (~target, probs)):
        assert (np.argsort(doubt[of], kind="stable") == np.argsort(unlikely[of], kind="stable")).all()


def test_flips_stand_first_and_far_above_what_base_rates_alone_put_there():
    target, probs = drawn()
    rng = np.random.default_rng(1)
    given = target ^ (rng.random(target.shape) < 0.05)
    wrong = given != target

    def lift(scores: np.ndarray) -> float:
        first = ranks(scores) <= 0.05 * scores.size
        return wrong[first].mean() / wrong.mean()

    blind = np.broadcast_to(given.mean(axis=0), given.shape)
    assert lift(suspicion(given, probs)) > 1.5 * lift(suspicion(given, blind)) > 1.5


def test_of_as_many_missing_as_wrong_both_are_among_the_first():
    target, probs = drawn()
    rng = np.random.default_rng(2)
    given = target.copy()
    replaced = rng.choice(np.flatnonzero(target.any(axis=1) & ~target.all(axis=1)), 100, replace=False)
    for row in replaced:
        given[row, rng.choice(np.flatnonzero(target[row]))] = False
        given[row, rng.choice(np.flatnonzero(~target[row]))] = True
    first = ranks(suspicion(given, probs)) <= 200
    assert 0.1 < (~given)[first].mean() < 0.9


def test_calibration_takes_a_models_own_scale_away():
    target, probs = drawn()
    target[:, -1], probs[:, -1] = True, 0.99  # a poster without a genre calibrates nothing, so each has one
    timid = 1 / (1 + (1 / probs - 1) ** 0.3)
    assert np.abs(calibrated(target, timid) - probs).mean() < 0.02 < 0.1 < np.abs(timid - probs).mean()


def test_no_label_without_evidence_against_it_is_listed():
    target = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    sure = np.where(target > 0, 0.9, 0.1)
    assert label_findings(target, sure, most=10) == []
    assert misleading_posters(target, sure, most=10) == []


def test_most_bounds_each_kind_and_the_surest_comes_first():
    target, probs = drawn()
    found = label_findings(target, probs, most=7)
    for kind in ("missing", "wrong"):
        scores = [finding.score for finding in found if finding.kind == kind]
        assert len(scores) == 7
        assert scores == sorted(scores, reverse=True)
    assert all(target[finding.row, finding.genre] == (finding.kind == "wrong") for finding in found)


def test_a_poster_misleads_only_where_nothing_of_its_genres_is_seen():
    target = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    probs = np.array([[0.1, 0.9, 0.8], [0.1, 0.2, 0.9], [0.2, 0.7, 0.1], [0.1, 0.2, 0.8]])
    found = misleading_posters(target, probs, most=10)
    assert [(finding.row, finding.genre, finding.add) for finding in found] == [(1, 2, None)]


def test_twins_take_the_majority_and_where_it_is_even_what_is_seen():
    target = np.array([[1, 0], [1, 1], [0, 1], [0, 1]])
    probs = np.array([[0.9, 0.8], [0.9, 0.4], [0.1, 0.9], [0.1, 0.9]])
    found = twin_findings(target, probs, ["pair", "pair", "alone", "other"], most=10)
    assert [(finding.row, finding.genre, finding.add, finding.others) for finding in found] == [(0, 1, True, (1,))]
    assert found[0].score == 0.5
    assert twin_findings(target, probs, ["a", "b", "same", "same"], most=10) == []


def test_genres_that_only_their_names_part_are_confused_and_others_are_not():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 600)  # two genres of one look, and one of another
    look = np.where(kind < 2, 2.0, -2.0) + rng.normal(size=600)
    logits = np.stack([look, look, -look], axis=1) + rng.normal(0, 0.1, (600, 3))
    pairs = confused_genres(np.eye(3)[kind], 1 / (1 + np.exp(-logits)), ["Mystery", "Thriller", "Comedy"])
    assert [(pair.first, pair.second) for pair in pairs] == [("Mystery", "Thriller")]
    assert pairs[0].ci95[0] < 0.5 < pairs[0].ci95[1]


def test_the_table_names_posters_and_genres():
    target, probs = drawn(60, 3)
    posters = [AuditedPoster(f"p{row}", None, None, 1990, "train", f"g{row // 2}") for row in range(60)]
    found = find_mistakes(posters, ["A", "B", "C"], target, probs, most=3, facts={"folds": 3})
    rows = found.table()
    assert {row["kind"] for row in rows} >= {"missing", "wrong", "twins"}
    for row in rows:
        has = row["genre"] in row["genres"].split("|")
        if row["kind"] != "misleading":
            assert row["suggestion"] == ("remove" if has else "add")
    assert found.to_json()["found"]["wrong"] == len({row["id"] for row in rows if row["kind"] == "wrong"})


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="shape of target"):
        suspicion([[1, 0]], [[0.5]])
