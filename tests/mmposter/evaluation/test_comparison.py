"""Comparisons: the house's own intervals for single runs, seeds put together, Holm over rows, the same posters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mmposter.evaluation.bootstrap import bootstrap_ci, bootstrap_difference
from mmposter.evaluation.comparison import RowDifference, compare, group_seeds
from mmposter.evaluation.halves import half_samples
from mmposter.evaluation.metrics import METRICS, get_metric
from mmposter.evaluation.multiple import holm
from mmposter.evaluation.scored import ScoredPosters, Source
from mmposter.evaluation.seeds import Estimate, estimate_difference, estimate_metric, measure
from mmposter.evaluation.thresholds import apply_thresholds
from mmposter.report.comparison_text import notes
from mmposter.report.plots.comparison import plot_comparison, plot_genre_differences

GENRES = ("Drama", "Comedy", "War", "News")
N, BOOT = 160, 60


def truth() -> np.ndarray:
    target = np.random.default_rng(0).random((N, 4)) < [0.5, 0.4, 0.25, 0.0]
    target[:, 0] |= ~target.any(axis=1)
    target[3] = False
    target[:4, 3] = [True, True, False, False]  # News: two posters, too few for an interval
    return target


def model(
    quality: float, seed: int = 0, config: dict | None = None, branches: Sequence[str] = ("cnn",)
) -> ScoredPosters:
    target, rng = truth(), np.random.default_rng([seed, int(quality * 1000)])
    probs = np.clip(quality * target + 0.8 * rng.random(target.shape), 0, 1).astype(np.float32)
    limits = np.full(4, 0.5)
    source = Source(
        run=f"q{quality}s{seed}",
        weights="",
        branches=tuple(branches),
        config={"branches": ["cnn"], "loss": {"name": "bce"}, **(config or {}), "seed": seed},
        data="posters",
        manifest="m" * 64,
        split="test",
        empty="top1",
        constant={metric.name: 0.1 for metric in METRICS},
        version="0",
        commit=None,
    )
    ids, groups = tuple(f"t{i:03}" for i in range(N)), np.array([f"g{i // 2}" for i in range(N)], dtype=object)
    return ScoredPosters(ids, groups, GENRES, target, probs, apply_thresholds(probs, limits, "top1"), limits, source)


WORSE, BETTER = model(0.1), model(0.3, config={"loss": {"name": "focal"}})


def test_two_single_runs_have_the_intervals_of_the_bootstrap(genre_precisions):
    found = compare([("a", WORSE), ("b", BETTER)], n_boot=BOOT)
    assert [row.name for row in found.rows] == ["a", "b"]
    for row, one in zip(found.rows, (WORSE, BETTER), strict=True):
        theirs = bootstrap_ci(one.target, one.probs, one.decisions, METRICS, BOOT, 0, one.groups)
        for name, estimate in row.metrics.items():
            assert estimate.ci95 == pytest.approx(theirs[name]), name
        values = [row.by_genre[genre].value for genre in GENRES]
        assert values == pytest.approx(genre_precisions(one.target, one.probs))
    theirs = bootstrap_difference(
        WORSE.target, (BETTER.probs, BETTER.decisions), (WORSE.probs, WORSE.decisions), METRICS, BOOT, 0, WORSE.groups
    )
    for name, estimate in found.rows[1].difference.metrics.items():
        assert estimate.value == pytest.approx(theirs[name].value)
        assert estimate.ci95 == pytest.approx(theirs[name].ci95)
    assert found.rows[0].difference is None
    assert found.rows[1].changes == {"loss.name": "focal"}
    assert found.posters == N - 1
    assert found.prevalence["News"] == pytest.approx(2 / (N - 1))


def test_verdicts_know_which_way_is_good():
    # A fifth of each probability: the same ranking, and far from calibrated.
    timid = replace(WORSE, probs=WORSE.probs / 5, source=BETTER.source)
    error, precision = get_metric("expected_calibration_error"), get_metric("mean_average_precision")
    found = compare([("a", WORSE), ("b", timid)], n_boot=BOOT).rows[1].difference
    assert found.metrics[error.name].ci95[0] > 0
    assert found.verdict(error) == "worse"
    assert found.verdict(precision) == "within noise"
    back = compare([("b", timid), ("a", WORSE)], n_boot=BOOT).rows[1].difference
    assert back.verdict(error) == "better"
    for metric in METRICS:
        assert back.metrics[metric.name].value == pytest.approx(-found.metrics[metric.name].value)
    assert compare([("a", WORSE), ("b", BETTER)], n_boot=BOOT).rows[1].difference.verdict(precision) == "better"
    assert compare([("b", BETTER), ("a", WORSE)], n_boot=BOOT).rows[1].difference.verdict(precision) == "worse"


def test_a_model_against_its_own_copy_is_within_noise():
    copy = replace(WORSE, source=replace(WORSE.source, config={**WORSE.source.config, "loss": {"name": "asl"}}))
    found = compare([("a", WORSE), ("b", copy)], n_boot=BOOT).rows[1].difference
    assert {found.verdict(metric) for metric in METRICS} == {"within noise"}
    assert all(estimate.value == 0 for estimate in found.metrics.values())


def test_seeds_of_one_configuration_become_one_row_over_seeds():
    config = {"loss": {"name": "focal"}}
    runs = [("a0", model(0.1, 0)), ("b1", model(0.3, 1, config)), ("a1", model(0.1, 1)), ("b0", model(0.3, 0, config))]
    found = compare(runs, n_boot=BOOT)
    assert [(row.name, row.runs, row.seeds) for row in found.rows] == [
        ("a0", ("a0", "a1"), (0, 1)),
        ("b0", ("b0", "b1"), (0, 1)),
    ]
    one = WORSE
    keep = one.target.any(axis=1)
    weights = half_samples(int(keep.sum()), BOOT, 0, one.groups[keep])
    parts = {name: measure(one.target, run.probs.astype(float), run.decisions, weights, METRICS) for name, run in runs}
    own = estimate_metric(
        [parts[name].values[0] for name in ("a0", "a1")], np.stack([parts[name].halves[:, 0] for name in ("a0", "a1")]),
        int(keep.sum()),
    )  # fmt: skip
    assert found.rows[0].metrics["mean_average_precision"] == own
    paired = [("b0", "a0"), ("b1", "a1")]
    contrast = estimate_difference(
        [parts[b].values[0] - parts[a].values[0] for b, a in paired],
        np.stack([parts[b].halves[:, 0] - parts[a].halves[:, 0] for b, a in paired]),
        len(set(one.groups[keep])),
    )
    assert replace(found.rows[1].difference.metrics["mean_average_precision"], adjusted=None) == contrast
    assert found.rows[1].difference.pairs == 2


def test_what_is_no_group_of_seeds():
    again, masked = model(0.2, 0), model(0.2, 1, branches=("yolo",))
    assert len(group_seeds([("a", model(0.1, 0)), ("b", again)])) == 2  # the same seed twice
    assert len(group_seeds([("a", model(0.1, 0)), ("b", masked)])) == 2
    assert len(group_seeds([("a", model(0.1, 0)), ("b", model(0.1, 1, {"loss": {"name": "asl"}}))])) == 2
    # Lists and tuples come from JSON and from pydantic; they say the same.
    assert len(group_seeds([("a", model(0.1, 0, {"branches": ("cnn",)})), ("b", model(0.1, 1))])) == 1


def test_rows_with_other_seeds_are_paired_as_far_as_they_go_and_it_is_said(genre_precisions):
    config = {"loss": {"name": "focal"}}
    found = compare([("a0", model(0.1, 0)), ("a1", model(0.1, 1)), ("b1", model(0.3, 1, config))], n_boot=BOOT)
    assert found.rows[1].difference.pairs == 1
    theirs = genre_precisions(model(0.3, 1, config).target, model(0.3, 1, config).probs)
    ours = genre_precisions(model(0.1, 1).target, model(0.1, 1).probs)
    assert found.rows[1].difference.by_genre["War"].value == pytest.approx((theirs - ours)[2])
    assert any(
        "other seeds than a0: the difference is over the pairs there are: b1 (1 of 2)" in note for note in notes(found)
    )
    strangers = compare([("a0", model(0.1, 0)), ("b7", model(0.3, 7, config))], n_boot=BOOT)
    assert strangers.rows[1].difference.pairs == 1


def test_p_values_are_adjusted_over_rows_and_genres_and_rare_genres_have_none():
    runs = [("a", WORSE), *((f"b{q}", model(q, config={"q": q})) for q in (0.11, 0.15, 0.3))]
    others = [row.difference for row in compare(runs, n_boot=BOOT).rows[1:]]
    for metric in METRICS:
        raw = [found.metrics[metric.name].p_value for found in others]
        assert [found.metrics[metric.name].adjusted for found in others] == pytest.approx(holm(raw))
    raw = [found.by_genre[genre].p_value for found in others for genre in GENRES]
    adjusted = [found.by_genre[genre].adjusted for found in others for genre in GENRES]
    assert adjusted == holm(raw)
    assert raw.count(None) == 3  # News in each row
    assert {found.genre_verdict("News") for found in others} == {"–"}
    assert others[0].by_genre["News"].ci95 is None
    assert not np.isnan(others[0].by_genre["News"].value)


def test_posters_are_matched_by_id_and_missing_ones_left_out():
    order = np.random.default_rng(5).permutation(N)[: N - 10]
    shuffled = replace(
        BETTER,
        ids=tuple(BETTER.ids[i] for i in order),
        **{name: getattr(BETTER, name)[order] for name in ("groups", "target", "probs", "decisions")},
    )
    found = compare([("a", WORSE), ("b", shuffled)], n_boot=BOOT)
    assert found.left_out == 10
    assert any("not measured in all runs: 10 posters" in note for note in notes(found))
    keep = np.sort(order)
    for row, one in zip(found.rows, (WORSE, BETTER), strict=True):
        value = get_metric("r_precision").value(one.target[keep], one.probs[keep])
        assert row.metrics["r_precision"].value == pytest.approx(value)


def test_other_posters_or_genres_are_refused():
    other = replace(BETTER, source=replace(BETTER.source, manifest="x" * 64))
    with pytest.raises(ValueError, match="same manifest, split and genres"):
        compare([("a", WORSE), ("b", other)])
    with pytest.raises(ValueError, match="at least one"):
        compare([])


def test_json_is_plain_and_figures_show_the_rows():
    found = compare([("a", WORSE), ("$b$", BETTER)], n_boot=BOOT)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["rows"][1]["difference"]["metrics"]["macro_f1"]["value"] == (
        found.rows[1].difference.metrics["macro_f1"].value
    )
    assert set(plain["rows"][1]["difference"]["by_genre"]["Drama"]) == {
        "value", "ci95", "standard_error", "p_value", "p_holm"
    }  # fmt: skip
    first = plot_comparison(found).axes[0]
    dots = [line.get_xdata()[0] for line in first.get_lines() if line.get_marker() == "o"]
    assert dots == [row.metrics["mean_average_precision"].value for row in found.rows]
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "$b$"]
    axes = plot_genre_differences(found).axes[0]
    assert [label.get_text().split("  ")[0] for label in axes.get_yticklabels()][-1] == "News"
    dots = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    ordered = sorted(zip(found.support, GENRES, strict=True), key=lambda item: -item[0])
    assert dots == [found.rows[1].difference.by_genre[genre].value for _, genre in ordered]


@pytest.mark.parametrize(
    ("value", "p_value", "f1", "error"),
    [
        (0.1, 0.0499, "better", "worse"),
        (-0.1, 0.0499, "worse", "better"),
        (0.1, 0.05, "within noise", "within noise"),
        (0.1, 0.08, "within noise", "within noise"),
        (0.1, None, "–", "–"),
    ],
)
def test_verdicts_go_by_the_adjusted_p_value_at_five_percent(value, p_value, f1, error):
    names = ("macro_f1", "expected_calibration_error")
    estimate = Estimate(value, None, 0.01, 0.001, adjusted=p_value)  # its own p-value is not the one that counts
    found = RowDifference(1, dict.fromkeys(names, estimate), {"War": estimate})
    assert [found.verdict(get_metric(name)) for name in names] == [f1, error]
    assert found.genre_verdict("War") == f1
