"""The genres before and after balancing: a report beside the crops, and a figure."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import Image

from mmposter.errors import UserError
from mmposter.published.systems import find_published
from mmposter.published.task import cropped_dataset, task_dataset
from mmposter.report.balance import genre_balance
from mmposter.report.plots import plot_genre_balance


def test_the_crops_have_a_report_with_the_figure(posters, tmp_path):
    task = task_dataset(posters, "posters20", tmp_path)
    crops = cropped_dataset(task, find_published("p1/cnn6"), "as_published", tmp_path, 40)
    before = Counter(genre for genres in task.table["genres"] for genre in genres)
    after = Counter(genre for genres in crops.table["genres"] for genre in genres)
    counts = genre_balance(crops)
    assert counts == {genre: (before[genre], after[genre]) for genre in task.vocabulary.genres}
    assert max(after.values()) > max(before.values())
    text = (crops.folder / "report.md").read_text(encoding="utf-8")
    assert f"| Drama | {before['Drama']} | {after['Drama']} |" in text
    assert f"{len(task)} posters, {len(crops)} crops" in text
    assert "This split leaks" in text
    assert "![Genres before and after](plots/genres.png)" in text
    assert Image.open(crops.folder / "plots" / "genres.png").width == 900
    again = cropped_dataset(task, find_published("p1/cnn6"), "clean", tmp_path, 40)
    assert "This split leaks" not in (again.folder / "report.md").read_text(encoding="utf-8")


def test_two_bars_a_genre_the_commonest_on_top():
    figure = plot_genre_balance({"War": (2, 7), "Drama": (9, 12), "News": (0, 0)})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["News", "War", "Drama"]
    after, before = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert (before, after) == ([0, 2, 9], [0, 7, 12])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["before: posters", "after: crops"]
    with pytest.raises(UserError, match="no distribution"):
        plot_genre_balance({})
