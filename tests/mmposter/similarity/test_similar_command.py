"""`mmposter similar`: tables, files, and mistakes that are told."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmposter import UserError
from mmposter.cli import app


@pytest.fixture
def run_command(made, tmp_path):
    def run(*arguments):
        fixed = ["--model", made.run, "--branches", "cnn", "--index", tmp_path / "index"]
        words = ["similar", *arguments, *fixed, "--device", "cpu", "--offline", "--workers", "1"]
        return CliRunner().invoke(app, list(map(str, words)))

    return run


def test_a_table_names_the_film_and_what_made_it_near(made, run_command):
    poster = made.dataset.image_path(6)
    result = run_command(poster, "--among", made.dataset.folder, "--count", "24")
    assert result.exit_code == 0, result.output
    assert "nearest to film006" in result.stdout
    first = next(line for line in result.stdout.splitlines() if "Film 6" in line)
    cells = [cell.strip() for cell in first.split("│")[1:-1]]
    assert cells[1:3] == ["1.000", "Film 6 (2000)"]
    assert cells[3] == ", ".join(made.dataset.table["genres"][6])
    assert cells[4:] == ["+1.00"], "no objects were looked for"
    assert "1 of 1 posters without a fault; among 24 posters" in result.stderr


def test_files_hold_every_neighbour_and_every_fault(made, run_command, tmp_path):
    bad = tmp_path / "=bad.jpg"
    bad.write_text("no picture")
    poster = made.dataset.image_path(2)
    asked = [poster, bad, "--among", made.dataset.folder, "--count", "2", "--split", "train", "--out"]
    for name in ("near.csv", "near.jsonl", "near.parquet"):
        result = run_command(*asked, tmp_path / name)
        assert result.exit_code == 0, result.output
        assert "=bad.jpg: not_an_image" in result.stderr
    rows = list(csv.DictReader((tmp_path / "near.csv").open(newline="")))
    assert [row["rank"] for row in rows] == ["1", "2", ""]
    assert {row["split"] for row in rows[:2]} == {"train"}
    assert float(rows[0]["cnn"]) == pytest.approx(float(rows[0]["similarity"]), abs=1e-5)
    assert rows[2]["error"].startswith("not_an_image")
    lines = [json.loads(line) for line in (tmp_path / "near.jsonl").read_text().splitlines()]
    assert [one["id"] for one in lines[0]["nearest"]] == [row["id"] for row in rows[:2]]
    assert lines[0]["saw_nothing"] == []
    assert lines[1]["nearest"] == []
    assert pq.read_table(tmp_path / "near.parquet")["id"].to_pylist() == [*(row["id"] for row in rows[:2]), None]
    result = run_command(*asked, tmp_path / "near.csv")
    assert isinstance(result.exception, UserError)
    assert "near.csv is there already" in str(result.exception)


def test_mistakes_are_told(made, run_command, tmp_path):
    poster = made.dataset.image_path(0)
    data = ["--among", made.dataset.folder]
    for arguments, message in (
        ([poster, *data, "--out", tmp_path / "near.txt"], "--out must end in .csv, .jsonl or .parquet"),
        ([poster, *data, "--by", "genre"], "genre"),
        ([poster, *data, "--split", "tset"], "has no posters of the split 'tset'; it has test, train, val"),
        ([poster, "--among", tmp_path / "nowhere"], "is nothing that posters are in"),
    ):
        result = run_command(*arguments)
        assert isinstance(result.exception, UserError), result.output
        assert message in str(result.exception)
    result = run_command(tmp_path / "nowhere.jpg", *data)
    assert result.exit_code == 1, "no poster could be used"
    assert "nowhere.jpg: missing" in result.stderr
