"""`evaluate` end to end: JSON, tables, verdicts; and the single-label metrics it adds."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics as sk

from mmposter.document.terminal import print_all
from mmposter.errors import UserError
from mmposter.evaluation import METRICS, Evaluation, compute_metrics, evaluate, get_metric, single_label_metrics
from mmposter.evaluation.evaluate import MetricResult, verdict
from mmposter.evaluation.intervals import MIN_POSTERS, Difference
from mmposter.evaluation.thresholds import apply_thresholds
from mmposter.report.evaluation_text import VERDICTS, notes, to_markdown, whole

GENRES = ["Drama", "Comedy", "War", "News [live]"]
LIMITS = np.array([0.4, 0.4, 0.3, 0.5])


def data(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Drama common, War rare, the last genre never; every tenth poster has no genre."""
    rng = np.random.default_rng(seed)
    target = (rng.random((n, 4)) < [0.6, 0.4, 0.05, 0]).astype(int)
    target[target.sum(axis=1) == 0, 0] = 1
    target[::10] = 0
    target[1, 2] = 1
    return target, np.clip(0.4 * target + 0.5 * rng.random((n, 4)), 0, 1)


@pytest.fixture(scope="module")
def result() -> Evaluation:
    target, probs = data(0)
    return evaluate(target, probs, LIMITS, GENRES, train_target=data(1)[0], split="test", n_boot=100)


def test_json_has_the_agreed_form_and_no_nan(result: Evaluation):
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert plain["split"] == "test"
    assert plain["n"] == 108
    assert plain["left_out"] == {"posters_without_genre": 12}
    assert plain["genres_without_positives"] == ["News [live]"]
    assert list(plain["metrics"]) == [metric.name for metric in METRICS]
    assert list(plain["by_genre"]) == GENRES
    for entry in plain["metrics"].values():
        assert set(entry) == {"value", "ci95", "constant", "difference"}
        assert set(entry["difference"]) == {"value", "ci95"}
        assert len(entry["ci95"]) == 2
    for entry in plain["by_genre"].values():
        assert set(entry) == {
            "support", "average_precision", "ci95", "precision", "recall", "f1", "threshold", "prevalence",
            "difference",
        }  # fmt: skip
    never = plain["by_genre"]["News [live]"]
    assert never["support"] == 0
    assert never["average_precision"] is None
    assert never["f1"] is None
    assert never["recall"] is None
    assert set(plain["constant_answers"]) == set(plain["metrics"])
    assert plain["constant_answers"]["overall_precision"] == "always {Drama}"
    assert plain["bootstrap"]["unit"] == "posters"
    assert plain["empty"] == "top1"
    assert plain["single_label"] is None


def test_numbers_are_those_of_the_parts(result: Evaluation):
    target, probs = data(0)
    decisions = apply_thresholds(probs, LIMITS, "top1")
    expected = compute_metrics(target, probs, decisions)
    assert {name: entry.value for name, entry in result.metrics.items()} == pytest.approx(expected)
    keep = target.any(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(target[keep], decisions[keep], zero_division=0)
    for g, genre in enumerate(GENRES[:3]):
        row = result.by_genre[genre]
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx(
            (precision[g], recall[g], f1[g], support[g])
        )
        assert row.average_precision == pytest.approx(sk.average_precision_score(target[keep, g], probs[keep, g]))
        assert row.prevalence == pytest.approx(target[keep, g].mean())
        assert row.threshold == LIMITS[g]
    assert result.by_genre["Drama"].ci95 is not None
    assert result.by_genre["War"].support < 10
    assert result.by_genre["War"].ci95 is None


def test_the_constants_are_scored_on_the_test_posters(result: Evaluation):
    target, _ = data(0)
    kept = target[target.any(axis=1)]
    assert result.metrics["mean_average_precision"].constant == pytest.approx(kept[:, :3].mean())
    assert result.metrics["overall_precision"].constant == pytest.approx(kept[:, 0].mean())


def test_the_empty_policy_reaches_the_decisions():
    target, probs = data(0)
    high = np.full(4, 0.99)
    kept = {
        empty: evaluate(target, probs, high, GENRES, train_target=target, split="v", n_boot=2, empty=empty)
        for empty in ("allow", "top1")
    }
    assert kept["allow"].metrics["overall_recall"].value == 0
    assert kept["top1"].metrics["overall_recall"].value > 0.3


def test_groups_and_seed_reach_the_intervals():
    target, probs = data(0)
    settings = {"train_target": target, "split": "test", "n_boot": 40}
    plain = evaluate(target, probs, LIMITS, GENRES, **settings)
    assert plain.to_json() == evaluate(target, probs, LIMITS, GENRES, **settings).to_json()
    other = evaluate(target, probs, LIMITS, GENRES, **settings, seed=1)
    assert plain.metrics["macro_f1"].ci95 != other.metrics["macro_f1"].ci95
    grouped = evaluate(target, probs, LIMITS, GENRES, **settings, groups=np.arange(120) // 4)
    assert grouped.metrics["r_precision"].value == plain.metrics["r_precision"].value
    assert grouped.metrics["r_precision"].ci95 != plain.metrics["r_precision"].ci95
    assert grouped.bootstrap["unit"] == "near-duplicate groups"
    one = evaluate(target[1:2], probs[1:2], LIMITS, GENRES, train_target=target, split="test")
    assert {entry.ci95 for entry in one.metrics.values()} == {None}
    json.dumps(one.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "difference", "ci95", "expected"),
    [
        ("macro_f1", 0.2, (0.1, 0.3), "better"),
        ("macro_f1", 0.05, (-0.05, 0.15), "within noise"),
        ("macro_f1", 0.05, (0, 0.1), "within noise"),
        ("macro_f1", 0.05, None, "within noise"),
        ("macro_f1", 0.0, (-0.1, 0.1), "NOT BETTER"),
        ("macro_f1", -0.2, (-0.3, -0.1), "NOT BETTER"),
        ("macro_auroc", float("nan"), None, "undefined"),
        ("expected_calibration_error", -0.1, (-0.15, -0.05), "better"),
        ("expected_calibration_error", -0.02, (-0.07, 0.03), "within noise"),
        ("expected_calibration_error", 0.08, (0.03, 0.13), "NOT BETTER"),
    ],
)
def test_verdicts(name: str, difference: float, ci95: tuple[float, float] | None, expected: str):
    # Neither the value's own interval nor how far it is from the constant says anything.
    for own in (None, (0.0, 1.0), (0.5, 0.5)):
        result = MetricResult(0.5, own, 0.5, Difference(difference, ci95))
        assert verdict(get_metric(name), result) == expected


def test_the_difference_to_the_constant_is_paired():
    # On half of the posters the model and the constant are right, on the others the model alone: paired, that is sure.
    target, train = np.eye(2)[np.arange(200) % 2], np.eye(2)[[0, 0, 1]]
    right = evaluate(target, target, [0.5, 0.5], ["a", "b"], train_target=train, split="test", n_boot=200)
    result = right.metrics["accuracy"]
    assert (result.value, result.constant, result.difference.value) == (1.0, 0.5, 0.5)
    assert result.difference.ci95 == pytest.approx((0.43, 0.565), abs=0.015)
    # A model that is right where the constant is wrong, and wrong where it is right: the difference errs twice as much
    # as each of them.
    probs = np.tile([0.2, 0.8], (200, 1))
    probs[:16] = target[:16]
    found = evaluate(target, probs, [0.5, 0.5], ["a", "b"], train_target=train, split="test", n_boot=200)
    low, high = found.metrics["accuracy"].ci95
    apart_low, apart_high = found.metrics["accuracy"].difference.ci95
    assert apart_high - apart_low > 1.8 * (high - low)


def test_chance_that_the_own_interval_calls_better_is_noise_and_the_other_way_round():
    # 400 posters of two genres, the constant answers the first. Right on 54 % of them, all of them the constant's
    # faults: the own interval, .49 to .59, lies above the constant's .46, but the difference errs twice as much.
    genre = np.arange(400) >= 184
    target, train = np.eye(2)[genre.astype(int)], np.eye(2)[[0, 0, 1]]
    settings = {"train_target": train, "split": "test", "n_boot": 200}
    against = evaluate(target, np.tile([0.2, 0.8], (400, 1)), [0.5, 0.5], ["a", "b"], **settings)
    result = against.metrics["accuracy"]
    assert result.value - result.constant == pytest.approx(0.08)
    assert result.ci95[0] > result.constant
    assert against.verdict("accuracy") == against.verdict("r_precision") == "within noise"
    # Right wherever the constant is, and on twelve posters more: the difference is sure, and the own interval is not.
    probs = np.tile([0.8, 0.2], (400, 1))
    probs[-12:] = [0.2, 0.8]
    beside = evaluate(target, probs, [0.5, 0.5], ["a", "b"], **settings)
    result = beside.metrics["r_precision"]
    assert result.ci95[0] < result.constant < result.value
    assert beside.verdict("accuracy") == beside.verdict("r_precision") == "better"


def test_a_rare_genre_that_is_seen_is_told_from_its_prevalence():
    rng = np.random.default_rng(3)
    target = np.zeros((600, 2))
    target[:, 0] = target[:14, 1] = 1
    probs = rng.random((600, 2)) * 0.5
    probs[:5, 1] += 0.45  # five of fourteen stand out, nine are lost among the others
    settings = {"train_target": target, "split": "test", "n_boot": 200}
    seen, blind = (
        evaluate(target, answers, [0.5, 0.5], ["a", "b"], **settings).by_genre["b"]
        for answers in (probs, rng.random((600, 2)))
    )
    assert seen.difference.value == pytest.approx(seen.average_precision - seen.prevalence)
    assert 0 < seen.difference.ci95[0] < seen.difference.value
    assert seen.difference.ci95[1] < 1 - seen.prevalence
    assert blind.difference.ci95[0] < 0 < blind.difference.ci95[1]


@pytest.mark.parametrize("count", [10, 30])
def test_all_right_on_a_few_posters_has_a_limit(count: int):
    # The constant is right on two posters in three; the model on all, which is no certainty.
    target = np.eye(2)[np.arange(count) % 3 // 2]
    found = evaluate(target, target, [0.5, 0.5], ["a", "b"], train_target=target, split="test", n_boot=100)
    result = found.metrics["accuracy"]
    assert result.value == 1
    if count < MIN_POSTERS:
        assert {one.ci95 for one in found.metrics.values()} == {one.ci95 for one in found.by_genre.values()} == {None}
        assert "better" not in {found.verdict(metric.name) for metric in found.listed}
        assert any("fewer than 20" in note for note in notes(found))
    else:
        assert result.ci95 == pytest.approx((0.025 ** (1 / count), 1))
        assert found.verdict("accuracy") == "better"
        # AP 1 of ten posters says less than AP 1 of twenty; their mean lies between.
        assert found.by_genre["b"].ci95[0] < found.by_genre["a"].ci95[0]
        assert found.metrics["exact_match"].ci95 == result.ci95
    assert all(one.ci95 is None or one.ci95[0] < one.ci95[1] for one in found.metrics.values())


def test_a_genre_has_an_interval_from_ten_posters_on():
    target, (_, probs) = np.zeros((40, 4)), data(0, 40)
    target[:, 0] = target[:9, 1] = target[:10, 2] = 1
    found = evaluate(target, probs, LIMITS, GENRES, train_target=target, split="test", n_boot=100)
    assert [row.ci95 is not None for row in found.by_genre.values()] == [True, False, True, False]


@pytest.mark.parametrize(("name", "best"), [("overall_recall", 1.0), ("expected_calibration_error", 0.0)])
def test_a_constant_that_is_perfect_cannot_be_beaten_which_is_no_fault(name: str, best: float):
    worse = -0.2 if best else 0.2
    result = MetricResult(best + worse, None, best, Difference(worse, (worse - 0.1, worse + 0.1)))
    assert verdict(get_metric(name), result) == "cannot be beaten"
    equal = MetricResult(best, None, best, Difference(0.0, (0.0, 0.0)))
    assert verdict(get_metric(name), equal) == "cannot be beaten"
    assert VERDICTS["cannot be beaten"] == "muted"


def test_a_constant_model_is_never_called_better():
    train, _ = data(1)
    target, _ = data(0)
    constant = np.broadcast_to(train[train.any(axis=1)].mean(axis=0), target.shape)
    found = evaluate(target, constant, LIMITS, GENRES, train_target=train, split="test", n_boot=50)
    assert "better" not in {found.verdict(metric.name) for metric in METRICS}
    assert found.verdict("mean_average_precision") == found.verdict("r_precision") == "NOT BETTER"


def test_render_and_markdown_show_value_constant_and_verdict(result: Evaluation):
    stream = io.StringIO()
    print_all(Console(file=stream, width=140, no_color=True), whole(result))
    markdown = to_markdown(result)
    for text in (stream.getvalue(), markdown):
        assert "test: 108 posters" in text
        assert "News [live]" in text  # square brackets are not markup
        assert "cannot be beaten" in text  # overall recall against "every genre"
        assert f"{result.metrics['r_precision'].value:.3f}" in text
        assert f"{result.metrics['r_precision'].constant:.3f}" in text
        assert "left out, posters without genre: 12" in text
        assert "no positive, left out of means over genres: News [live]" in text
        assert "nan" not in text
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(tables) == 2 * 2 + len(METRICS) + len(GENRES)
    assert tables[0] == "| metric | value | 95 % interval | constant | minus the constant | verdict |"
    assert [line.split(" | ")[0] for line in tables[-4:]] == ["| Drama", "| Comedy", "| War", "| News [live]"]


def test_wrong_input_is_named():
    target, probs = data(0)
    with pytest.raises(ValueError, match="genres must be 4 different names"):
        evaluate(target, probs, LIMITS, GENRES[:3], train_target=target, split="test")
    with pytest.raises(ValueError, match="train_target must have the 4 genres of target, got 3"):
        evaluate(target, probs, LIMITS, GENRES, train_target=target[:, :3], split="test")
    with pytest.raises(UserError, match="None of the 5 posters has a genre"):
        evaluate(np.zeros((5, 4)), probs[:5], LIMITS, GENRES, train_target=target, split="test")


def test_single_label_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 50)  # class 4 is never true, and class 3 never answered
    target = np.eye(5, dtype=int)[truth]
    probs = rng.random((50, 5)) * [1, 1, 1, 0.01, 0.9] + 0.2 * target * [1, 1, 1, 0, 1]
    probs = np.clip(probs, 0, 1)
    found, said = single_label_metrics(target, probs), probs.argmax(axis=1)
    assert (np.array(found.confusion) == sk.confusion_matrix(truth, said, labels=range(5))).all()
    result = evaluate(target, probs, np.full(5, 0.5), list("abcde"), train_target=target, split="test", n_boot=20)
    accuracy, *macro = (result.metrics[name].value for name in ("accuracy", "macro_precision", "macro_recall"))
    assert accuracy == pytest.approx(sk.accuracy_score(truth, said))
    assert macro == pytest.approx(
        [score(truth, said, average="macro", zero_division=0) for score in (sk.precision_score, sk.recall_score)]
    )
    assert result.metrics["r_precision"].value == pytest.approx(accuracy)
    assert json.loads(json.dumps(result.to_json()))["single_label"]["confusion"] == np.array(found.confusion).tolist()
    assert to_markdown(result).splitlines()[4].startswith(f"| accuracy | {accuracy:.3f} | ")
    with pytest.raises(ValueError, match="target must hold one genre a poster"):
        single_label_metrics([[1, 1]], [[0.5, 0.4]])


def test_importing_the_package_loads_no_heavy_library():
    code = (
        "import sys, mmposter.evaluation, mmposter.report.plots; "
        "print([m for m in ('torch', 'matplotlib', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
