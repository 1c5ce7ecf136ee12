"""An ablation shows its sentences and its main table in a notebook."""

from __future__ import annotations

import sys
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from mmposter.report.ablation import findings
from mmposter.report.ablation.plots import plot_differences, plot_genres, plot_modes, plot_subsets, plot_values
from mmposter.report.ablation.sections import group
from mmposter.report.ablation.tables import cells_table
from mmposter.report.plots.figure import ShownFigure

pytestmark = pytest.mark.figures


def test_the_sentences_and_the_table_of_the_report(small):
    page = small._repr_html_()
    text = unescape(page)
    assert findings(small)
    assert all(sentence in text for sentence in findings(small))
    table = cells_table(small, group(small, "subsets", "retrain"))
    assert page.count("<tr") == len(table.rows) + 1
    assert all(f">{row[0]}</th>" in text for row in table.rows)
    assert table.note in text
    assert "<svg" not in page


def test_an_ablation_that_has_only_its_reference_shows_too(small):
    alone = replace(small, cells=small.cells[:1], contributions=(), unfinished={"<cnn>": "out of memory"})
    page = alone._repr_html_()
    assert "UNFINISHED" in page
    assert "<table" not in page
    assert "The full model" in page


def test_no_figure_needs_pyplot(rich, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    subsets, masked = group(rich, "subsets", "retrain"), group(rich, "subsets", "mask")
    drawn = [plot_subsets(rich, subsets), plot_values(rich, subsets), plot_differences(rich, subsets)]
    drawn += [plot_modes(rich, subsets, masked), plot_genres(rich, "retrain")]
    assert {type(figure) for figure in drawn} == {ShownFigure}
    assert drawn[-1]._repr_png_().startswith(b"\x89PNG")


def test_the_cells_as_a_table(small):
    frame = small.to_frame().set_index("cell")
    assert list(frame.index) == [cell.name for cell in small.cells]
    cell = next(cell for cell in small.cells if cell.name != small.reference)
    row, compared = frame.loc[cell.name], small.against_full(cell)
    assert row["branches"] == ",".join(cell.branches)
    assert row["macro_f1"] == cell.metrics["macro_f1"].value
    assert (row["macro_f1_low"], row["macro_f1_high"]) == cell.metrics["macro_f1"].ci95
    assert row["macro_f1_difference"] == compared.metrics["macro_f1"].value
    assert row["macro_f1_p"] == compared.metrics["macro_f1"].adjusted
    assert np.isnan(frame.loc[small.reference, "macro_f1_difference"])
