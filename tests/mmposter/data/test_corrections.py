"""`prepare --corrections`: genres mended by hand, and nothing else moved."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.data import Dataset, prepare
from mmposter.data.corrections import apply_corrections, read_corrections
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError

WORDS = Vocabulary("tiny", ("Drama", "War", "Sci-Fi"))


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": ["a", "b", "more/a", "=x"],
            "genres": [["Drama"], ["War"], ["Drama", "War"], ["War"]],
            "raw_genres": [["Drama"], ["War"], ["Drama", "War"], ["War"]],
            "split": ["train", "test", "train", "val"],
            "source": ["ccu", "ccu", "more", "ccu"],
        }
    )


def applied(tmp_path: Path, *lines: str, header: str = "id,source,action,add,remove", words: Vocabulary = WORDS):
    file = tmp_path / "corrections.csv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return apply_corrections(read_corrections(file), table(), words, "ccu")


def test_genres_are_added_removed_and_kept(tmp_path):
    found, counts, issues = applied(
        tmp_path, "a,,fix,science fiction,Drama", "b,,keep,,", "a,more,fix,,War", "'=x,,fix,Drama|Sci-Fi,War"
    )
    assert list(found["genres"]) == [["Sci-Fi"], ["War"], ["Drama"], ["Drama", "Sci-Fi"]]
    assert counts == {"changed": 3, "changed, train": 2, "changed, val": 1, "kept": 1}
    assert issues == []
    assert found.drop(columns="genres").equals(table().drop(columns="genres")), "split and raw genres stay"


def test_all_genres_may_be_given_at_once(tmp_path):
    found, counts, _ = applied(tmp_path, "b,fix,War;Drama", "a,fix,Drama", header="id,action,genres")
    assert list(found["genres"])[:2] == [["Drama"], ["Drama", "War"]]
    assert counts == {"changed": 1, "changed, test": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("none,,fix,War,", "correction_unknown_id", "no poster that was kept has this id"),
        ("b,more,fix,Drama,", "correction_unknown_id", "in source more"),
        ("b,,fix,Darma,", "correction_unknown_genre", "has no genre Darma (did you mean Drama?)"),
        ("b,,fix,,War", "correction_not_possible", "without a genre"),
        ("b,,fix,War,War", "correction_not_possible", "added and removed"),
        ("b,,dance,,", "correction_bad_row", "action must be fix or keep, got dance"),
        ("b,,fix,,", "correction_bad_row", "needs add, remove or genres"),
        (",,fix,War,", "correction_bad_row", "names no id"),
        ("b,,fix", "correction_bad_row", "3 fields, the first line has 5"),
    ],
)
def test_a_row_that_cannot_be_applied_is_named_and_changes_nothing(tmp_path, line, kind, message):
    found, counts, issues = applied(tmp_path, line)
    assert list(found["genres"]) == list(table()["genres"])
    assert counts == {kind: 1}
    assert issues[0].kind == kind
    assert message in issues[0].message


def test_the_first_of_two_corrections_of_a_poster_is_used(tmp_path):
    found, counts, issues = applied(tmp_path, "a,,fix,War,", "a,,fix,War,", "a,,fix,Sci-Fi,")
    assert found["genres"][0] == ["Drama", "War"]
    assert counts == {"changed": 1, "changed, train": 1, "correction_twice": 1}
    assert issues[0].message.startswith("line 4")


def test_where_a_poster_has_one_genre_it_gets_no_second(tmp_path):
    one = Vocabulary("one", WORDS.genres, labels="first")
    _, counts, issues = applied(tmp_path, "a,,fix,War,", "b,,fix,Drama,War", words=one)
    assert counts == {"changed": 1, "changed, test": 1, "correction_not_possible": 1}
    assert "one genre in this vocabulary" in issues[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "is no file"), ("", "has no column id and no column action"), ("id,action\n", "no rows")],
)
def test_a_file_that_is_no_table_of_corrections_is_refused(tmp_path, text, message):
    file = tmp_path / "corrections.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_corrections(file)


@pytest.fixture
def catalogue(poster_files: Callable[[int], list[Path]]) -> Path:
    paths = poster_files(16)
    file = paths[0].parent / "posters.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "genres"])
        writer.writerows([path.name, ("Drama", "Comedy", "Drama|War")[number % 3]] for number, path in enumerate(paths))
    return file


def test_prepare_mends_genres_and_moves_no_poster(catalogue: Path, tmp_path: Path):
    plain, out = tmp_path / "plain", tmp_path / "mended"
    prepare(catalogue, plain, format="csv", quiet=True)
    before = Dataset.load(plain).table
    held_out = before[before["split"] == "test"].iloc[0]
    file = tmp_path / "corrections.csv"
    file.write_text(f"id,action,add,remove\n{held_out['id']},fix,Horror,\nnobody.png,fix,Horror,\n")
    typed = ["prepare", str(catalogue), "--format", "csv", "--out", str(out), "--corrections", str(file)]
    done = CliRunner().invoke(app, typed)
    assert done.exit_code == 0, done.output
    assert "corrections: changed, test" in done.output
    assert "nobody.png" in done.output
    after = Dataset.load(out).table
    assert after.drop(columns="genres").equals(before.drop(columns="genres"))
    changed = [row_id for row_id, a, b in zip(after["id"], before["genres"], after["genres"], strict=True) if a != b]
    assert changed == [held_out["id"]]
    mended = after[after["id"] == held_out["id"]].iloc[0]
    assert set(mended["genres"]) == {*held_out["genres"], "Horror"}
    assert list(mended["raw_genres"]) == list(held_out["raw_genres"])
    report = (out / "report.md").read_text()
    assert "## Corrections" in report
    assert "nobody.png" in (out / "issues.csv").read_text()
    manifest = (out / "manifest.parquet").read_bytes()
    assert CliRunner().invoke(app, typed).exit_code == 0, "the same again gives the same"
    assert (out / "manifest.parquet").read_bytes() == manifest
    with pytest.raises(UserError, match="corrections"):
        prepare(catalogue, out, format="csv", quiet=True)
