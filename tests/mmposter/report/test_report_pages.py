"""The pages and files of an evaluation and of a comparison hold their numbers, load nothing and have unique ids."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mmposter.document.numbers import p_value as written
from mmposter.document.terminal import print_all
from mmposter.evaluation import METRICS, evaluate
from mmposter.evaluation.comparison import Comparison, compare
from mmposter.evaluation.examination import Examination, examine
from mmposter.evaluation.scored import ScoredPosters, Source
from mmposter.evaluation.thresholds import NEVER, apply_thresholds
from mmposter.files.disk import plain_words
from mmposter.report.comparison import comparison_page, write_comparison
from mmposter.report.comparison_text import differences, explained, headline_runs, to_csv, to_markdown
from mmposter.report.evaluation import evaluation_folder, write_evaluation
from mmposter.report.evaluation_text import genre_rows, whole

GENRES = ("Drama", "Comedy <3", "News")


def scored(seed: int, head: str = "concat") -> ScoredPosters:
    rng = np.random.default_rng(seed)
    target = np.random.default_rng(9).random((80, 3)) < [0.6, 0.4, 0.0]
    target[~target.any(axis=1), 0] = True
    probs = np.clip((0.1 + 0.3 * (head == "gated")) * target + 0.6 * rng.random((80, 3)), 0, 1).astype(np.float32)
    limits = np.array([0.4, 0.45, 0.5])
    source = Source(
        run=f"{head}-{seed}",
        weights="ab" * 32,
        branches=("cnn",),
        config={"seed": seed, "branches": ["cnn"], "fusion": {"head": head}, "regime": "features"},
        data="posters",
        manifest="cd" * 32,
        split="test",
        empty="top1",
        constant={metric.name: 0.125 for metric in METRICS},
        version="0.1",
        commit="0123456789ab+changes",
    )
    ids, groups = tuple(f"tt{i:03}" for i in range(80)), np.array([f"g{i}" for i in range(80)], dtype=object)
    return ScoredPosters(ids, groups, GENRES, target, probs, apply_thresholds(probs, limits, "top1"), limits, source)


def examination(method: str | None = "temperature") -> Examination:
    one, val = scored(0), scored(1)
    result = evaluate(
        one.target, one.probs, one.thresholds, GENRES, train_target=val.target, split="test", n_boot=20,
        groups=one.groups,
    )  # fmt: skip
    return examine(one, result, method=method, fit=(val.target, val.probs))


@pytest.fixture(scope="module")
def found() -> Comparison:
    runs = [scored(0), scored(1), scored(0, "gated"), scored(2, "mean|max")]
    return compare([(one.source.run, one) for one in runs], n_boot=40)


def check_page(page: str, figures: int) -> None:
    assert page.count("<svg ") == figures
    assert not re.search(r"(https?:)?//\w", page)
    assert not re.search(r"<(script|link|img|iframe)\b", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("method", [pytest.param("temperature", marks=pytest.mark.figures), "isotonic", None])
def test_an_evaluation_is_written_whole(tmp_path: Path, method):
    one = examination(method)
    page = write_evaluation(one, tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    text = page.read_text(encoding="utf-8")
    check_page(text, figures=4)
    for name in ("metrics", "genres", "precision-recall", "thresholds", "together", "calibration", "hardest", "source"):
        assert f'<section id="{name}">' in text
    for part in (
        "Comedy &lt;3",
        "cd" * 32,
        "0123456789ab+changes",
        one.hardest[0].id,
        f"{one.evaluation.metrics['macro_f1'].value:.3f}",
        "concat, regime features",
    ):
        assert part in text, part
    assert ("T = " in text) == (method == "temperature")
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == json.loads(json.dumps(one.to_json()))
    assert ScoredPosters.load(tmp_path / "out" / "predictions.parquet").ids == one.scored.ids
    plots = sorted(path.name for path in (tmp_path / "out" / "plots").iterdir())
    assert plots == ["average_precision.png", "precision_recall.png", "reliability.png", "together.png"]
    assert Image.open(tmp_path / "out" / "plots" / "together.png").width == 900
    again = write_evaluation(examination(method), tmp_path / "again")
    assert again.read_bytes() == page.read_bytes()


def single_label() -> Examination:
    """One genre a poster, and no thresholds."""
    one = scored(0)
    target = np.eye(3, dtype=bool)[[0] * 50 + [1] * 30]
    limits = np.full(3, NEVER)
    probs = one.probs / one.probs.sum(axis=1, keepdims=True)
    one = replace(one, target=target, probs=probs, thresholds=limits, decisions=apply_thresholds(probs, limits, "top1"))
    result = evaluate(target, probs, limits, GENRES, train_target=target, split="test", n_boot=20)
    return examine(one, result, titles=[("A film", 1999), *[(None, None)] * 79])


@pytest.mark.figures
def test_single_label_data_have_a_confusion_matrix_in_place_of_what_they_lack(tmp_path: Path):
    one = single_label()
    page = write_evaluation(one, tmp_path / "out").read_text(encoding="utf-8")
    check_page(page, figures=4)
    assert "<image" not in page  # what matplotlib rasterises would be a broken picture in the page
    assert re.findall(r'<section id="([^"]+)">', page) == [
        "metrics", "confusion", "genres", "precision-recall", "calibration", "hardest", "source"
    ]  # fmt: skip
    answered = np.array(one.evaluation.single_label.confusion).sum(axis=0)
    most = answered.argmax()
    assert f"Answered most: {GENRES[most]}".replace("<", "&lt;") in page
    assert f"on {answered[most] / 80 * 100:.1f}\N{NO-BREAK SPACE}% of the posters" in page
    accuracy = one.evaluation.metrics["accuracy"].value
    assert f"accuracy {accuracy:.3f} (" in page  # in the lead
    plots = sorted(path.name for path in (tmp_path / "out" / "plots").iterdir())
    assert plots == ["average_precision.png", "confusion.png", "precision_recall.png", "reliability.png"]
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["single_label"]["confusion"]
    listing = (tmp_path / "out" / "listing.txt").read_text(encoding="utf-8").splitlines()
    assert listing == list(one.listing)
    assert len(listing) == 80
    assert re.fullmatch(r"A film \(1999\)  (.+ \(0\.\d{3}\), ){2}.+ \(0\.\d{3}\)", listing[0])


def test_genres_that_are_true_and_never_answered_are_named(tmp_path: Path):
    one = single_label()
    probs = np.tile(np.array([0.5, 0.3, 0.2], np.float32), (80, 1))
    result = evaluate(one.scored.target, probs, np.full(3, NEVER), GENRES, train_target=one.scored.target, split="x")
    page = write_evaluation(replace(one, evaluation=result), tmp_path).read_text(encoding="utf-8")
    assert "Answered most: Drama, on 100.0" in page
    assert "True of some posters and never answered: Comedy &lt;3." in page


def test_a_folder_that_cannot_be_written_is_a_message(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as end:
        write_evaluation(examination(), tmp_path / "file" / "out")
    assert f"{tmp_path / 'file'} is a file, and a folder is needed there" in str(plain_words(end.value))


def test_folders_of_evaluations_keep_masked_ones_apart():
    assert evaluation_folder(Path("run"), "test") == Path("run/evaluation/test")
    assert evaluation_folder(Path("run"), "val", ("cnn", "yolo")) == Path("run/evaluation/val-cnn-yolo")


@pytest.mark.parametrize("width", [120, 80, 45])
def test_a_narrow_console_moves_columns_below_and_loses_no_number(width: int):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    evaluation = examination().evaluation
    print_all(console, whole(evaluation))
    printed = console.file.getvalue()
    table = printed[printed.index("By genre") : printed.index("- constant:")]
    assert "…" not in table
    for row in genre_rows(evaluation):
        if evaluation.by_genre[row[0]].support:
            assert all(cell in table for cell in row)
        else:
            assert row[0] not in table  # no positive: no number to show
    assert "left out of means over genres: News" in printed.replace("\n", " ")


@pytest.mark.figures
def test_a_comparison_page_holds_every_row_metric_and_genre(found, tmp_path: Path):
    page = write_comparison(found, tmp_path / "out").read_text(encoding="utf-8")
    check_page(page, figures=2)
    assert page == comparison_page(found)
    for row in found.rows[1:]:
        assert f"{row.name} minus concat-0" in page
        estimate = row.difference.metrics["r_precision"]
        assert f"{estimate.value:+.3f} ({estimate.ci95[0]:+.3f} to {estimate.ci95[1]:+.3f})" in page
    assert "constant answer" in page
    assert "0.125" in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.csv", "compare.html", "compare.md"]


def test_csv_holds_the_numbers_of_the_json(found):
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(rows) == len(found.rows) * (len(METRICS) + len(GENRES))
    for row, plain in zip(found.rows, found.to_json()["rows"], strict=True):
        mine = {(line["metric"], line["genre"]): line for line in rows if line["run"] == row.name}
        line = mine["mean_average_precision", ""]
        assert float(line["value"]) == plain["metrics"]["mean_average_precision"]["value"]
        assert [float(line["low"]), float(line["high"])] == plain["metrics"]["mean_average_precision"]["ci95"]
        assert line["seeds"] == " ".join(map(str, row.seeds))
        if plain["difference"] is None:
            assert line["difference"] == line["p_holm"] == ""
        else:
            change = plain["difference"]["metrics"]["mean_average_precision"]
            assert (float(line["difference"]), float(line["p_holm"])) == (change["value"], change["p_holm"])
        assert mine["average_precision", "News"]["value"] == ""  # undefined
        assert float(mine["average_precision", "Drama"]["constant"]) == found.prevalence["Drama"]


def test_markdown_tables_are_whole(found):
    tables = [block for block in to_markdown(found).split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert "mean\\|max" in tables[0]


def test_console_shows_headlines_constant_and_verdicts(found):
    console = Console(width=100, file=io.StringIO(), color_system=None)
    print_all(console, [headline_runs(found), *differences(found), *explained(found)])
    printed = console.file.getvalue()
    for part in ("concat-0", "0,1", "gated-0", "fusion.head=gated", "constant answer", "0.125", "Minus concat-0"):
        assert part in printed
    verdict = found.rows[1].difference.verdict(METRICS[0])
    line = next(line for line in printed.splitlines() if "gated-0" in line and " mAP " in line)
    assert line.split("│")[-2].strip() == verdict == "better"


def test_one_row_alone_has_a_page_too():
    alone = compare([("a", scored(0)), ("b", scored(1))], n_boot=20)
    assert len(alone.rows) == 1
    page = comparison_page(alone)
    check_page(page, figures=1)
    assert "over 2 seeds" in page
    console = Console(width=100, file=io.StringIO(), color_system=None)
    print_all(console, [headline_runs(alone), *differences(alone), *explained(alone)])
    assert "Minus" not in console.file.getvalue() + to_markdown(alone)


def test_too_many_rows_for_one_figure_still_make_a_page(found):
    rows = (*found.rows, *(replace(found.rows[1], name=f"more{number}") for number in range(4)))
    check_page(comparison_page(replace(found, rows=rows)), figures=1)


@pytest.mark.parametrize(("p_value", "text"), [(None, "–"), (0.0004, "<0.001"), (0.001, "0.001"), (1.0, "1.000")])
def test_p_values_say_no_more_than_they_know(p_value, text):
    assert written(p_value) == text
