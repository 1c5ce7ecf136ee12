"""A spreadsheet runs no cell of a table that we write, and our own readers take such a table back."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmposter
from mmposter.data.pipeline import prepare
from mmposter.data.sources.csv_table import read_csv
from mmposter.files.atomic import write_csv
from mmposter.files.spreadsheets import guarded, table_text, unguarded
from mmposter.inference.predictions import PredictionFile
from mmposter.inference.task import Prediction
from mmposter.serve.page_downloads import as_csv
from mmposter.serve.schema import PosterAnswer, PredictAnswer

ROOT = Path(mmposter.__file__).parent
FORMULA = "=cmd|' /C calc'!A0"
SIGNS = tuple("=+-@\t\r\n＝＋－＠")


def runs(cell: str) -> bool:
    """Whether a spreadsheet may take the cell for a formula: OWASP's list, and quotes or blanks before it."""
    try:
        float(cell)
    except ValueError:
        return cell.lstrip(" \"'").startswith(SIGNS) and not cell.startswith("'")
    return False


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]


@pytest.mark.parametrize(
    "text",
    [FORMULA, "+1+1", "-1+1", "-poster.jpg", "@SUM(A1)", "\tx", "\r=x", "\n=x", " =x", '"=x', '" =x', "＝x", "-", "+"],
)
def test_a_formula_gets_a_quote_that_reading_takes_away(text: str) -> None:
    assert runs(text)
    assert guarded(text) == f"'{text}"
    assert not runs(guarded(text))
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("value", ["-0.084", "+3", "-1e-05", "-.5", "-12.", "-inf", "Alien", "'Round", "", "a=b"])
def test_numbers_and_ordinary_texts_stay(value: str) -> None:
    assert guarded(value) == value
    assert unguarded(value) == value


@given(st.text(alphabet=st.sampled_from(list("=+-@'\" \t\r\nab1.e")), max_size=8))
def test_every_text_comes_back(text: str) -> None:
    written = table_text(["a", "b"], [[text, -0.5]])
    assert not any(runs(cell) for cell in cells(written))
    assert unguarded(cells(written)[2]) == text
    assert cells(written)[3] == "-0.5"


def test_the_tables_of_predictions_are_guarded(tmp_path: Path) -> None:
    with PredictionFile(tmp_path / "out.csv") as file:
        file.write(Prediction(FORMULA, ["+Drama"], {"+Drama": 0.5}))
        file.write(Prediction("@b.jpg", error="-broken"))
    text = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert not any(runs(cell) for cell in cells(text))
    assert f"'{FORMULA}" in cells(text)
    assert {"'+Drama", "'-broken", "0.5"} <= set(cells(text))


def test_the_table_of_the_page_is_guarded() -> None:
    poster = PosterAnswer(name=FORMULA, genres=["-x"], scores={"-x": 0.5}, error=None)
    answer = PredictAnswer(model="m", branches=["cnn"], thresholds={"-x": 0.5}, posters=[poster])
    assert not any(runs(cell) for cell in cells(as_csv(answer)))


def test_the_tables_of_prepare_are_guarded_and_read_back(tmp_path: Path, poster_files) -> None:  # type: ignore[no-untyped-def]
    good = poster_files(3)
    (tmp_path / "posters" / "=cmd.jpg").write_bytes(b"nothing")
    rows = [[path.name, "Drama", path.stem] for path in good] + [["=cmd.jpg", "=Genre", "@id"]]
    (tmp_path / "posters" / "posters.csv").write_text(table_text(["image", "genres", "title"], rows), encoding="utf-8")
    found = read_csv(tmp_path / "posters" / "posters.csv")
    assert [row.id for row in found.rows][-1] == "=cmd.jpg"
    assert found.rows[-1].title == "@id"
    source = tmp_path / "posters" / "posters.csv"
    prepare(source, tmp_path / "data", format="csv", vocabulary="raw28", allow_unknown=True, quiet=True)
    for name in ("dropped.csv", "issues.csv"):
        text = (tmp_path / "data" / name).read_text(encoding="utf-8")
        assert not any(runs(cell) for cell in cells(text)), name
    assert "'=cmd.jpg" in (tmp_path / "data" / "dropped.csv").read_text(encoding="utf-8")


def test_curves_stay_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "metrics.csv", [{"step": 1, "loss": -0.25, "=x": "+y"}])
    assert cells((tmp_path / "metrics.csv").read_text(encoding="utf-8")) == ["step", "loss", "'=x", "1", "-0.25", "'+y"]


def test_no_other_code_writes_csv() -> None:
    """One writer, so that none can forget it."""
    found = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Attribute) and ast.unparse(node) in ("csv.writer", "csv.DictWriter")
            frame = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "to_csv"
            if (named or frame) and path.name != "spreadsheets.py":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_a_name_that_is_no_utf8_is_dropped_with_its_reason(tmp_path: Path, poster_files) -> None:  # type: ignore[no-untyped-def]
    good = poster_files(2)
    odd = bytes(good[0].parent / "odd") + b"\xff.jpg"
    with open(odd, "wb") as file:
        file.write(good[0].read_bytes()[:-1])
    report = prepare(good[0].parent, tmp_path / "data", format="folder", quiet=True)
    assert report.kept == 2
    assert report.dropped == {"bad_row": 1}
    assert "odd\\udcff.jpg" in (tmp_path / "data" / "dropped.csv").read_text(encoding="utf-8")
