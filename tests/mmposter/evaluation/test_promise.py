"""A promised precision holds on new posters as often as is said, and these tests would notice if it did not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmposter import UserError
from mmposter.evaluation.promise import MOST, NOTHING, Evidence, Promise, expected_gain, first_count, percents

PRECISION, CONFIDENCE, POSTERS, DRAWS = 0.8, 0.9, 400, 200

# Of so many draws one more than so many standard errors above the allowed share would be no accident.
ALLOWED = (1 - CONFIDENCE) + 3 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / DRAWS)


def together(rng, n):
    """Genres that are true all together or not at all, a little too seldom, however sure the model is."""
    probs = np.repeat(rng.uniform(0.3, 1, size=(n, 1)), MOST, axis=1)
    return np.repeat(rng.random((n, 1)) < PRECISION - 0.002, MOST, axis=1), probs


def boastful(rng, n):
    """Genres of a common cause, of which the model is surer than it may be."""
    logits = 1.5 * rng.normal(size=(n, 5)) - 0.5
    target = rng.random((n, 5)) < 1 / (1 + np.exp(-(logits + rng.normal(size=(n, 1)))))
    return target, 1 / (1 + np.exp(-1.5 * logits))


def draw(world, rng, n):
    """Posters of a world; one more genre, which all have and the model never gives, so that none is without a genre."""
    target, probs = world(rng, n)
    return np.pad(target, ((0, 0), (0, 1)), constant_values=True), np.pad(probs, ((0, 0), (0, 1)))


def given(percent, probs):
    return Promise(PRECISION, CONFIDENCE, percent, 0, 0).give(probs)


def promised(target, probs):
    return Evidence.of(target, probs).promise(PRECISION, CONFIDENCE).percent


def of_copies(target, probs):
    """Each poster three times over, known as near-duplicates."""
    rows = np.repeat(np.arange(len(target)), 3)
    return Evidence.of(target[rows], probs[rows], rows).promise(PRECISION, CONFIDENCE).percent


def of_copies_that_count(target, probs):
    """A few posters thirty times over, each as if it were another."""
    rows = np.repeat(np.arange(60), 30)
    return promised(target[rows], probs[rows])


def observed(target, probs):
    """The loosest threshold that looks good on these posters: no bound at all."""
    for percent in range(30, 100, 5):
        told = given(percent, probs)
        if told.any() and target[told].mean() >= PRECISION:
            return percent
    return NOTHING


def broken(world, find):
    """From which share of validation sets `find` promises what new posters do not hold; and how often it promises."""
    target, probs = draw(world, np.random.default_rng(1), 40_000)
    rng = np.random.default_rng(2)
    found = [find(*draw(world, rng, POSTERS)) for _ in range(DRAWS)]
    true = {percent: target[given(percent, probs)].mean() for percent in set(found) - {NOTHING}}
    return np.mean([true.get(percent, 1) < PRECISION for percent in found]), np.mean(np.array(found) < NOTHING)


@pytest.mark.parametrize("find", [promised, of_copies])
@pytest.mark.parametrize("world", [together, boastful])
def test_a_promise_holds_for_new_posters(world, find):
    wrong, made = broken(world, find)
    assert wrong <= ALLOWED
    assert world is together or made > 0.3, "it is not kept by promising nothing"


@pytest.mark.parametrize(
    ("world", "find"), [(together, observed), (boastful, observed), (together, of_copies_that_count)]
)
def test_what_is_no_bound_is_found_out(world, find):
    """The draws above tell a promise that holds from those that do not."""
    assert broken(world, find)[0] > ALLOWED


def calibrated(rng, n=2000, genres=4):
    """Posters with probabilities that are true."""
    probs = rng.random((n, genres)) ** 1.5
    return rng.random((n, genres)) < probs, probs


@pytest.fixture
def evidence():
    return Evidence.of(*calibrated(np.random.default_rng(3)))


def test_a_higher_precision_is_dearer_until_none_is_left(evidence):
    promises = [evidence.promise(precision) for precision in (0.5, 0.6, 0.7, 0.8, 0.9)]
    percent, share, posters = zip(*((p.percent, p.share, p.posters) for p in promises), strict=True)
    assert list(percent) == sorted(percent)
    assert list(share) == sorted(share, reverse=True)
    assert list(posters) == sorted(posters, reverse=True)
    assert 0.99 > posters[-1] > 0
    none = evidence.promise(0.985)
    assert (none.holds, none.percent, none.share, none.posters) == (False, NOTHING, 0, 0)
    assert not none.give([[1.0, 1.0]]).any()
    assert evidence.promise(none.highest).holds
    assert not evidence.promise(none.highest + 0.01).holds
    assert str(none.highest)[1:] in none.text()


def test_more_confidence_and_fewer_posters_promise_less():
    target, probs = calibrated(np.random.default_rng(3))
    many, few = Evidence.of(target, probs), Evidence.of(target[:300], probs[:300])
    assert many.promise(0.8, 0.5).percent < many.promise(0.8, 0.99).percent
    assert many.promise(0.8).percent < few.promise(0.8).percent
    assert not Evidence.of(target[:0], probs[:0]).promise(0.5).holds
    assert not Evidence.of(target[:40], probs[:40]).promise(0.8).holds, "40 posters prove nothing of that"


def test_share_and_posters_are_those_of_the_posters_it_was_found_on():
    target, probs = calibrated(np.random.default_rng(3))
    target[0], probs[0] = False, 0.99  # no poster with a genre
    promise = Evidence.of(target, probs).promise(0.75)
    labelled = target.any(axis=1)
    told = promise.give(probs)[labelled]
    assert promise.share == pytest.approx((told & target[labelled]).sum() / target.sum())
    assert promise.posters == pytest.approx(told.any(axis=1).mean())
    assert target[labelled][told].mean() > 0.75


def test_a_poster_gets_the_surest_genres_at_or_above_the_percent():
    promise = Promise(0.8, 0.95, 62, 0, 0)
    given = promise.give(np.array([[0.62, 0.6199, 0.7, 0.99, 0.65], [0.1, 0.2, 0.3, 0.4, 0.5]], np.float32))
    assert given.tolist() == [[False, False, True, True, True], [False] * 5]
    assert promise.give([[0.62, 0.1]]).tolist() == [[True, False]]
    assert percents(np.float32([0.57, 0.29, 1])).tolist() == [56, 28, 99], "rounded down, float32 as it is"
    assert expected_gain([[0.9, 0.5], [0.5, 0.25]], np.array([[True, False], [False, False]])) == pytest.approx(
        [0.6, 0.75]
    )


def test_what_is_kept_promises_the_same(evidence):
    kept = json.loads(json.dumps(evidence.to_json()))
    again = Evidence.from_json(**kept)
    assert again.to_json() == kept
    for precision in (0.4, 0.7, 0.85, 0.99):
        assert again.promise(precision) == evidence.promise(precision)
    small = Evidence.of([[1, 0], [0, 1], [1, 1]], [[0.87, 0.42], [0.1, 0.05], [1.0, 0.2]]).to_json()
    assert small == {"posters": 3, "genres": 4, "surest": "87+42- 99+20+"}


@pytest.mark.parametrize(
    ("posters", "genres", "surest"),
    [
        (2, 9, "87+42- 99+20+ 50-"),
        (9, 1, "87+42- 99+20+"),
        (9, 9, "42-87+"),
        (9, 9, "87+42-30-25-"),
        (9, 9, "87"),
        (9, 9, "+87"),
    ],
)
def test_what_was_not_kept_is_refused(posters, genres, surest):
    with pytest.raises(ValueError, match="surest"):
        Evidence.from_json(posters, genres, surest)


@pytest.mark.parametrize("value", [0, 1, -0.1, 85, float("nan")])
def test_no_share_is_refused(evidence, value):
    with pytest.raises(UserError, match=r"precision must lie between 0 and 1, such as \.85"):
        evidence.promise(value)
    with pytest.raises(UserError, match="confidence must lie between 0 and 1"):
        evidence.promise(0.8, value)


def test_a_precision_near_one_takes_more_posters_than_anybody_has():
    assert first_count(0.7, 0.95) < first_count(0.8, 0.95) < first_count(0.9, 0.95) < first_count(0.9999, 0.95)
