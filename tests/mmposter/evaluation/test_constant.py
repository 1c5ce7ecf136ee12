"""The best constant answer is really the best one: brute force over all of them."""

from __future__ import annotations

from functools import partial
from itertools import combinations, permutations

import numpy as np
import pytest

from mmposter.errors import UserError
from mmposter.evaluation import constant as constant_module
from mmposter.evaluation import weighted
from mmposter.evaluation.constant import ConstantPredictor
from mmposter.evaluation.metrics import METRICS, Metric

GENRES = 5
SETS = [
    np.array([g in chosen for g in range(GENRES)])
    for r in range(GENRES + 1)
    for chosen in combinations(range(GENRES), r)
]


def labels(seed: int, n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Correlated genres, so that covering posters and being frequent are different things.
    pair = rng.random((n, 1)) < 0.5
    target = rng.random((n, GENRES)) < np.where(pair, [0.7, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.5, 0.3, 0.2])
    target[0] = True  # every genre occurs
    target[1] = False  # and one poster has none
    return target


def all_answers(kind: str) -> list[np.ndarray]:
    if kind == "decision":
        return SETS
    return [np.argsort(order) / GENRES for order in permutations(range(GENRES))]


@pytest.mark.parametrize("metric", [m for m in METRICS if m.kind != "probability"], ids=lambda m: m.name)
@pytest.mark.parametrize("seed", range(4))
def test_no_constant_answer_is_better_on_the_training_posters(metric, seed: int):
    target = labels(seed)
    best = max(metric.value(target, np.broadcast_to(answer, target.shape)) for answer in all_answers(metric.kind))
    assert ConstantPredictor.fit(target, metric).score(target) == pytest.approx(best, abs=1e-12)


def test_covering_beats_frequency():
    # Genres 0 and 1 always come together; 2 is rarer but covers other posters.
    target = np.array([[1, 1, 0]] * 6 + [[0, 0, 1]] * 4)
    metric = next(m for m in METRICS if m.name == "any_hit_at_3")
    two = type(metric)("any_hit_at_2", "any hit@2", "ranking", partial(weighted.any_hit_at_k, k=2), k=2)
    order = np.argsort(-ConstantPredictor.fit(target, two).probs)
    assert set(order[:2]) == {0, 2}


def test_greedy_cover_beyond_the_limit(monkeypatch: pytest.MonkeyPatch):
    target = labels(0)
    exact = ConstantPredictor.fit(target, "any_hit_at_3").score(target)
    monkeypatch.setattr(constant_module, "EXACT_COVER_LIMIT", 1)
    greedy = ConstantPredictor.fit(target, "any_hit_at_3")
    # Greedy covers at least 1 - 1/e of the best (Nemhauser 1978) and ranks every genre once.
    assert exact * (1 - 1 / np.e) <= greedy.score(target) <= exact
    assert sorted(greedy.probs) == pytest.approx(np.arange(1, GENRES + 1) / GENRES)


def test_r_precision_can_be_better_than_frequency():
    # By frequency 1 > 2 > 0, which gives 5/9; but genres 1 and 2 come in pairs, where the second place serves too.
    target = np.array([[1, 0, 0]] * 4 + [[0, 1, 1]] * 5)
    predictor = ConstantPredictor.fit(target, "r_precision")
    assert predictor.score(target) == pytest.approx((4 * 1 + 5 * 0.5) / 9)
    assert predictor.answer(["a", "b", "c"]).startswith("always a > ")


def test_constants_chosen_on_training_are_scored_on_other_posters():
    train = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    test = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]])  # the last has no genre: left out
    assert ConstantPredictor.fit(train, "r_precision").score(test) == pytest.approx(1 / 3)
    assert ConstantPredictor.fit(train, "exact_match").score(test) == pytest.approx(1 / 3)
    # Any constant score has the prevalence *of the test posters* as its average precision; genre 1 is left out.
    assert ConstantPredictor.fit(train, "mean_average_precision").score(test) == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert ConstantPredictor.fit(train, "macro_auroc").score(test) == 0.5
    assert ConstantPredictor.fit(train, "overall_recall").score(test) == pytest.approx(1 / 3)


def test_calibration_constant_is_the_training_prevalence():
    train = labels(2)
    predictor = ConstantPredictor.fit(train, "expected_calibration_error")
    assert predictor.probs == pytest.approx(train[train.any(axis=1)].mean(axis=0))
    assert predictor.score(train) == pytest.approx(0, abs=1e-12)


def test_answers_in_words():
    train = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]])
    genres = ["Drama", "Comedy", "War"]
    said = {m.name: ConstantPredictor.fit(train, m).answer(genres) for m in METRICS}
    assert said["r_precision"] == "always Drama > Comedy > War"
    assert said["any_hit_at_3"] == "always {Drama, Comedy, War}"
    assert said["overall_precision"] == "always {Drama}"
    assert ConstantPredictor.fit(np.eye(3), "elementwise_accuracy").answer(genres) == "always no genre"
    assert said["macro_f1"] == "always every genre"
    assert said["mean_average_precision"] == "the same score for every poster"
    assert said["expected_calibration_error"] == "the training prevalence of each genre"


def test_of_equally_good_answers_the_plainer_one_is_given():
    genres = ["a", "b", "c"]
    # A genre of exactly half of the posters may as well be left out.
    assert ConstantPredictor.fit(np.eye(2), "elementwise_accuracy").answer(genres) == "always no genre"
    # Samples F1 is 2/3 with the first genre and with both: the smaller set.
    assert ConstantPredictor.fit([[1, 0], [1, 0], [0, 1]], "samples_f1").answer(genres) == "always {a}"
    # One genre a poster: only the first place counts, and the others follow by frequency.
    single = np.eye(3)[[0, 0, 0, 2, 2, 1]]
    assert ConstantPredictor.fit(single, "r_precision").answer(genres) == "always a > c > b"


def test_the_cover_is_the_best_one_where_greed_would_miss_it():
    """c is on four posters, a and b on three others each: greed takes c first and ends with five of six."""
    on = {"a": (0, 1, 2), "b": (3, 4, 5), "c": (0, 1, 3, 4), "d": (6,), "e": (7,), "f": (8,)}
    target = np.zeros((9, 6), dtype=bool)
    for column, posters in enumerate(on.values()):
        target[list(posters), column] = True
    two = Metric("any_hit_at_2", "any hit@2", "ranking", partial(weighted.any_hit_at_k, k=2), k=2)
    assert ConstantPredictor.fit(target, two).answer(list(on)) == "always {a, b}"
    # A ranking of all genres is shown as far as the fifth.
    assert ConstantPredictor.fit(target, "r_precision").answer(list(on)).count(" > ") == 4


def test_unknown_metric_and_empty_training_set():
    with pytest.raises(UserError, match="Unknown metric 'nothing'"):
        ConstantPredictor.fit(labels(0), "nothing")
    with pytest.raises(UserError, match="None of the 3 posters has a genre"):
        ConstantPredictor.fit(np.zeros((3, 2)), "macro_f1")
