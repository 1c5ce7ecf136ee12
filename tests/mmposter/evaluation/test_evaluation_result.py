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

from mmposter.errors import UserError
from mmposter.evaluation import METRICS, Evaluation, compute_metrics, evaluate, get_metric, single_label_metrics
from mmposter.evaluation.evaluate import MetricResult, verdict
from mmposter.evaluation.thresholds import apply_thresholds
from mmposter.report.evaluation_text import render, to_markdown

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
        assert set(entry) == {"value", "ci95", "constant"}
        assert len(entry["ci95"]) == 2
    for entry in plain["by_genre"].values():
        assert set(entry) == {
            "support", "average_precision", "ci95", "precision", "recall", "f1", "threshold", "prevalence"
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
    ("name", "value", "ci95", "constant", "expected"),
    [
        ("macro_f1", 0.5, (0.4, 0.6), 0.3, "better"),
        ("macro_f1", 0.5, (0.4, 0.6), 0.45, "within noise"),
        ("macro_f1", 0.5, None, 0.45, "within noise"),
        ("macro_f1", 0.5, (0.4, 0.6), 0.5, "NOT BETTER"),
        ("macro_f1", 0.5, (0.4, 0.6), 0.7, "NOT BETTER"),
        ("macro_auroc", float("nan"), None, 0.5, "undefined"),
        ("expected_calibration_error", 0.1, (0.05, 0.15), 0.2, "better"),
        ("expected_calibration_error", 0.1, (0.05, 0.15), 0.12, "within noise"),
        ("expected_calibration_error", 0.1, (0.05, 0.15), 0.02, "NOT BETTER"),
    ],
)
def test_verdicts(name: str, value: float, ci95: tuple[float, float] | None, constant: float, expected: str):
    assert verdict(get_metric(name), MetricResult(value, ci95, constant)) == expected


def test_an_interval_that_ends_at_the_constant_is_within_noise():
    assert verdict(get_metric("macro_f1"), MetricResult(0.5, (0.4, 0.6), 0.4)) == "within noise"
    assert verdict(get_metric("expected_calibration_error"), MetricResult(0.5, (0.4, 0.6), 0.6)) == "within noise"


def test_a_genre_has_an_interval_from_ten_posters_on():
    target, (_, probs) = np.zeros((40, 4)), data(0, 40)
    target[:, 0] = target[:9, 1] = target[:10, 2] = 1
    found = evaluate(target, probs, LIMITS, GENRES, train_target=target, split="test", n_boot=100)
    assert [row.ci95 is not None for row in found.by_genre.values()] == [True, False, True, False]


def test_a_constant_model_is_never_called_better():
    train, _ = data(1)
    target, _ = data(0)
    constant = np.broadcast_to(train[train.any(axis=1)].mean(axis=0), target.shape)
    found = evaluate(target, constant, LIMITS, GENRES, train_target=train, split="test", n_boot=50)
    assert "better" not in {found.verdict(metric.name) for metric in METRICS}
    assert found.verdict("mean_average_precision") == found.verdict("r_precision") == "NOT BETTER"


def test_render_and_markdown_show_value_constant_and_verdict(result: Evaluation):
    stream = io.StringIO()
    render(result, Console(file=stream, width=140, no_color=True))
    markdown = to_markdown(result)
    for text in (stream.getvalue(), markdown):
        assert "test: 108 posters" in text
        assert "News [live]" in text  # square brackets are not markup
        assert "NOT BETTER" in text  # overall recall against "every genre"
        assert f"{result.metrics['r_precision'].value:.3f}" in text
        assert f"{result.metrics['r_precision'].constant:.3f}" in text
        assert "left out, posters without genre: 12" in text
        assert "no positive, left out of means over genres: News [live]" in text
        assert "nan" not in text
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(tables) == 2 * 2 + len(METRICS) + len(GENRES)
    assert tables[0] == "| metric | value | 95 % interval | constant | than the constant |"
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
