"""The figures show the numbers they were given, mark what p-values carry, and say what they were made from."""

from __future__ import annotations

import math
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from mmposter.evaluation.ablation import HEADLINES
from mmposter.evaluation.seeds import Estimate
from mmposter.report.ablation.plots import plot_differences, plot_genres, plot_modes, plot_subsets, plot_values
from mmposter.report.ablation.plots.canvas import VERDICTS
from mmposter.report.ablation.plots.genres import added_by_branch
from mmposter.report.ablation.sections import group

pytestmark = pytest.mark.figures

LEAD = HEADLINES[0]


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def dots(axes, marker: str) -> list[tuple[float, float]]:
    """Places of the markers of a shape."""
    lines = [line for line in axes.get_lines() if line.get_marker() == marker]
    return [(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def spans(axes) -> list[tuple[float, float]]:
    """Ends of all horizontal lines."""
    return [tuple(path[:, 0]) for item in axes.collections for path in item.get_segments()]


def without_intervals(result):
    """One seed of few posters: values alone, no interval and no p-value anywhere."""
    bare = lambda values: {name: Estimate(value.value, None, math.nan) for name, value in values.items()}  # noqa: E731
    cells = tuple(
        replace(
            cell,
            seeds=cell.seeds[:1],
            by_seed={name: values[:1] for name, values in cell.by_seed.items()},
            metrics=bare(cell.metrics),
            by_genre=bare(cell.by_genre),
            comparisons=tuple(
                replace(item, metrics=bare(item.metrics), by_genre=bare(item.by_genre)) for item in cell.comparisons
            ),
        )
        for cell in result.cells
    )
    contributions = tuple(
        replace(item, metrics=bare(item.metrics), by_genre=bare(item.by_genre)) for item in result.contributions
    )
    return replace(result, cells=cells, contributions=contributions)


def test_values_have_interval_seeds_reference_and_constant(small):
    found = group(small, "leave-one-out", "retrain")
    axes = plot_values(small, found).axes[0]
    labels = ["full model", "without cnn", "without style", "without ocr"]
    assert [label.get_text() for label in axes.get_yticklabels()] == labels
    filled = [xy for xy in dots(axes, "o") if xy[1] == int(xy[1])]
    assert filled == [(cell.metrics[LEAD].value, float(row)) for row, cell in enumerate(found.rows)]
    rings = [x for x, y in dots(axes, "o") if y != int(y)]
    assert rings == [value for cell in found.rows for value in cell.by_seed[LEAD]]
    assert spans(axes) == [cell.metrics[LEAD].ci95 for cell in found.rows]
    upright = {line.get_label(): line.get_xdata()[0] for line in axes.get_lines() if len(set(line.get_xdata())) == 1}
    assert upright["best constant answer"] == small.constant[LEAD]
    assert upright["full model"] == small.cells[0].metrics[LEAD].value


def test_differences_are_marked_by_what_p_carries(rich):
    found = group(rich, "controls", "retrain")
    axes = plot_differences(rich, found).axes[0]
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert labels[:2] == ["style of another poster", "… against the model without style"]
    assert labels[-1] == "ocr alone, words of the title masked … against ocr"
    worse, unsure = dots(axes, VERDICTS[-1][1]), dots(axes, VERDICTS[0][1])
    assert [labels[int(y)] for _, y in unsure] == [
        "… against the model without style",
        "… against the model without yolo",
        "… against the model without ocr",
        "names of the actors masked",
    ]
    by_label = {labels[int(y)]: x for x, y in worse}
    assert by_label["words of the title masked"] == pytest.approx(-0.018)
    low, high = axes.get_xlim()
    assert low < 0 < high


def test_the_subsets_are_columns_by_value_with_their_branches_below(small):
    figure = plot_subsets(small, group(small, "subsets", "retrain"))
    _, values, bars, matrix = figure.axes
    ordered = sorted(small.cells, key=lambda cell: -cell.metrics[LEAD].value)
    drawn = sorted(xy for side in VERDICTS.values() for xy in dots(values, side[1]))
    drawn += dots(values, "D")
    assert [y for _, y in sorted(drawn)] == [cell.metrics[LEAD].value for cell in ordered]
    branches = [label.get_text() for label in matrix.get_yticklabels()]
    filled = {(x, branches[int(y)]) for line in matrix.get_lines() if line.get_linestyle() == "-"
              for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}  # fmt: skip
    assert filled == {(x, branch) for x, cell in enumerate(ordered) for branch in cell.branches}
    widths = [patch.get_width() for patch in bars.patches]
    assert widths == [item.metrics[LEAD].value for item in small.contributions]


def test_the_heat_map_frames_only_what_p_carries(small):
    figure = plot_genres(small, "retrain")
    axes = figure.axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["all (mAP)", "Drama  (500)", "Horror  (70)", "War  (40)", "Short  (0)"]
    frames = [patch for patch in axes.patches if not patch.get_fill()]
    places = {(round(patch.get_x() + 0.475), round(patch.get_y() + 0.43 - 0.25)) for patch in frames}
    # cnn: mAP, Drama and Horror; ocr: mAP, Drama and War; style nothing.
    assert places == {(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 3)}
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert sorted(bold) == ["+.050", "+.050", "+.100", "+.100", "+.100", "+.200"]
    assert [text.get_text() for text in axes.texts].count("–") == 3


def test_the_heat_map_falls_back_to_leaving_one_out(small):
    shapley, how = added_by_branch(small, "retrain")
    assert "Shapley" in how
    left_out, how = added_by_branch(replace(small, contributions=()), "retrain")
    assert "minus the model without it" in how
    for branch in ("cnn", "style", "ocr"):  # additive: both are the same
        for genre in (None, "Horror", "War", "Drama"):
            assert left_out[branch][genre].value == pytest.approx(shapley[branch][genre].value)
    low, high = left_out["cnn"]["Horror"].ci95
    assert low == pytest.approx(0.2 - 0.0196)
    assert high == pytest.approx(0.2 + 0.0196)
    assert added_by_branch(small, "mask")[0] == {}
    with pytest.raises(ValueError, match="branches were left out, got 'mask'"):
        plot_genres(small, "mask")


def test_retrained_and_masked_stand_in_pairs(rich):
    retrained, masked = group(rich, "subsets", "retrain"), group(rich, "subsets", "mask")
    axes = plot_modes(rich, retrained, masked).axes[0]
    pairs = sorted(zip(retrained.cells, masked.cells, strict=True), key=lambda pair: -pair[0].metrics[LEAD].value)
    assert [x for x, _ in dots(axes, "o")] == [one.metrics[LEAD].value for one, _ in pairs]
    assert [x for x, _ in dots(axes, "s")] == [two.metrics[LEAD].value for _, two in pairs]


def test_every_figure_says_what_it_was_made_from_and_is_900_wide(rich, tmp_path):
    before = dict(mpl.rcParams)
    figures = [
        plot_values(rich, group(rich, "controls", "retrain")),
        plot_differences(rich, group(rich, "fusion.head", "retrain")),
        plot_subsets(rich, group(rich, "subsets", "mask")),
        plot_genres(rich, "mask"),
        plot_modes(rich, group(rich, "subsets", "retrain"), group(rich, "subsets", "mask")),
    ]
    for i, figure in enumerate(figures):
        assert "posters_50%, test: 1116 posters; 5 seeds (0-4); commit 2a103b0; 1000 half-samples" in texts(figure)
        figure.savefig(tmp_path / f"{i}.png")
        assert np.asarray(Image.open(tmp_path / f"{i}.png")).shape[1] == 900
    assert dict(mpl.rcParams) == before


def test_values_without_intervals_and_strange_names_can_be_drawn(small, tmp_path):
    bare = without_intervals(small)
    cells = tuple(replace(cell, label="$x_{1}$ " * 9) if cell.name == "cnn" else cell for cell in bare.cells)
    nan = dict.fromkeys(HEADLINES, Estimate(math.nan, None, math.nan))
    cells = tuple(replace(cell, metrics=nan) if cell.name == "ocr" else cell for cell in cells)
    result = replace(bare, cells=cells)
    found = group(result, "subsets", "retrain")
    for i, figure in enumerate(
        (
            plot_values(result, found),
            plot_differences(result, found),
            plot_subsets(result, found),
            plot_genres(result, "retrain"),
        )
    ):
        figure.savefig(tmp_path / f"{i}.png")
    axes = plot_differences(result, found).axes[0]
    assert not dots(axes, VERDICTS[1][1]) + dots(axes, VERDICTS[-1][1])
    assert spans(axes) == []


def test_nothing_to_compare_is_said(small):
    found = group(small, "subsets", "retrain")
    empty = replace(found, cells=tuple(replace(cell, comparisons=()) for cell in found.cells))
    with pytest.raises(ValueError, match="cells to compare, got 'subsets-retrain'"):
        plot_differences(small, empty)
