"""The figures show the numbers they were given, and touch no global matplotlib state."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_curve

from mmposter.errors import UserError
from mmposter.evaluation import Evaluation, evaluate
from mmposter.report.plots import genres, plot_average_precision, plot_precision_recall, plot_training_curves

pytestmark = pytest.mark.figures

GENRES = ["Drama", "Comedy", "$War$", "News"]


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, Evaluation]:
    rng = np.random.default_rng(0)
    target = (rng.random((80, 4)) < [0.6, 0.4, 0.1, 0]).astype(int)
    target[target.sum(axis=1) == 0, 1] = 1
    probs = np.clip(0.3 * target + 0.6 * rng.random((80, 4)), 0, 1)
    return target, probs, evaluate(target, probs, [0.4] * 4, GENRES, train_target=target, split="val", n_boot=20)


def rows(values: list[float | None]) -> list[dict[str, object]]:
    return [
        {"epoch": i, "train_loss": 1 / (i + 1), "val_loss": 1.1 / (i + 1), "val_map": value, "lr": 0.001}
        for i, value in enumerate(values)
    ]


def test_average_precision_is_sorted_with_support_interval_and_prevalence(case):
    _, _, result = case
    figure = plot_average_precision(result)
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    drawn = sorted(
        ((row.average_precision, genre, row) for genre, row in result.by_genre.items() if row.support),
        key=lambda x: x[0],
    )
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"{g}  ({r.support})" for _, g, r in drawn]
    assert list(lines["model"].get_xdata()) == [value for value, _, _ in drawn]
    assert list(lines["constant answer"].get_xdata()) == [row.prevalence for _, _, row in drawn]
    spans = [tuple(path[:, 0]) for path in axes.collections[0].get_segments()]
    assert spans == [row.ci95 for _, _, row in drawn if row.ci95]
    assert "val" in axes.get_title(loc="left")


def test_average_precision_is_the_same_from_a_saved_file(case, tmp_path: Path):
    _, _, result = case
    saved = json.loads(json.dumps(result.to_json()))
    images = []
    for name, source in (("object", result), ("file", saved)):
        plot_average_precision(source).savefig(tmp_path / f"{name}.png")
        images.append(np.asarray(Image.open(tmp_path / f"{name}.png")))
    assert images[0].shape[1] == 900
    assert (images[0] == images[1]).all()


def test_precision_recall_has_a_panel_for_each_genre_with_posters(case):
    target, probs, result = case
    figure = plot_precision_recall(target, probs, GENRES)
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_title(loc="left") for panel in shown] == ["Drama", "Comedy", "$War$"]
    for panel in shown:
        row = result.by_genre[panel.get_title(loc="left")]
        assert panel.get_title(loc="right") == f"{row.average_precision:.2f} ({row.support})"
        # The dashed line of the constant answer.
        assert panel.get_lines()[1].get_ydata()[0] == pytest.approx(row.prevalence)


def test_training_curves_mark_the_best_epoch_counted_from_one():
    figure = plot_training_curves(rows([0.1, 0.3, 0.2]))
    loss, quality, _ = figure.axes
    assert [text.get_text() for text in quality.texts] == ["best: 0.300 in epoch 2"]
    assert {tuple(line.get_xdata()) for line in loss.get_lines()[:2]} == {(1, 2, 3)}
    assert list(loss.get_lines()[1].get_ydata()) == [1.1, 1.1 / 2, 1.1 / 3]


@pytest.mark.parametrize("values", [[0.2], [None, None], [0.1, None, 0.2]])
def test_training_curves_of_short_and_gappy_runs_can_be_drawn(values, tmp_path: Path):
    figure = plot_training_curves(rows(values))
    figure.savefig(tmp_path / "training.png")
    known = [value for value in values if value is not None]
    assert len(figure.axes[1].texts) == bool(known)


def test_global_state_is_left_alone(case):
    target, probs, result = case
    before = dict(mpl.rcParams)
    plot_average_precision(result)
    plot_precision_recall(target, probs, GENRES)
    plot_training_curves(rows([0.1]))
    assert dict(mpl.rcParams) == before


def test_nothing_to_draw_is_said(case):
    _, _, result = case
    nothing = {"split": "val", "by_genre": {"News": result.to_json()["by_genre"]["News"]}}
    with pytest.raises(UserError, match="no average precision to draw"):
        plot_average_precision(nothing)
    with pytest.raises(UserError, match="no precision-recall curve to draw"):
        plot_precision_recall(np.zeros((2, 1)), np.zeros((2, 1)), ["News"])
    with pytest.raises(UserError, match="no training curves to draw"):
        plot_training_curves([])


def test_a_curve_of_many_points_is_thinned_to_what_its_pixels_show():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(60_000) < 0.4, rng.random(60_000)
    precision, recall, _ = precision_recall_curve(positive, scores + 0.3 * positive, drop_intermediate=True)
    fewer, kept = genres._as_drawn(recall, precision)
    assert len(recall) > 10_000 > 4 * genres.PIXELS >= len(fewer)
    assert (fewer[0], fewer[-1], kept[0], kept[-1]) == (recall[0], recall[-1], precision[0], precision[-1])
    assert set(zip(fewer, kept, strict=True)) <= set(zip(recall, precision, strict=True))
    for column in np.arange(genres.PIXELS) / genres.PIXELS:
        here, there = ((x >= column) & (x < column + 1 / genres.PIXELS) for x in (recall, fewer))
        for extreme in (np.min, np.max):
            assert abs(extreme(precision[here]) - extreme(kept[there])) <= 0.5 / genres.PIXELS
    short = recall[:200], precision[:200]
    assert genres._as_drawn(*short) == short
