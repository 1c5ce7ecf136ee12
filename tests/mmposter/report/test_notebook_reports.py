"""Measured results show the tables of their reports in a notebook, and every figure shows itself without pyplot."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from html import unescape
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmposter.distillation.card import plot_curves
from mmposter.evaluation import METRICS, evaluate
from mmposter.evaluation.comparison import compare
from mmposter.evaluation.examination import Examination, examine
from mmposter.evaluation.scored import ScoredPosters, Source
from mmposter.evaluation.thresholds import apply_thresholds
from mmposter.report.evaluation_text import calibration_note, genre_rows, metric_rows
from mmposter.report.plots import (
    plot_average_precision,
    plot_confusion,
    plot_cooccurrence,
    plot_precision_recall,
    plot_reliability,
    plot_training_curves,
)
from mmposter.report.plots.comparison import plot_comparison, plot_genre_differences

pytestmark = pytest.mark.figures

GENRES = ("Drama", "Comedy <3", "News")


def scored(seed: int) -> ScoredPosters:
    rng = np.random.default_rng(seed)
    target = np.random.default_rng(9).random((60, 3)) < [0.6, 0.4, 0.0]
    target[~target.any(axis=1), 0] = True
    probs = np.clip(0.3 * target + 0.6 * rng.random((60, 3)), 0, 1).astype(np.float32)
    limits = np.array([0.4, 0.45, 0.5])
    source = Source(
        run=f"run-{seed}", weights="ab" * 32, branches=("cnn",), data="<posters>", manifest="cd" * 32, split="test",
        config={"seed": 0, "branches": ["cnn"], "fusion": {"head": f"h{seed}"}, "regime": "features"}, empty="top1",
        constant={metric.name: 0.125 for metric in METRICS}, version="0.1", commit=None,
    )  # fmt: skip
    ids, groups = tuple(f"tt{i:03}" for i in range(60)), np.array([f"g{i}" for i in range(60)], dtype=object)
    return ScoredPosters(ids, groups, GENRES, target, probs, apply_thresholds(probs, limits, "top1"), limits, source)


@pytest.fixture(scope="module")
def examination() -> Examination:
    one = scored(0)
    found = evaluate(
        one.target, one.probs, one.thresholds, GENRES, train_target=one.target, split="test", n_boot=20
    )  # fmt: skip
    return examine(one, found)


@pytest.fixture(scope="module")
def comparison():
    return compare([(one.source.run, one) for one in (scored(0), scored(1))], n_boot=20)


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table."""
    found = re.findall(r"<tr[ >].*?</tr>", page, re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in found]


def test_an_evaluation_shows_every_metric_beside_its_constant(examination):
    result = examination.evaluation
    page = result._repr_html_()
    found = rows(page)
    for row in [*metric_rows(result), *genre_rows(result)]:
        assert row in found
    assert "Comedy <3" not in page  # escaped
    assert "60 posters" in page
    assert "half-samples" in page


def test_an_examination_says_what_was_measured_too(examination):
    page = examination._repr_html_()
    assert all(row in rows(page) for row in metric_rows(examination.evaluation))
    assert "run-0 on &lt;posters&gt;" in page
    assert ["Split", "test, 60 posters, 3 genres"] in rows(page)
    assert calibration_note(examination) in page


def test_a_comparison_shows_values_and_differences(comparison):
    page = comparison._repr_html_()
    found = rows(page)
    assert [row[0] for row in found if row[1:3] == ["cnn", "0"]] == ["run-0"]
    difference = comparison.rows[1].difference
    assert sum(row[-1] == difference.verdict(metric) for row in found for metric in METRICS if row[0] == metric.title)
    assert "constant answer" in page
    assert "run-1 minus run-0" in page


def figures(found: Examination, comparison) -> list[Figure]:
    history = [{"epoch": i, "train_loss": 1.0, "val_loss": 0.5, "val_map": 0.1, "lr": 0.1} for i in range(3)]
    sizes = {"train_loss": 1.0, "val_loss": 0.5, "learning_rate": 0.1, "height": 9, "width": 6}
    one = found.scored
    return [
        plot_average_precision(found.evaluation),
        plot_confusion([[2, 1, 0], [1, 3, 0], [0, 0, 0]], GENRES),
        plot_cooccurrence(found.together),
        plot_precision_recall(one.target, one.probs, GENRES),
        plot_reliability({"as trained": found.reliability}),
        plot_training_curves(history),
        plot_comparison(comparison),
        plot_genre_differences(comparison),
        plot_curves([{**sizes, "posters": 10 * i} for i in (1, 2)]),
    ]


def settings() -> dict[str, object]:
    return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}  # asking for that imports pyplot


def test_every_plot_is_a_figure_that_shows_itself_and_needs_no_pyplot(examination, comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it fails
    before = settings()
    for figure in figures(examination, comparison):
        assert isinstance(figure, Figure)
        picture = Image.open(io.BytesIO(figure._repr_png_()))
        assert picture.format == "PNG"
        assert picture.width == 900
    assert settings() == before


@pytest.mark.parametrize("package", ["mmposter", "fusion", "detectors"])
def test_no_module_imports_pyplot(package):
    spec = importlib.util.find_spec(package)
    files = list(Path(spec.origin).parent.rglob("*.py"))
    assert files
    wrong = re.compile(r"^\s*(import matplotlib\.pyplot|from matplotlib(\.pyplot)? import .*(pyplot|plt))", re.M)
    assert [file.name for file in files if wrong.search(file.read_text(encoding="utf-8"))] == []
