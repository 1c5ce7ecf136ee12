"""Names that the vocabulary does not know are said on the terminal, and many of them stop the command."""

from __future__ import annotations

import re
import sys

import pytest

from mmposter.cli import main
from mmposter.data import Dataset, prepare
from mmposter.data.unknown import refuse_unknown, unknown_names
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError

VOCABULARY = Vocabulary.load("posters20")


@pytest.fixture
def source(make_csv):
    """25 posters, of which the first has a name that no vocabulary knows."""
    rows = [f"{number}.jpg,{'Horror|Zombie' if number == 0 else 'Drama'}" for number in range(25)]
    return make_csv(["image,genres", *rows], {f"{number}.jpg": number for number in range(25)})


@pytest.fixture
def run_here(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["mmposter", "prepare", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        _, error = capsys.readouterr()
        return code, " ".join(error.split())

    return call


def test_a_few_are_said_with_counts(source, tmp_path, run_here):
    code, error = run_here(source, "--out", tmp_path / "data", "--format", "csv")
    assert code == 0
    assert "Note: posters with genres that vocabulary 'posters20' does not know" in error
    assert "Zombie 1" in error
    text = (tmp_path / "data" / "report.md").read_text()
    assert re.search(r"## Unknown genre names\n(.*\n)+\| Zombie \| 1 \| 1 \| 0 \|", text)
    assert "the poster stays with Horror" in (tmp_path / "data" / "issues.csv").read_text()


def test_many_are_an_error_that_names_the_nearest(source, tmp_path, run_here):
    rows = source.read_text().replace("1.jpg,Drama", "1.jpg,Dramma|War")
    source.write_text(rows)  # 1.jpg, 11.jpg and 21.jpg
    code, error = run_here(source, "--out", tmp_path / "data", "--format", "csv")
    assert code == 2
    assert "4 of 25 posters (16%) have genres that vocabulary 'posters20' does not know; up to 5% is allowed" in error
    assert "Dramma 3 (did you mean Drama?)" in error
    assert "--allow-unknown" in error
    assert not (tmp_path / "data").exists()
    code, error = run_here(source, "--out", tmp_path / "data", "--format", "csv", "--allow-unknown")
    assert code == 0
    assert "Dramma 3 (did you mean Drama?); Zombie 1" in error
    assert Dataset.load(tmp_path / "data").info["counts"]["unknown_genres"] == {"Dramma": 3, "Zombie": 1}
    # What was allowed is no part of the data: the same command without it is refused for the names alone.
    assert "genres that vocabulary" in run_here(source, "--out", tmp_path / "data", "--format", "csv")[1]


def test_a_mapping_of_ones_own_is_the_way_out(source, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\ngenres: [Horror, Drama]\nmapping: {Zombies: Horror}\n")
    report = prepare(source, tmp_path / "data", format="csv", vocabulary=str(mine), quiet=True)
    assert (report.unknown_genres, report.notes, report.issues) == ({}, (), {})


def test_rows_of_one_poster_count_once():
    # Nineteen good posters of three rows each, one with an odd name in one of its rows: a twentieth of the posters.
    rows = [(str(number), ["Drama"]) for number in range(20) for _ in range(3)]
    rows[0] = ("0", ["Zombie"])
    refuse_unknown(rows, VOCABULARY)
    with pytest.raises(UserError, match=r"2 of 20 posters \(10%\)"):
        refuse_unknown([*rows, ("1", ["Ghoul", "Zombie"])], VOCABULARY)
    refuse_unknown([], VOCABULARY)


def test_names_are_counted_by_what_becomes_of_the_poster():
    found = unknown_names([["Zombie"], ["Zombie", "War"], ["Zombie", "Zombie"], ["Dramma"], ["War"]], VOCABULARY)
    assert [(name.name, name.posters, name.beside, name.nearest) for name in found] == [
        ("Zombie", 3, 1, None),
        ("Dramma", 1, 0, "Drama"),
    ]


def test_a_strangers_names_do_not_fill_the_screen_nor_steer_it():
    names = [[f"\x1b[2J{number}x{number * number}"] for number in range(3000)]
    with pytest.raises(UserError) as error:
        refuse_unknown(((str(place), name) for place, name in enumerate(names)), VOCABULARY)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value).splitlines()) < 20
    assert "and 2990 other names" in str(error.value)
