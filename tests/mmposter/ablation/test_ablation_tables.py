"""The numbers of hand-made results, as they stand in Markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest

from mmposter.document import TableBlock
from mmposter.document.latex import escape, table_latex, tables_latex
from mmposter.document.markdown import block_markdown
from mmposter.report.ablation import to_csv, to_json
from mmposter.report.ablation.sections import group, groups, questions
from mmposter.report.ablation.tables import (
    all_tables,
    best_of,
    cells_table,
    comparisons_table,
    contributions_table,
    genres_table,
)


def lines(text: str) -> dict[str, list[str]]:
    """Markdown rows by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows[2:]}


def rows_of(result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(result))))


def test_a_row_has_value_difference_p_and_verdict(small):
    found = lines(block_markdown(cells_table(small, group(small, "subsets", "retrain"))))
    # cnn alone: (.27 + .04 + .6) / 3; the full model: (.27 + .14 + .65) / 3; the constant: (.07 + .04 + .5) / 3.
    assert found["cnn"] == [
        ".303", ".286 to .321", "-.050", "-.056 to -.044", "< .001", "worse", ".273", ".364", ".301 .303 .307",
    ]  # fmt: skip
    assert found["cnn, ocr"][2:6] == ["+.000", "-.006 to +.006", "1.000", "not told apart"]
    assert found["cnn, style, ocr (reference)"][:3] == [".353", ".336 to .371", ""]
    assert [cell.strip("_") for cell in found["_best constant answer_"]] == [".203", *[""] * 5, ".183", ".244", ""]


def test_the_reference_is_in_every_table_and_the_constant_too(rich):
    for one in groups(rich):
        table = cells_table(rich, one)
        marks = [table.emphasis.get((place, None)) for place in range(len(table.rows))]
        assert marks.count("strong") == 1
        assert marks[-1] == "muted"
        assert "1116 posters; 5 seeds (0-4); commit 2a103b0" in table.note


def test_the_best_row_is_marked_only_where_its_interval_carries_it(rich):
    gates = group(rich, "style.gate", "retrain")
    assert best_of(rich, gates).label == "gate = srm"
    assert "**gate = srm (best)**" in block_markdown(cells_table(rich, gates))
    heads = group(rich, "fusion.head", "retrain")  # none is better than the base
    assert best_of(rich, heads) is None
    marks = cells_table(rich, heads).emphasis
    assert not [place for place, mark in marks.items() if place[1] is None and mark == "good"]


def test_genres_have_arrows_where_the_difference_is_carried(small):
    table = genres_table(small, group(small, "subsets", "retrain"))
    found = {row[0]: row[1:] for row in table.rows}
    column = table.header.index("style, ocr") - 1
    assert found["Horror"][column] == ".070 ↓"
    assert found["War"][column] == ".140"
    assert found["Short"] == ["0", *["–"] * (len(table.header) - 2)]
    assert [row[0] for row in table.rows] == ["Drama", "Horror", "War", "Short", "mAP (mean)"]


def test_contributions_add_up(small):
    table = contributions_table(small, "retrain")
    assert {row[0]: row[1] for row in table.rows} == {"cnn": "+.100", "style": "+.000", "ocr": "+.050"}
    assert contributions_table(small, "mask") is None


def test_other_comparisons_have_a_table(rich):
    table = comparisons_table(rich, group(rich, "controls", "retrain"))
    assert table.rows[0][:3] == ["style of another poster", "the model without style", "the same without the branch"]
    assert table.rows[0][-1].split() == ["not", "told", "apart"]
    assert comparisons_table(rich, group(rich, "fusion.head", "retrain")) is None
    masked = comparisons_table(rich, group(rich, "subsets", "mask"))
    assert masked.rows[0][1] == "cnn, trained anew"  # not itself


def test_leaving_one_out_is_found_among_the_subsets_or_the_controls(small):
    borrowed = group(small, "leave-one-out", "retrain")
    assert [borrowed.label(cell) for cell in borrowed.rows] == [
        "full model",
        "without cnn",
        "without style",
        "without ocr",
    ]
    moved = replace(
        small, cells=tuple(replace(cell, section="controls") for cell in small.cells if len(cell.branches) > 1)
    )
    assert [cell.name for cell in group(moved, "leave-one-out", "retrain").cells] == [
        "style-ocr",
        "cnn-ocr",
        "cnn-style",
    ]


def test_questions_leave_out_what_is_no_news(rich):
    controls = questions(rich, group(rich, "controls", "retrain"))
    assert [item.against for cell, item in controls if cell.name == "ocr.title"] == ["ocr"]
    assert [item.against for cell, item in controls if cell.name == "shuffled-yolo"] == [
        rich.reference,
        "cnn-style-ocr",
    ]
    assert {item.against for _, item in questions(rich, group(rich, "add-one", "retrain"))} == {"cnn"}


def test_csv_holds_every_number(small):
    found = rows_of(small)
    subsets = [row for row in found if row["section"] == "subsets"]
    (cnn,) = [row for row in subsets if row["cell"] == "cnn" and row["metric"] == "mean_average_precision"]
    comparison = small.cell("cnn").comparisons[0]
    assert float(cnn["value"]) == pytest.approx(0.91 / 3)
    assert float(cnn["difference"]) == pytest.approx(-0.05)
    assert float(cnn["difference_low"]) == pytest.approx(-0.05 - 1.96 * 0.003)
    assert float(cnn["p_holm"]) == comparison.metrics["mean_average_precision"].adjusted
    assert cnn["seeds"] == "0 1 2"
    assert [float(value) for value in cnn["by_seed"].split()] == list(
        small.cell("cnn").by_seed["mean_average_precision"]
    )
    (horror,) = [row for row in subsets if row["cell"] == "style-ocr" and row["metric"] == "AP:Horror"]
    assert float(horror["value"]) == pytest.approx(0.07)
    assert float(horror["difference"]) == pytest.approx(-0.2)
    (nothing,) = [row for row in subsets if row["cell"] == "cnn" and row["metric"] == "AP:Short"]
    assert (nothing["value"], nothing["low"], nothing["difference"]) == ("", "", "")
    (share,) = [r for r in found if r["section"] == "contributions" and (r["cell"], r["metric"]) == ("ocr", "AP:War")]
    assert float(share["value"]) == pytest.approx(0.1)
    (constant,) = [r for r in found if r["section"] == "constant" and r["metric"] == "macro_f1"]
    assert float(constant["value"]) == small.constant["macro_f1"]
    # 7 cells, 3 branches and the constant, each with 3 metrics and 4 genres.
    assert len(found) == (7 + 3 + 1) * 7


def test_csv_repeats_a_value_for_every_comparison(rich):
    found = [r for r in rows_of(rich) if r["cell"] == "shuffled-ocr" and r["metric"] == "macro_f1"]
    assert [row["against"] for row in found] == [rich.reference, "cnn-style-yolo"]
    assert len({row["value"] for row in found}) == 1


def test_json_is_plain_and_whole(small):
    plain = json.loads(json.dumps(to_json(small), allow_nan=False))
    (cnn,) = [cell for cell in plain["cells"] if cell["name"] == "cnn"]
    assert cnn["metrics"]["mean_average_precision"]["value"] == pytest.approx(0.91 / 3)
    assert cnn["by_genre"]["Short"] == {"value": None, "ci95": None, "standard_error": None, "p_value": None}
    assert cnn["comparisons"][0]["adjusted"].keys() == small.constant.keys()
    assert plain["provenance"]["seeds"] == [0, 1, 2]
    assert plain["contributions"][0]["branch"] == "cnn"


def test_latex_is_escaped_and_well_formed(rich):
    text = tables_latex(all_tables(rich, groups(rich)), "ablation")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == len(all_tables(rich, groups(rich)))
    assert r"posters\_50\%, test: 1116 posters; 5 seeds (0-4); commit 2a103b0" in text
    assert not re.search(r"(?<!\\)[_#]", text.replace("tab:ablation", ""))
    for block in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.DOTALL):
        columns = len(re.match(r"\\begin\{tabular\}\{([lr]+)\}", block)[1])
        body = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body} == {columns}
        assert block.count("{") == block.count("}")
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels))
    assert all(part in text for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\textbf{gate = srm (best)}"))
    assert r"$-$.013 & $-$.019 to $-$.007" in text
    assert text.isascii()


def test_latex_escapes_everything_special():
    assert escape("a_b & 5 % {x} ~ ^ # $ \\") == (
        r"a\_b \& 5 \% \{x\} \textasciitilde{} \textasciicircum{} \# \$ \textbackslash{}"
    )
    assert escape("-.004 to +.006, R-precision 0-4") == "$-$.004 to $+$.006, R-precision 0-4"
    assert escape("< .001 ↑ –") == r"$<$ .001 $\uparrow$ --"


def test_markdown_keeps_a_bar_inside_its_cell():
    table = TableBlock("Title", ["model", "mAP"], [["a | b\nc", ".1"]], note="note")
    assert "| a \\| b c | .1 |" in block_markdown(table)
    assert r"a $|$ b" in table_latex(table, "t")


def test_missing_seeds_are_said(small):
    cells = tuple(replace(c, seeds=(0, 2)) if c.name == "cnn" else c for c in small.cells)
    result = replace(small, cells=cells)
    labels = [row[0] for row in cells_table(result, group(result, "subsets", "retrain")).rows]
    assert "cnn (2 of 3 seeds)" in labels


def test_one_seed_needs_no_column_of_seeds(truth, all_subsets):
    world = truth(effects={"cnn": (0.2,), "ocr": (0.1,)}, genres=("Drama",), support=(300,), seeds=(7,))
    all_subsets(world)
    result = world.result()
    table = cells_table(result, group(result, "subsets", "retrain"))
    assert "mAP by seed" not in table.header
    assert "1 seed (7)" in table.note


def test_many_seeds_are_a_range(truth, all_subsets):
    world = truth(effects={"cnn": (0.2,), "ocr": (0.1,)}, genres=("Drama",), support=(300,), seeds=tuple(range(7)))
    all_subsets(world)
    result = world.result()
    table = cells_table(result, group(result, "subsets", "retrain"))
    values = result.cell("cnn").by_seed["mean_average_precision"]
    shown = {row[0]: row[-1] for row in table.rows}["cnn"]
    assert shown == f"7 seeds, {min(values):.3f} to {max(values):.3f}".replace("0.", ".")


def test_a_genre_without_posters_spoils_no_mean(small):
    assert math.isnan(small.cell("cnn").by_genre["Short"].value)
    assert not math.isnan(small.cell("cnn").metrics["mean_average_precision"].value)
