"""Hand-worked label matrices, and scikit-learn as a second opinion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from mmposter.errors import UserError
from mmposter.evaluation import weighted
from mmposter.evaluation.arrays import rank_genres
from mmposter.evaluation.metrics import METRICS, compute_metrics, get_metric, labelled, mean_average_precision

# Three posters, four genres; the last genre has no positive.
TARGET = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]])
PROBS = np.array([[0.9, 0.8, 0.1, 0.0], [0.2, 0.7, 0.6, 0.1], [0.3, 0.6, 0.5, 0.4]])
DECISIONS = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]])


def random_case(seed: int, n: int = 60, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.random((n, 6)) < np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.0])
    target[target.sum(axis=1) == 0, 0] = True
    probs = np.clip(0.3 * target + 0.7 * rng.random((n, 6)), 0, 1)
    return target, probs.round(1) if ties else probs, probs > 0.4


def value(name: str, target: object, answers: object) -> float:
    return get_metric(name).value(target, answers)


def once(statistic: weighted.Statistic, posters: int) -> float:
    return float(statistic(np.ones((1, posters)))[0])


def test_ranking_metrics_by_hand():
    # Poster 0: top 2 = {0, 1}, one of two. Poster 1: top 1 = {1}, right. Poster 2: top 3 = {1, 2, 3}, two of three.
    assert value("r_precision", TARGET, PROBS) == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)
    truth = TARGET.astype(bool)
    assert once(weighted.any_hit_at_k(truth, PROBS, k=1), 3) == 1.0
    assert once(weighted.micro_recall_at_k(truth, PROBS, k=1), 3) == pytest.approx(3 / 6)
    assert once(weighted.micro_recall_at_k(truth, PROBS, k=2), 3) == pytest.approx((1 + 1 + 2) / 6)
    assert value("micro_recall_at_3", TARGET, PROBS) == pytest.approx((2 + 1 + 2) / 6)
    # The top 3 miss the last genre of the first of two posters alone.
    last_and_first, descending = np.eye(5)[[4, 0]], np.tile(np.linspace(0.9, 0.1, 5), (2, 1))
    assert value("any_hit_at_3", last_and_first, descending) == 1 / 2
    assert value("any_hit_at_3", np.eye(5)[[3, 2]], descending) == 1 / 2


def test_average_precision_by_hand(genre_precisions):
    # Genre 0: order 0 2 1 -> positives at ranks 1, 2. Genre 1: 0 1 2 -> ranks 2, 3. Genre 2: 1 2 0 -> ranks 2, 3.
    expected = [1.0, (1 / 2 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2]
    values = genre_precisions(TARGET.astype(bool), PROBS)
    assert values[:3] == pytest.approx(expected)
    assert math.isnan(values[3])
    assert mean_average_precision(TARGET, PROBS) == pytest.approx(np.mean(expected))


def test_decision_metrics_by_hand():
    # 4 hits, 7 decisions, 6 labels.
    assert value("overall_precision", TARGET, DECISIONS) == pytest.approx(4 / 7)
    assert value("overall_recall", TARGET, DECISIONS) == pytest.approx(4 / 6)
    assert value("overall_f1", TARGET, DECISIONS) == pytest.approx(8 / 13)
    by_genre = [2 / 3, 4 / 5, 2 / 4]  # the fourth genre has no positive: left out, not 0
    assert value("macro_f1", TARGET, DECISIONS) == pytest.approx(np.mean(by_genre))
    assert value("weighted_f1", TARGET, DECISIONS) == pytest.approx(np.mean(by_genre))  # supports 2, 2, 2
    assert value("samples_f1", TARGET, DECISIONS) == pytest.approx((2 / 4 + 2 / 3 + 4 / 6) / 3)
    assert value("exact_match", TARGET, DECISIONS) == 0
    assert value("exact_match", TARGET, TARGET) == 1
    assert value("elementwise_accuracy", TARGET, DECISIONS) == pytest.approx(7 / 12)


def test_an_all_zero_answer_shines_only_in_elementwise_accuracy():
    target = np.eye(8, dtype=int)
    nothing = np.zeros((8, 8), dtype=bool)
    assert value("elementwise_accuracy", target, nothing) == 7 / 8
    assert value("overall_precision", target, nothing) == 0
    assert value("macro_f1", target, nothing) == 0
    assert value("samples_f1", target, nothing) == 0


def test_calibration_error_by_hand():
    def error(target: object, probs: object, bins: int) -> float:
        truth, scores, _ = labelled(target, probs, None)
        return once(weighted.expected_calibration_error(truth, scores, bins), len(truth))

    target = np.array([[1, 0], [1, 0]])
    probs = np.array([[0.9, 0.2], [0.7, 0.4]])
    # Bins [0, .5) and [.5, 1]: two pairs each, mean probability .3 against 0 positives, .8 against 1.
    assert error(target, probs, bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)
    assert value("expected_calibration_error", target, target) == 0
    # A bin holds its lower edge; 1 belongs to the last bin.
    edges = np.array([[1.0, 0.5], [0.0, 0.0]])
    # Upper bin {1, .5}: .75 against 1/2; lower bin {0, 0}: 0 against 1/2.
    assert error(target, edges, bins=2) == pytest.approx(0.5 * 0.25 + 0.5 * 0.5)
    # The metric has 15 bins: .5 lies in [7/15, 8/15), .54 and .46 in its neighbours.
    assert value("expected_calibration_error", [[1, 0]], [[0.5, 0.5]]) == 0
    assert value("expected_calibration_error", [[1, 0]], [[0.46, 0.54]]) == pytest.approx(0.54)


def test_equal_scores_are_taken_in_genre_order(genre_precisions):
    target = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]])
    same = np.full((3, 3), 0.3)
    assert value("r_precision", target, same) == pytest.approx((1 + 0 + 1) / 3)
    assert once(weighted.any_hit_at_k(target.astype(bool), same, k=2), 3) == pytest.approx(2 / 3)
    # For average precision equal scores are one step: the prevalence, whatever the order of the posters.
    assert genre_precisions(target.astype(bool), same) == pytest.approx(target.mean(axis=0))
    assert value("macro_auroc", target, same) == 0.5


def test_many_equal_scores_are_ranked_in_genre_order():
    """A sort that is not stable keeps the order of up to 16 numbers, and loses that of more."""
    scores = np.tile([0.1, 0.3, 0.2], (1, 100))
    assert (rank_genres(scores)[0, 1::3] == np.arange(100)).all()
    assert (rank_genres(scores)[0, ::3] == np.arange(200, 300)).all()


def test_posters_without_a_genre_change_nothing():
    extra_target = np.vstack([TARGET, np.zeros((2, 4), dtype=int)])
    extra_probs = np.vstack([PROBS, np.full((2, 4), 0.95)])
    extra_decisions = np.vstack([DECISIONS, np.ones((2, 4), dtype=int)])
    assert compute_metrics(extra_target, extra_probs, extra_decisions) == compute_metrics(TARGET, PROBS, DECISIONS)


def test_a_genre_without_positives_is_left_out():
    without = compute_metrics(TARGET[:, :3], PROBS[:, :3], DECISIONS[:, :3])
    result = compute_metrics(TARGET, PROBS, DECISIONS)
    for name in ("mean_average_precision", "macro_f1", "weighted_f1", "macro_auroc"):
        assert result[name] == pytest.approx(without[name])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [True, False])
def test_agrees_with_scikit_learn(seed: int, ties: bool):
    target, probs, decisions = random_case(seed, ties=ties)
    seen = np.flatnonzero(target.any(axis=0))
    result = compute_metrics(target, probs, decisions)
    f1 = {kind: sk.f1_score(target, decisions, average=kind, labels=seen) for kind in ("macro", "weighted")}
    expected = {
        "mean_average_precision": sk.average_precision_score(target[:, seen], probs[:, seen], average="macro"),
        "macro_auroc": sk.roc_auc_score(target[:, seen], probs[:, seen], average="macro"),
        "macro_f1": f1["macro"],
        "weighted_f1": f1["weighted"],
        "overall_f1": sk.f1_score(target, decisions, average="micro"),
        "overall_precision": sk.precision_score(target, decisions, average="micro"),
        "overall_recall": sk.recall_score(target, decisions, average="micro"),
        "samples_f1": sk.f1_score(target, decisions, average="samples", zero_division=0),
        "exact_match": sk.accuracy_score(target, decisions),
        "elementwise_accuracy": 1 - sk.hamming_loss(target, decisions),
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_statistics_agree_with_sample_weight_of_scikit_learn(seed: int):
    target, probs, decisions = random_case(seed)
    # Counts with zeros: of all posters, of a whole group of equal scores, and of all positives of a rare genre.
    weights = np.random.default_rng(seed + 10).multinomial(len(target), [1 / len(target)] * len(target), size=4)
    weights[3, target[:, 4]] = 0
    for metric, function in (
        ("mean_average_precision", sk.average_precision_score),
        ("macro_auroc", sk.roc_auc_score),
    ):
        values = get_metric(metric).prepare(target, probs, decisions)(weights.astype(float))
        for value, row in zip(values, weights, strict=True):
            genres = [g for g in range(6) if target[row > 0, g].any()]
            assert value == pytest.approx(
                np.mean([function(target[:, g], probs[:, g], sample_weight=row) for g in genres]), abs=1e-6
            )
    for metric in METRICS:
        values = metric.prepare(target, probs, decisions)(weights.astype(float))
        for value, row in zip(values, weights, strict=True):
            drawn = np.repeat(np.arange(len(target)), row)
            chosen = decisions if metric.kind == "decision" else probs
            assert value == pytest.approx(metric.value(target[drawn], chosen[drawn]), abs=1e-9), metric.name


def test_registry_names_three_headlines_and_values_that_agree():
    assert [m.name for m in METRICS if m.headline] == ["mean_average_precision", "macro_f1", "r_precision"]
    assert len({m.name for m in METRICS}) == len(METRICS)
    result = compute_metrics(TARGET, PROBS, DECISIONS)
    assert list(result) == [m.name for m in METRICS]
    for metric in METRICS:
        assert metric.value(TARGET, DECISIONS if metric.kind == "decision" else PROBS) == result[metric.name]


def test_float32_ties_stay_ties():
    target, probs, decisions = random_case(1)
    single = probs.astype(np.float32)
    assert compute_metrics(target, single, decisions)["mean_average_precision"] == pytest.approx(
        compute_metrics(target, probs, decisions)["mean_average_precision"], abs=1e-12
    )


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"probs must lie in 0-1 \(after the sigmoid\), got -2\.0 to 3\.0"):
        value("r_precision", [[1, 0]], [[3.0, -2.0]])
    with pytest.raises(ValueError, match="probs must lie in 0-1"):
        value("r_precision", [[1, 0]], [[np.nan, 0.5]])
    with pytest.raises(ValueError, match="probs must have the shape of target"):
        value("r_precision", [[1, 0]], [[0.1, 0.2, 0.3]])
    with pytest.raises(ValueError, match="decisions must have the shape of target"):
        value("macro_f1", [[1, 0]], [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match=r"target must hold only 0 and 1, got \[2\]"):
        value("r_precision", [[2, 0]], [[0.1, 0.2]])
    with pytest.raises(ValueError, match=r"target must have the shape \(posters, genres\)"):
        value("r_precision", [1, 0], [0.1, 0.2])
    with pytest.raises(UserError, match="None of the 2 posters has a genre"):
        labelled(np.zeros((2, 3)), None, None)
    with pytest.raises(UserError, match=r"Unknown metric 'accuracy'\. Choose one of: mean_average_precision, macro_f1"):
        get_metric("accuracy")
