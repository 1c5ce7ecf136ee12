"""Estimates over seeds and posters: by hand, against known intervals, and (slow) as honest as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from mmposter.evaluation.bootstrap import bootstrap_difference, replicates
from mmposter.evaluation.halves import half_samples
from mmposter.evaluation.intervals import interval
from mmposter.evaluation.metrics import METRICS, compute_metrics, get_metric
from mmposter.evaluation.multiple import holm
from mmposter.evaluation.seeds import estimate_difference, estimate_metric, measure

HEADLINES = [metric for metric in METRICS if metric.headline]
# About as skewed as the genres of real posters.
PREVALENCE = np.array([0.5, 0.38, 0.22, 0.2, 0.18, 0.15, 0.13, 0.12, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.045, 0.04,
                       0.035, 0.03, 0.02, 0.015])  # fmt: skip
THRESHOLDS = np.clip(PREVALENCE * 1.2, 0.08, 0.4)
BASE = 1.25 * np.log(PREVALENCE / (1 - PREVALENCE))


def draw_posters(rng, n):
    """`n` posters less those without a genre: target, the cause of each genre, and what makes a poster have many."""
    hidden, shared = rng.normal(size=(n, 20)), 0.5 * rng.normal(size=(n, 1))
    target = rng.random((n, 20)) < 1 / (1 + np.exp(-(BASE + 1.3 * hidden + shared)))
    keep = target.any(axis=1)
    return target[keep], hidden[keep], shared[keep]


def draw_probs(hidden, shared, signal, noise):
    return 1 / (1 + np.exp(-(BASE + 1.04 * (signal * hidden + 0.6 * noise) + 0.5 * shared)))


def draw_models(rng, hidden, shared, everyone, seeds, signal_sd):
    """Probabilities of the `seeds` models of one configuration.

    They differ in quality (the signal: pure seed variance) and in which posters they get wrong (15 % of the noise:
    interaction). The rest of the noise is the configuration's own, or every configuration's (`everyone`).
    """
    own = np.sqrt(0.6) * everyone + np.sqrt(0.4) * rng.normal(size=hidden.shape)
    for _ in range(seeds):
        noise = np.sqrt(0.85) * own + np.sqrt(0.15) * rng.normal(size=hidden.shape)
        yield draw_probs(hidden, shared, 0.8 + signal_sd * rng.normal(), noise)


def small_data(seed=0, n=120, models=3):
    rng = np.random.default_rng(seed)
    target, hidden, shared = draw_posters(rng, n)
    return target, list(draw_models(rng, hidden, shared, rng.normal(size=hidden.shape), models, 0.1))


# Measuring -----------------------------------------------------------------------------------------------------------


def test_measure_agrees_with_the_metrics_on_all_posters_and_on_every_half(genre_precisions):
    target, (probs, *_) = small_data()
    target[:, 19] = False  # a genre without a positive
    decisions, keep = probs >= THRESHOLDS, target.any(axis=1)
    metrics = [get_metric(name) for name in ("macro_f1", "mean_average_precision", "macro_auroc")]
    weights = half_samples(int(keep.sum()), 12, seed=3)
    found = measure(target, probs, decisions, weights, metrics)  # posters without a genre are left out by itself
    assert found.values.shape == (23,)
    assert found.halves.shape == (12, 23)
    # The halves of average precision hold its bias, one number a column: mAP (the second) and the genres.
    halves, moved = [], [1, *range(3, 23)]
    target, probs, decisions = target[keep], probs[keep], decisions[keep]
    for half in [np.ones(len(target), dtype=bool), *weights]:
        expected = compute_metrics(target[half], probs[half], decisions[half])
        by_genre = genre_precisions(target[half], probs[half])
        halves.append([*(expected[metric.name] for metric in metrics), *by_genre])
        assert halves[-1][3] == pytest.approx(average_precision_score(target[half][:, 0], probs[half][:, 0]))
    values, expected = halves[0], np.array(halves[1:])
    assert found.values == pytest.approx(values, nan_ok=True)
    assert np.isnan(found.values[22])
    assert found.halves[:, [0, 2]] == pytest.approx(expected[:, [0, 2]])
    apart = found.halves - expected
    assert np.nanmax(np.abs(apart[:, moved] - apart[0, moved])) < 1e-12
    assert np.nanmin(np.abs(apart[0, moved])) > 1e-6


def test_one_poster_has_a_value_and_no_interval():
    found = measure([[1, 0]], [[0.9, 0.2]], [[1, 0]], half_samples(1, 10, 0), [get_metric("overall_precision")])
    assert found.values[:2].tolist() == [1.0, 1.0]
    assert estimate_metric(found.values[:1], found.halves[:, :1].T, 1).ci95 is None


def test_half_samples_of_other_posters_are_named():
    target, (probs, *_) = small_data(n=40)
    count = int(target.any(axis=1).sum())
    with pytest.raises(ValueError, match=rf"half-samples of the {count} posters with a genre, got \(4, {count + 1}\)"):
        measure(target, probs, probs > 0.5, half_samples(count + 1, 4, 0), HEADLINES)


# One seed ------------------------------------------------------------------------------------------------------------


def test_one_seed_is_the_interval_of_posters_alone():
    target, (first, second, _) = small_data()
    weights = half_samples(len(target), 60, seed=5)
    one, two = (measure(target, probs, probs >= THRESHOLDS, weights, METRICS) for probs in (first, second))
    models = ((first, first >= THRESHOLDS), (second, second >= THRESHOLDS))
    differences = bootstrap_difference(target, *models, n_boot=60, seed=5)
    for k, metric in enumerate(METRICS):
        alone = estimate_metric(one.values[[k]], one.halves[:, [k]].T, len(target))
        assert alone.ci95 == pytest.approx(interval(one.values[k], one.halves[:, k], len(target)), rel=1e-12)
        paired = estimate_difference((one.values - two.values)[[k]], (one.halves - two.halves)[:, [k]].T, len(target))
        assert paired.value == differences[metric.name].value
        assert paired.ci95 == pytest.approx(differences[metric.name].ci95, rel=1e-12, abs=1e-15)


@given(st.integers(2, 6))
def test_the_same_model_again_is_no_news(seeds):
    # Training that always gives the same model adds no luck, and five copies are no five measurements.
    rng = np.random.default_rng(0)
    values, halves = np.array([0.4]), 0.4 + 0.02 * rng.normal(size=(1, 50))
    once, often = (estimate_difference(values.repeat(k), halves.repeat(k, axis=0), 100) for k in (1, seeds))
    assert often.ci95 == pytest.approx(once.ci95)
    assert often.standard_error == pytest.approx(once.standard_error)


# Several seeds -------------------------------------------------------------------------------------------------------


def test_by_hand():
    # Two seeds, .1 and .3: s^2 = .02, seeds .01. Halves of the mean .1, .3, .2, .4: mean .25, variance .0125.
    # Of the seeds: 0, .2, 0, .2 (variance .01) and .2, .4, .4, .6 (variance .02).
    # Interaction (.015 - .0125) * 2 = .005, posters .0125 - .0025 = .01; without its bias the mean is 2 * .2 - .25.
    values, halves = [0.1, 0.3], [[0.0, 0.2, 0.0, 0.2], [0.2, 0.4, 0.4, 0.6]]

    def reach(level):
        return math.sqrt(0.01 * stats.norm.isf(level / 2) ** 2 + 0.01 * stats.t(1).isf(level / 2) ** 2)

    found = estimate_difference(values, halves, 1000)
    assert found.value == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(math.sqrt(0.02))
    assert found.ci95 == pytest.approx((0.15 - reach(0.05), 0.15 + reach(0.05)))
    assert reach(found.p_value) == pytest.approx(0.15)
    # A metric: the same on the logit scale.
    found = estimate_metric(values, halves, 1000)
    middle, width = math.log(0.15 / 0.85), reach(0.05) / (0.15 * 0.85)
    assert found.ci95 == pytest.approx(tuple(1 / (1 + math.exp(-end)) for end in (middle - width, middle + width)))
    assert found.standard_error == pytest.approx(math.sqrt(0.02))
    assert found.p_value is None


def test_without_luck_of_posters_it_is_the_t_test():
    for values in ([0.012, 0.02, -0.001, 0.008, 0.015], [0.01, 0.013], [0.1, 0.101, 0.102, 0.1, 0.099, 0.1]):
        found = estimate_difference(values, np.repeat(np.array(values)[:, None], 20, axis=1), 100)
        expected = stats.ttest_1samp(values, 0)
        assert found.p_value == pytest.approx(expected.pvalue)
        assert found.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_the_spread_of_seeds_that_the_posters_explain_is_not_counted_again():
    # Seeds that differ only in which posters they get wrong: with many seeds the mean is as sure as its posters.
    rng = np.random.default_rng(0)
    posters, own = rng.normal(size=400), rng.normal(size=(40, 400))
    answers = posters + 2 * own
    weights = half_samples(400, 2000, seed=0)[:]
    found = estimate_difference(answers.mean(axis=1), answers @ (weights / weights.sum(axis=1, keepdims=True)).T, 400)
    once, twice = math.sqrt((1 + 4 / 40) / 400), math.sqrt((1 + 2 * 4 / 40) / 400)
    assert found.standard_error == pytest.approx(once, rel=0.03)
    assert abs(found.standard_error - once) < abs(found.standard_error - twice)


def test_seeds_that_agree_by_chance_are_no_certainty():
    # Two seeds with one value, which halves of the posters show to be luck.
    halves = np.array([[0.1, -0.1, 0.3, -0.3], [-0.1, 0.3, 0.1, -0.3]])
    found = estimate_difference([0.05, 0.05], halves, 100)
    error = halves.mean(axis=0).std()
    assert found.standard_error == pytest.approx(error)
    assert found.ci95 == pytest.approx((0.1 - 1.959964 * error, 0.1 + 1.959964 * error))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(0.1 / error))


def test_spread_of_training_widens():
    rng = np.random.default_rng(0)
    halves = 0.3 + 0.01 * rng.normal(size=(1, 100)) + 0.002 * rng.normal(size=(5, 100))
    shifts = np.array([-1.3, -0.4, 0.1, 0.5, 1.1])
    errors = [
        estimate_metric(0.3 + shift * shifts, halves + shift * shifts[:, None], 1000).standard_error
        for shift in (0, 0.01, 0.05)
    ]
    assert errors[0] == pytest.approx(0.01, rel=0.2)
    assert errors[0] < errors[1] < errors[2]
    assert errors[2] == pytest.approx(math.hypot(0.05 * shifts.std(ddof=1) / math.sqrt(5), errors[0]), rel=0.01)


def seed_tables():
    """Values and halves of 1 to 5 seeds, of a contrast in -1..1."""
    number = st.floats(-1, 1).map(lambda value: round(value, 3))
    return st.integers(1, 5).flatmap(
        lambda seeds: st.tuples(
            st.lists(number, min_size=seeds, max_size=seeds),
            st.lists(st.lists(number, min_size=6, max_size=6), min_size=seeds, max_size=seeds),
        )
    )


@given(seed_tables())
def test_properties_of_a_contrast(table):
    values, halves = np.array(table[0]), np.array(table[1])
    found = estimate_difference(values, halves, 1000)
    low, high = found.ci95 or (math.nan, math.nan)
    turned = estimate_difference(-values, -halves, 1000)
    shuffled = estimate_difference(values[::-1], halves[::-1], 1000)
    assert turned.ci95 == pytest.approx((-high, -low), abs=1e-9)
    assert shuffled.ci95 == pytest.approx((low, high), abs=1e-9)
    assert turned.p_value == (None if found.p_value is None else pytest.approx(found.p_value, abs=1e-9))
    # Few seeds can only widen, and no mean is surer than its posters allow.
    assert high - low >= 2 * 1.9599 * found.standard_error - 1e-9
    assert found.standard_error >= halves.mean(axis=0).std() - 1e-9
    if found.standard_error > 0 and min(abs(low), abs(high)) > 1e-9:
        assert (found.p_value < 0.05) == (low > 0 or high < 0)


@given(seed_tables())
def test_a_metric_never_leaves_its_range(table):
    values, halves = np.abs(np.array(table[0])), np.abs(np.array(table[1]))
    found = estimate_metric(values, halves, 50)
    low, high = found.ci95 or (math.nan, math.nan)
    assert 0 <= low <= high <= 1


# What cannot be known ------------------------------------------------------------------------------------------------


def test_undefined_halves_are_left_out_up_to_one_in_ten():
    halves = 0.3 + 0.01 * np.random.default_rng(0).normal(size=(3, 20))
    values, full = [0.3, 0.31, 0.29], halves[:, :18]
    halves[0, 18] = halves[2, 19] = np.nan  # undefined for one seed is undefined for the mean
    assert estimate_difference(values, halves, 100) == estimate_difference(values, full, 100)
    assert estimate_metric(values, halves, 100) == estimate_metric(values, full, 100)
    halves[1, 0] = np.nan
    for found in (estimate_difference(values, halves, 100), estimate_metric(values, halves, 100)):
        assert found.value == pytest.approx(0.3)
        assert found.ci95 is None
        assert found.p_value is None
        assert math.isnan(found.standard_error)
    undefined = estimate_metric([0.3, np.nan, 0.2], full, 100)
    assert math.isnan(undefined.value)
    assert undefined.ci95 is None


def test_no_luck_at_all_is_no_certainty():
    same = np.ones((3, 10))
    # 30 of 30: what was never seen may still be of 1 - .025^(1/30); a metric that rests on fewer says less.
    assert estimate_metric([1.0] * 3, same, 30).ci95 == pytest.approx((0.884, 1.0), abs=5e-4)
    assert estimate_metric([1.0] * 3, same, 30, units=4).ci95 == pytest.approx((0.398, 1.0), abs=5e-4)
    none = estimate_difference([0.0] * 3, 0 * same, 30)
    assert (none.value, none.p_value) == (0.0, 1.0)
    assert none.ci95 == pytest.approx((-0.0866, 0.0866), abs=1e-4)
    # Always better by one half on 30 posters is better; on two posters it is not.
    many, few = (estimate_difference([0.5] * 3, 0.5 * same, n) for n in (30, 2))
    assert many.ci95[0] > 0.3 > 0.05 > many.p_value
    assert few.ci95[0] < 0
    assert few.p_value > 0.05
    # What the order of a sum leaves over is no difference.
    rounding = 1e-17 * np.random.default_rng(0).normal(size=(3, 10))
    assert estimate_difference(rounding[:, 0], rounding, 30).p_value == pytest.approx(1)


def test_an_interval_holds_its_value():
    halves = np.array([[0.5, 0.52, 0.51, 0.49]])  # a bias of .2, and an error of .011
    # The corrected values are .095 and .895.
    assert estimate_metric([0.3], halves, 100).ci95[1] == 0.3
    assert estimate_metric([0.7], halves, 100).ci95[0] == 0.7
    # The value lies above 0 and the corrected one below: nothing is told apart.
    found = estimate_difference([0.05], halves - 0.3, 100)
    assert found.ci95[0] < 0 < 0.05 == found.ci95[1]
    assert found.p_value >= 0.05


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="at least one, got the shape"):
        estimate_metric([], np.zeros((0, 4)), 10)
    with pytest.raises(ValueError, match=r"halves must be 2 seeds x half-samples, got the shape \(3, 4\)"):
        estimate_difference([0.1, 0.2], np.zeros((3, 4)), 10)
    with pytest.raises(ValueError, match=r"halves must be 1 seeds x half-samples, got the shape \(4,\)"):
        estimate_metric([0.1], np.zeros(4), 10)


# As honest as they say -----------------------------------------------------------------------------------------------

# Intervals of posters alone hold the truth in 83-90 % where training brings much luck, a bias taken to fall as 1/n
# leaves mAP 93 %, and resampling both levels holds 99 % of differences. A share of 400 data sets errs by 1 % itself.
LEAST, MOST = 0.93, 0.97


def expected_metrics(signal_sd):
    """The headline metrics on 400 000 posters, their mean over seeds by Gauss-Hermite quadrature."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(5)
    rng = np.random.default_rng(20250)
    target, hidden, shared = draw_posters(rng, 400_000)
    noise, once = rng.normal(size=hidden.shape), np.ones((1, len(target)), dtype=np.bool_)
    values = []
    for node in nodes:
        probs = draw_probs(hidden, shared, 0.8 + signal_sd * node, noise)
        columns = [metric.prepare(target, probs, probs >= THRESHOLDS) for metric in HEADLINES]
        values.append(replicates(columns, once)[0])
    return shares @ np.array(values) / shares.sum()


def drawn_seeds(rng, number, configurations, signal_sd, n):
    """Of each configuration, five seeds on the same fresh posters: their values (5 x 3) and halves (5 x R x 3)."""
    target, hidden, shared = draw_posters(rng, n)
    weights, everyone = half_samples(len(target), 100, number), rng.normal(size=hidden.shape)
    for _ in range(configurations):
        models = draw_models(rng, hidden, shared, everyone, 5, signal_sd)
        measured = [measure(target, probs, probs >= THRESHOLDS, weights, HEADLINES) for probs in models]
        yield np.array([m.values[:3] for m in measured]), np.array([m.halves[:, :3] for m in measured]), len(target)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal_sd", "seed", "least"), [(0.15, 20251, LEAST), (0.02, 20252, 0.92)], ids=["large", "small"]
)
def test_metrics_over_seeds_hold_the_truth_as_often_as_they_say(signal_sd, seed, least):
    """400 data sets of about 1180 posters and 5 seeds, whose mAP has a standard deviation of .018 or of .003.

    With little luck of training 4000 other sets held mAP in 95.0 %. The 400 of this seed hold it in 92.8 %, two of
    their own errors less, and the seed stays as it was fixed before the first look; hence the lower limit.
    """
    rng, truth, held = np.random.default_rng(seed), expected_metrics(signal_sd), np.zeros(3)
    for number in range(400):
        ((values, halves, n),) = drawn_seeds(rng, number, 1, signal_sd, 1260)
        for k in range(3):
            low, high = estimate_metric(values[:, k], halves[:, :, k], n).ci95
            held[k] += low <= truth[k] <= high
    shares = dict(zip((metric.name for metric in HEADLINES), held / 400, strict=True))
    assert all(least <= share <= MOST for share in shares.values()), shares


@pytest.mark.slow
def test_differences_over_seeds_hold_the_truth_as_often_as_they_say():
    """Two configurations that err on other posters but are equally good: 400 sets of some 930 posters, 5 seeds each."""
    rng, held, significant = np.random.default_rng(20253), np.zeros(3), np.zeros(3)
    for number in range(400):
        first, second = drawn_seeds(rng, number, 2, 0.02, 1000)
        for k in range(3):
            found = estimate_difference(
                first[0][:, k] - second[0][:, k], first[1][:, :, k] - second[1][:, :, k], first[2]
            )
            held[k] += found.ci95[0] <= 0 <= found.ci95[1]
            significant[k] += found.p_value < 0.05
    shares = dict(zip((metric.name for metric in HEADLINES), held / 400, strict=True))
    assert all(LEAST <= share <= MOST for share in shares.values()), shares
    assert significant.tolist() == (400 - held).tolist()


@pytest.mark.slow
def test_fifteen_comparisons_without_a_difference_claim_none():
    """400 families: a reference and 15 configurations as good as it, 5 seeds each, R-precision of some 280 posters."""
    rng, metric = np.random.default_rng(20254), get_metric("r_precision")
    single, families = 0, 0
    for number in range(400):
        target, hidden, shared = draw_posters(rng, 300)
        rows = np.vstack([np.ones((1, len(target)), dtype=np.bool_), half_samples(len(target), 100, number)[:]])
        everyone, cells = rng.normal(size=hidden.shape), []
        for _ in range(16):
            models = draw_models(rng, hidden, shared, everyone, 5, 0.02)
            columns = [metric.prepare(target, probs, probs >= THRESHOLDS) for probs in models]
            cells.append(replicates(columns, rows).T)  # seeds x (all posters, then the halves)
        p_values = [estimate_difference((c - cells[0])[:, 0], (c - cells[0])[:, 1:], 300).p_value for c in cells[1:]]
        single += p_values[0] < 0.05
        families += min(holm(p_values)) < 0.05
    # Two standard errors of 400 draws above the level, for one comparison; Holm's level holds for any dependence.
    assert single / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400), single / 400
    assert families / 400 <= 0.05, families / 400
