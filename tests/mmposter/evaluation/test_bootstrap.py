"""Intervals: deterministic, by group, paired, and (slow) as honest as they say."""

from __future__ import annotations

import numpy as np
import pytest

from mmposter.errors import UserError
from mmposter.evaluation.bootstrap import bootstrap_ci, bootstrap_difference, values_and_halves
from mmposter.evaluation.evaluate import evaluate
from mmposter.evaluation.halves import QUARTERS, half_samples, quarter_samples, quarters_of
from mmposter.evaluation.intervals import MIN_POSTERS, interval
from mmposter.evaluation.metrics import METRICS, compute_metrics, get_metric
from mmposter.evaluation.thresholds import apply_thresholds

HEADLINES = [metric for metric in METRICS if metric.headline]
# About as skewed as the genres of real posters.
PREVALENCE = np.array([0.5, 0.38, 0.22, 0.2, 0.18, 0.15, 0.13, 0.12, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.045, 0.04,
                       0.035, 0.03, 0.02, 0.015])  # fmt: skip
THRESHOLDS = np.clip(PREVALENCE * 1.2, 0.08, 0.4)


def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`n` posters with genres that go together, and the probabilities of a model that sees part of their cause."""
    hidden, shared = rng.normal(size=(n, 20)), 0.5 * rng.normal(size=(n, 1))
    base = 1.25 * np.log(PREVALENCE / (1 - PREVALENCE))
    target = rng.random((n, 20)) < 1 / (1 + np.exp(-(base + 1.3 * hidden + shared)))
    seen = 1.04 * (0.8 * hidden + 0.6 * rng.normal(size=(n, 20)))
    probs = 1 / (1 + np.exp(-(base + seen + 0.5 * shared)))
    keep = target.any(axis=1)
    return target[keep], probs[keep], probs[keep] >= THRESHOLDS


def test_half_samples_are_complementary_halves():
    weights = half_samples(7, n_boot=5, seed=0)[:]
    assert weights.shape == (5, 7)
    assert set(np.unique(weights)) == {0, 1}
    assert weights.sum(axis=1).tolist() == [3, 4, 3, 4, 3]
    assert (weights[0] + weights[1] == 1).all()
    assert (weights[2] + weights[3] == 1).all()


def test_groups_are_drawn_whole():
    groups = np.array(["a", "b", "a", "c", "b", "d"])
    weights = half_samples(6, n_boot=20, seed=0, groups=groups)[:]
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert len(np.unique(weights, axis=0)) > 2


def test_the_spread_of_halves_is_the_standard_error_of_the_whole():
    # For a plain mean theory knows it: s / sqrt(n).
    values = np.random.default_rng(0).random(200)
    halves = half_samples(200, n_boot=4000, seed=1)[:] @ values / 100
    assert halves.std() == pytest.approx(values.std(ddof=1) / np.sqrt(200), rel=0.05)


def test_quarters_are_halves_cut_in_two():
    groups = np.arange(40) // 2
    assert quarters_of(50) == 24
    halves = half_samples(40, n_boot=50, seed=0, groups=groups)[:24]
    quarters = quarter_samples(halves)
    assert quarters.shape == (24, 40)  # no more than one for two halves
    for i in range(0, 24, 4):
        assert (quarters[i : i + 4].sum(axis=0) == 1).all()
        assert (quarters[i] + quarters[i + 1] == halves[i]).all()
        assert (quarters[i] + quarters[i + 2] == halves[i + 2]).all()
    assert (quarters[:, ::2] == quarters[:, 1::2]).all()
    assert quarters_of(7) == 0
    assert QUARTERS - 4 < quarters_of(1000) <= QUARTERS


def test_bias_of_average_precision_by_hand(genre_precisions):
    target, probs, decisions = draw(np.random.default_rng(0), 300)
    target[1:, 19] = False  # one positive is left: most quarters have none
    target[0, 19] = target[1:, 0] = True  # and every poster a genre
    metrics = [get_metric("mean_average_precision"), get_metric("macro_f1")]
    for n_boot, cut in ((16, 8), (6, 0)):
        weights = half_samples(len(target), n_boot, seed=0)[:]
        values, halves = values_and_halves(target, probs, decisions, metrics, weights, genres=True)

        def mean(rows):
            return np.nanmean([genre_precisions(target[row], probs[row]) for row in rows], axis=0)

        whole = genre_precisions(target, probs)
        bias = first = mean(weights) - whole
        if cut:
            bias = 3 * first - (mean(quarter_samples(weights[:cut])) - mean(weights[:cut]))
        assert values[2:] == pytest.approx(whole)
        assert np.nanmean(halves[:, 2:], axis=0) - values[2:] == pytest.approx(bias)
        assert halves[:, 0].mean() - values[0] == pytest.approx(bias.mean())
        plain = [compute_metrics(target[row], probs[row], decisions[row])["macro_f1"] for row in weights]
        assert halves[:, 1] == pytest.approx(plain)


def test_average_precision_of_a_random_order_is_its_prevalence():
    # 60 sets of 200 posters, 20 genres of one prevalence. Without quarters a quarter of the bias of .022 is left.
    rng, found = np.random.default_rng(0), []
    for number in range(60):
        target, weights = rng.random((200, 20)) < 0.1, half_samples(200, 100, number)[:]
        probs, centres = rng.random(target.shape), []
        for rows in (weights, weights[:7]):
            values, halves = values_and_halves(target, probs, target, [], rows, genres=True)
            centres.append(np.mean(2 * values - np.nanmean(halves, axis=0)))
        found.append(np.array([values.mean(), *centres]) - target.mean())
    flattering, centre, without_quarters = np.mean(found, axis=0)
    error = np.std(found, axis=0)[1] / np.sqrt(60)
    assert flattering > 0.02
    assert error < 0.001
    assert abs(centre) < 3 * error
    assert without_quarters > 5 * error


def test_one_rule_in_all_places():
    target, probs, _ = draw(np.random.default_rng(0), 150)
    found = evaluate(target, probs, THRESHOLDS, [str(g) for g in range(20)], train_target=target, split="x", n_boot=40)
    decisions = apply_thresholds(probs, THRESHOLDS, "top1")
    alone = bootstrap_ci(target, probs, decisions, n_boot=40)
    assert {name: result.ci95 for name, result in found.metrics.items()} == alone


def test_interval_by_hand():
    # Bias .02, error .1: centre .48 on the logit scale, width 1.96 * .1 / (.48 * .52).
    low, high = interval(0.5, np.array([0.42, 0.62]), n=100) or (0, 0)
    logit, width = np.log(0.48 / 0.52), 1.959964 * 0.1 / (0.48 * 0.52)
    assert low == pytest.approx(1 / (1 + np.exp(-(logit - width))), abs=1e-6)
    assert high == pytest.approx(1 / (1 + np.exp(-(logit + width))), abs=1e-6)


def test_interval_stays_in_range_and_knows_what_it_cannot_know():
    low, high = interval(0.001, np.array([0.0, 0.002, 0.05, 0.0]), n=1000) or (-1, 2)
    assert 0 <= low < high <= 1
    assert interval(np.nan, np.ones(10), n=10) is None
    assert interval(0.5, np.array([0.4, np.nan, 0.6]), n=10) is None
    assert interval(0.5, np.array([0.4]), n=10) is None
    # Nine known halves in ten are enough, eight are not.
    nine = np.append(np.linspace(0.3, 0.6, 9), np.nan)
    assert interval(0.5, nine, n=10) == interval(0.5, nine[:9], n=10) is not None
    assert interval(0.5, np.where(np.arange(10) < 8, nine, np.nan), n=10) is None


def test_same_seed_same_interval():
    data = draw(np.random.default_rng(0), 150)
    first, again, other = (bootstrap_ci(*data, n_boot=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert list(first) == [metric.name for metric in METRICS]
    for name, value in compute_metrics(*data).items():
        low, high = first[name]
        assert 0 <= low < high <= 1
        assert low <= value <= high, name


def test_copies_in_a_group_add_nothing_and_without_groups_they_pretend_to():
    target, probs, decisions = draw(np.random.default_rng(0), 200)
    copies = [np.repeat(array, 4, axis=0) for array in (target, probs, decisions)]
    groups = np.repeat(np.arange(len(target)), 4)
    single = bootstrap_ci(target, probs, decisions, HEADLINES, n_boot=100)
    grouped = bootstrap_ci(*copies, HEADLINES, n_boot=100, groups=groups)
    naive = bootstrap_ci(*copies, HEADLINES, n_boot=100)
    for name, (low, high) in single.items():
        assert grouped[name] == pytest.approx((low, high), abs=1e-9)
        assert naive[name][1] - naive[name][0] < 0.7 * (high - low)


def test_groups_of_posters_without_a_genre_are_left_out():
    target, probs, decisions = draw(np.random.default_rng(0), 60)
    groups = np.arange(len(target)) // 2
    expected = bootstrap_ci(target, probs, decisions, HEADLINES, n_boot=20, groups=groups)
    wide = [np.vstack([array[:3], np.zeros((5, 20)), array[3:]]) for array in (target, probs, decisions)]
    wide_groups = np.concatenate([groups[:3], np.full(5, -1), groups[3:]])
    assert bootstrap_ci(*wide, HEADLINES, n_boot=20, groups=wide_groups) == expected


def test_few_posters_or_groups_have_no_interval():
    target, probs, decisions = draw(np.random.default_rng(0), 10)
    assert set(bootstrap_ci(target[:1], probs[:1], decisions[:1]).values()) == {None}
    assert set(bootstrap_ci(target, probs, decisions, HEADLINES, groups=[7] * len(target)).values()) == {None}
    few = bootstrap_ci(*(array[: MIN_POSTERS - 1] for array in draw(np.random.default_rng(0), 40)), HEADLINES)
    enough = bootstrap_ci(*(array[:MIN_POSTERS] for array in draw(np.random.default_rng(0), 40)), HEADLINES)
    assert set(few.values()) == {None}
    assert None not in enough.values()
    alone = bootstrap_difference(target[:1], (probs[:1], decisions[:1]), (probs[:1], decisions[:1]), HEADLINES)
    assert alone["macro_f1"].value == 0
    assert alone["macro_f1"].ci95 is None


def test_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(0)
    target, probs, decisions = draw(rng, 300)
    worse = np.clip(probs + 0.1 * rng.random(probs.shape), 0, 1)
    better_model, worse_model = (probs, decisions), (worse, worse >= THRESHOLDS)
    found = bootstrap_difference(target, better_model, worse_model, HEADLINES, n_boot=200)
    turned = bootstrap_difference(target, worse_model, better_model, HEADLINES, n_boot=200)
    ours, theirs = compute_metrics(target, *better_model), compute_metrics(target, *worse_model)
    for name, difference in found.items():
        low, high = difference.ci95
        assert difference.value == pytest.approx(ours[name] - theirs[name])
        assert turned[name].ci95 == pytest.approx((-high, -low))
    low, high = found["r_precision"].ci95
    alone = bootstrap_ci(target, *better_model, [get_metric("r_precision")], n_boot=200)["r_precision"]
    assert high - low < alone[1] - alone[0]
    same = bootstrap_difference(target, better_model, better_model, HEADLINES, n_boot=20)
    for difference in same.values():  # no poster tells them apart: one of some 300 more might
        assert difference.value == 0
        assert -0.012 < difference.ci95[0] < 0 < difference.ci95[1] < 0.012


def test_wrong_input_is_named():
    data = draw(np.random.default_rng(0), 10)
    with pytest.raises(UserError, match=r"n_boot must be 2 or more \(1000 is usual\), got 1"):
        bootstrap_ci(*data, n_boot=1)
    with pytest.raises(ValueError, match="groups must have one label a poster"):
        bootstrap_ci(*data, groups=[1, 2])
    with pytest.raises(ValueError, match="groups must have one label a poster"):
        half_samples(3, 2, 0, groups=[1, 2])


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """400 data sets of 1200 posters: a 95 % interval must hold the truth in 93-97 % (its own error is 1.1 %)."""
    rng = np.random.default_rng(20240)
    truth = compute_metrics(*draw(rng, 400_000))
    held = dict.fromkeys((metric.name for metric in HEADLINES), 0)
    for seed in range(400):
        for name, (low, high) in bootstrap_ci(*draw(rng, 1200), HEADLINES, n_boot=300, seed=seed).items():
            held[name] += low <= truth[name] <= high
    for name, count in held.items():
        assert 0.93 <= count / 400 <= 0.97, f"{name}: {count / 400}"
