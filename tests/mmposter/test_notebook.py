"""What a notebook shows of an object is whole, escaped HTML that loads nothing and sets no colour of a text."""

from __future__ import annotations

import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import mmposter.progress as progress_module
from mmposter import Dataset, PosterClassifier, Prediction, Run, Vocabulary, build_plan, load_config, train
from mmposter.data import PrepareReport
from mmposter.progress import progress
from mmposter.readiness.states import BranchState
from mmposter.report.evaluation_text import metric_rows

SCORES = {"Drama": 0.25, "<i>War</i>": 0.75, "News": 0.5, "Comedy": 0.125, **{f"g{i}": 0.01 * i for i in range(5)}}


class Cells(HTMLParser):
    """The rows of all tables, all text, all tags; every tag must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.strong: set[str] = set()
        self.tags: Counter[str] = Counter()
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self._is_strong = "strong" in (dict(attrs).get("class") or "")
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
            if self._is_strong:
                self.strong.add(self.rows[-1][0])


def shown(thing) -> Cells:
    page = thing._repr_html_()
    assert not re.search(r"https?:|url\(|@import|\ssrc=|<script|<link", page)
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert not re.search(r"(?<![-\w])(color|background(-color)?)\s*:", style)  # the theme's own are kept
    assert " style=" not in page
    return Cells(page)


def test_a_prediction_shows_what_is_given_and_what_comes_next():
    found = shown(Prediction("posters/a<b>&.jpg", ["<i>War</i>", "News"], SCORES))
    assert found.rows[1:] == [
        ["<i>War</i>", "0.750", "█" * 15],
        ["News", "0.500", "█" * 10],
        ["Drama", "0.250", "█" * 5],
        ["Comedy", "0.125", "█" * 2],
        ["g4", "0.040", "█"],
        ["g3", "0.030", "█"],
        ["g2", "0.020", ""],
    ]
    assert found.strong == {"<i>War</i>", "News"}
    assert not found.tags["i"]
    assert not found.tags["b"]
    assert "a<b>&.jpg: <i>War</i>, News" in found.text
    assert "2 more below 0.020" in found.text


def test_a_poster_that_cannot_be_used_shows_why():
    found = shown(Prediction("x.jpg", error="truncated: <b>12</b> bytes"))
    assert "truncated: <b>12</b> bytes" in found.text
    assert not found.tags["b"]
    assert not found.rows


@pytest.mark.parametrize(
    ("prediction", "text"),
    [
        (Prediction("posters/gladiator.jpg", ["News"], SCORES), "<Prediction gladiator.jpg: News 0.500>"),
        (Prediction(None, [], SCORES), "<Prediction untitled: no genre>"),
        (Prediction("x.jpg", error="truncated:\n12 bytes"), "<Prediction x.jpg: error: truncated: 12 bytes>"),
        (Prediction("x", ["News"], SCORES, "ocr: no"), "<Prediction x: News 0.500; error: ocr: no>"),
    ],
)
def test_a_prediction_is_one_short_line_in_a_list(prediction, text):
    assert str([prediction, prediction]) == f"[{text}, {text}]"


def dataset(**more) -> Dataset:
    table = pd.DataFrame({"split": ["train", "train", "val", "none"], "genres": [["A"], ["A", "<b>"], ["<b>"], ["A"]]})
    return Dataset(Path("data/<i>"), Path("posters"), table, Vocabulary("v", ("A", "<b>", "C")), more)


def test_a_dataset_counts_posters_by_split_and_genre():
    found = shown(dataset())
    assert found.rows[3:] == [
        ["", "all", "train", "val", "none"],
        ["posters", "4", "2", "1", "1"],
        ["A", "3", "2", "0", "1"],
        ["<b>", "2", "1", "1", "0"],
        ["C", "0", "0", "0", "0"],
    ]
    assert not found.tags["b"]
    assert not found.tags["i"]
    assert "features alone" in shown(dataset(pictures=False)).text
    assert shown(dataset().split("test")).rows[-1] == ["C", "0"]


def test_a_dataset_without_genres_shows_too():
    one = dataset()
    bare = Dataset(one.folder, one.root, one.table, None, {})
    assert shown(bare).rows[-1] == ["posters", "4", "2", "1", "1"]


def test_what_prepare_did_adds_up():
    report = PrepareReport(
        passed_over=(),
        out=Path("out"), posters_found=9, without_poster=1, kept=7, dropped={"too_small": 2, "missing_poster": 1},
        issues={}, records={}, splits={"train": 4, "val": 1, "test": 2}, near_duplicate_groups=0,
        near_duplicate_posters=0, titles={}, links={}, unknown_genres={"Zombie": 2}, notes=("Zombie 2 & more",),
        downloaded=0, sources={}, seconds=1.0,
    )  # fmt: skip
    found = shown(report)
    assert "7 of 10 posters kept" in found.text
    counts = {row[0]: int(row[1]) for row in found.rows if row[0].startswith(("kept, ", "dropped, "))}
    assert counts["dropped, too_small"] == 2
    assert "Zombie 2 & more" in found.text
    assert sum(counts.values()) == 10


def test_a_training_its_run_and_its_model_show_themselves(world, tmp_path):
    config = world.config("train.epochs=1", branches="cnn,style")
    result = train(config, world.dataset, tmp_path / "r&d", device="cpu", offline=True, quiet=True)
    found = shown(result)
    assert [row for row in found.rows if row[0] == "mAP"] == [metric_rows(result.validation)[0]]
    assert ["epochs", "1, the best on validation: 1"] in found.rows
    run = Run.load(tmp_path / "r&d")
    assert repr(run) == f"<Run {tmp_path / 'r&d'}: cnn, style; 4 genres>"
    assert ["branches", "cnn, style"] in shown(run).rows
    classifier = PosterClassifier.load(run.folder, branches=["cnn"], device="cpu", offline=True)
    assert repr(classifier) == "<PosterClassifier r&d: cnn; on cpu>"
    assert ["left out", "style"] in shown(classifier).rows
    classifier.left_out = (BranchState("style", "missing", "", lacking=("<weights>",)),)
    assert ["left out", "style (not here: <weights>)"] in shown(classifier).rows


def test_a_plan_lists_its_cells():
    plan = build_plan(load_config(None, [], branches="cnn,ocr"), grid="subsets", mode="both")
    found = shown(plan)
    assert [row[3] for row in found.rows[1:]] == [", ".join(cell.branches) for cell in plan.cells]
    assert f"{len(plan.cells)} cells, 3 trainings a seed" in found.text


@pytest.fixture
def outputs(monkeypatch):
    """What a notebook holds of a cell: a list of outputs, each with all that was ever shown in it."""
    made: list[list[dict[str, str]]] = []

    def display(data, *, raw, display_id):
        assert raw
        assert display_id
        made.append([data])
        return SimpleNamespace(update=lambda data, *, raw: made[-1].append(data))

    monkeypatch.setattr(progress_module.console, "is_jupyter", True)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return made


def test_progress_in_a_notebook_is_one_line(outputs, capfd, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress_module, "_clock", lambda: clock.now)
    with progress("<train>", 1000, done=200) as ticker:
        for _ in range(800):
            clock.now += 0.01
            ticker.advance(note="<b>")
    assert len(outputs) == 1
    assert len(outputs[0]) < 25  # 8 s, twice a second
    assert outputs[0][0]["text/plain"] == "<train>: 200/1000"
    assert outputs[0][-1]["text/plain"] == "<train>: 1000/1000 (100/s) <b>"
    assert '<progress value="1000" max="1000">' in outputs[0][-1]["text/html"]
    assert "&lt;train&gt;" in outputs[0][-1]["text/html"]
    assert "<b>" not in outputs[0][-1]["text/html"]
    assert capfd.readouterr() == ("", "")


def test_progress_that_is_stopped_shows_how_far_it_came(outputs):
    def stopped() -> None:
        with progress("work", 10) as ticker:
            ticker.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert outputs[0][-1]["text/plain"].startswith("work: 3/10")


def test_quiet_is_quiet_in_a_notebook_too(outputs):
    with progress("work", 2, quiet=True) as ticker:
        ticker.advance(2)
    assert outputs == []
    assert ticker.done == 2
