"""The files of a report: all there, whole, and honest about what is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from mmposter.report.ablation import findings, write_report
from mmposter.report.ablation.method import method

pytestmark = pytest.mark.figures


def heading_ids(html: str) -> list[str]:
    return re.findall(r'<section id="([^"]+)"', html)


def test_every_file_is_written_and_the_page_holds_every_figure(small, tmp_path):
    files = write_report(small, tmp_path / "out")
    names = [path.relative_to(tmp_path / "out").as_posix() for path in files]
    assert names[:5] == ["ablation.html", "ablation.md", "ablation.csv", "ablation.tex", "ablation.json"]
    assert all(path.stat().st_size for path in files)
    assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == sorted(files)
    html, text = files[0].read_text(), files[1].read_text()
    pictures = [name for name in names if name.startswith("plots/")]
    assert len(pictures) == len(set(pictures)) == html.count("<figure>") == 4
    assert re.findall(r"\]\((plots/.*?)\)", text) == pictures
    # Nothing is loaded, and no figure hides a picture that the page's own policy would block.
    assert not re.search(r'(src|href)="(?!#)|url\((?!#)|@import|<script|<image|<img', html)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert heading_ids(html) == ["findings", "subsets", "branches", "genres", "method", "configuration"]
    for sentence in findings(small):
        assert f"- {sentence}" in text
        assert sentence.split("“")[0][:40] in html
    assert json.loads(files[4].read_text())["reference"] == "cnn-style-ocr"
    for fact in ("posters_50%", "2a103b0", "mmposter ablate posters_50% --grid subsets", "3 seeds (0-2)", "head: sum"):
        assert fact in text
        assert fact in html.replace("<span>", "").replace("</span>", "")  # around an option, which no line may part


def test_the_same_result_gives_the_same_page(small, tmp_path):
    pages = [write_report(small, tmp_path / name)[0].read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_html_escapes_names(small, tmp_path):
    strange = replace(small, cells=tuple(replace(c, label="<b>&") if c.name == "cnn" else c for c in small.cells))
    html = write_report(strange, tmp_path)[0].read_text()
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html


@pytest.mark.slow
def test_a_rich_report_has_all_its_parts_in_order(rich, tmp_path):
    files = write_report(rich, tmp_path)
    html = files[0].read_text()
    order = ["findings", "subsets", "branches", "genres", "controls", "axes", "modes", "method", "configuration"]
    assert heading_ids(html) == order
    pictures = [path.stem for path in files if path.suffix == ".png"]
    assert html.count("<figure>") == len(pictures)
    for name in (
        "subsets-retrain",
        "modes",
        "genres-mask",
        "controls-retrain-differences",
        "train-learning-rate-retrain",
    ):
        assert name in pictures
    assert "No poster of this split has: War." in html


def test_an_unfinished_result_says_so_on_top_and_lists_what_is_missing(small, tmp_path):
    partial = replace(
        small,
        cells=small.cells[:3],
        contributions=(),
        unfinished={"ocr, seed 1": "stopped", "cnn, ocr, seed 0": "not trained yet"},
    )
    files = write_report(partial, tmp_path)
    html, text = files[0].read_text(), files[1].read_text()
    assert heading_ids(html)[-1] == "unfinished"
    note = "UNFINISHED: 2 of the plan{}s trainings are missing (listed at the end)"
    assert f'<p class="lead">{note.format("&#39;")}' in html
    assert text.split("\n\n")[1].startswith(note.format("'"))
    for page in (html, text):
        assert "cnn, ocr, seed 0: not trained yet" in page


def test_one_cell_alone_and_none_at_all_still_give_a_report(small, tmp_path):
    only = write_report(replace(small, cells=small.cells[:1], contributions=()), tmp_path / "one")
    assert heading_ids(only[0].read_text()) == ["findings", "method", "configuration"]
    none = write_report(replace(small, cells=(), contributions=(), unfinished={"all": "stopped"}), tmp_path / "none")
    assert "Nothing yet: no cell can be compared." in none[0].read_text()


def test_a_missing_reference_breaks_nothing(small, tmp_path):
    files = write_report(replace(small, cells=small.cells[1:], contributions=()), tmp_path)
    assert "(reference)" not in files[1].read_text()
    assert "cnn, ocr" in files[1].read_text()


def test_the_method_is_ten_sentences_that_fit_the_seeds(small):
    many = method(small)
    assert len(many) == 10
    assert "3 seeds (0-2)" in many[0]
    one = method(replace(small, provenance=replace(small.provenance, seeds=(4,))))
    assert "with one seed the luck of training cannot be known" in " ".join(one)
    assert "cannot be known" not in " ".join(many)


def test_the_report_loads_no_heavy_library_before_it_draws():
    code = (
        "import sys, mmposter.report.ablation as r; r.findings; "
        "print([m for m in ('matplotlib', 'torch', 'sklearn', 'pandas', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
