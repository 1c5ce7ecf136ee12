"""Films without a poster: read from a table, kept from whatever is measured on, beside the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmposter.data import Dataset, prepare
from mmposter.data.titles import TITLES, choose_titles, read_titles_file
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError

VOCABULARY = Vocabulary("tiny", ("Comedy", "Drama"), {"News": None})


def manifest(*rows: tuple[str, str | None, int | None, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["id", "title", "year", "split"])
    return table.assign(year=table["year"].astype("Int32"))


def write(folder: Path, text: str) -> Path:
    path = folder / "titles.csv"
    path.write_text(text)
    return path


def chosen(path: Path, table: pd.DataFrame):
    return choose_titles(read_titles_file(path), table, VOCABULARY)


POSTERS = manifest(
    ("tt0000001", "Heat", 1995, "train"),
    ("tt0000002", "The Godfather", 1972, "test"),
    ("tt0000003", "Amélie", 2001, "val"),
)


def test_a_film_that_is_measured_on_is_left_out_by_its_id_and_by_its_title_of_any_year(tmp_path):
    path = write(
        tmp_path,
        "imdb_id,title,year,genres\n"
        "tt0000002,Mario Puzo's The Godfather,1972,Drama\n"
        "tt0000009,The godfather!,2031,Drama\n"
        "tt0000008,AMELIE,,Comedy\n"
        "tt0000001,Heat,1995,Drama\n"
        "tt0000007,Jaws,1975,Drama|Comedy\n",
    )
    titles, out = chosen(path, POSTERS)
    assert titles.titles == ("Heat", "Jaws")
    assert titles.years == (1995, 1975)
    assert out == {"measured_on": 3}
    np.testing.assert_array_equal(titles.labels(VOCABULARY), [[0, 1], [1, 1]])


def test_an_id_within_a_poster_s_own_id_is_found_too(tmp_path):
    table = manifest(("posters/tt0000002.jpg", None, None, "test"))
    titles, out = chosen(write(tmp_path, "id,title,genres\ntt0000002,Any,Drama\n"), table)
    assert not len(titles)
    assert out == {"measured_on": 1}


def test_rows_that_cannot_teach_are_counted_by_reason(tmp_path):
    path = write(
        tmp_path,
        "title,year,genres\nJaws,1975,Drama\nJAWS,1975,Comedy\nJaws,1980,Comedy\nOdd,1990,News\nNone,1990,\n,1990,Drama\n"
        "Long,1990,Drama,more\n",
    )
    titles, out = chosen(path, POSTERS)
    assert [*zip(titles.titles, titles.years, strict=True)] == [("Jaws", 1975), ("Jaws", 1980)]
    assert out == {"bad_row": 2, "double": 1, "no_genre": 2}


@pytest.mark.parametrize("text", ["name,genres\nJaws,Drama\n", "title,year\nJaws,1975\n"])
def test_a_table_without_title_or_genres_is_refused_with_what_is_needed(tmp_path, text):
    with pytest.raises(UserError, match="Needed: title, genres"):
        read_titles_file(write(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="--titles takes a table"):
        read_titles_file(tmp_path / "none.csv")


@pytest.fixture
def source(make_csv) -> Path:
    lines = [f"film{number}.jpg,{'Drama' if number % 2 else 'Comedy'},Film {number}" for number in range(12)]
    return make_csv(["image,genres,title", *lines], {f"film{number}.jpg": number for number in range(12)})


def prepared(source: Path, out: Path, **more) -> Dataset:
    prepare(source, out, format="csv", quiet=True, **more)
    return Dataset.load(out)


def test_they_lie_beside_the_manifest_and_change_nothing_in_it(source, tmp_path):
    table = write(tmp_path, "title,genres\nA film of its own,Drama\nAnother one,Comedy\n")
    without = prepared(source, tmp_path / "without")
    within = prepared(source, tmp_path / "with", titles=table)
    assert without.titles is None
    assert within.titles is not None
    assert within.titles.titles == ("A film of its own", "Another one")
    assert within.info["manifest_sha256"] == without.info["manifest_sha256"]
    assert within.info["counts"]["titles"] == {"kept": 2}
    assert "Films without a poster" in (tmp_path / "with" / "report.md").read_text()


def test_they_may_come_later_and_go_again(source, tmp_path):
    table, out = write(tmp_path, "title,genres\nA film of its own,Drama\n"), tmp_path / "data"
    assert prepared(source, out).titles is None
    assert prepared(source, out, titles=table).titles is not None
    assert prepared(source, out).titles is None
    assert not (out / TITLES).exists()


def test_a_file_that_was_changed_is_refused(source, tmp_path):
    table, out = write(tmp_path, "title,genres\nA film of its own,Drama\n"), tmp_path / "data"
    prepared(source, out, titles=table)
    (out / TITLES).write_bytes(b"PAR1 and more")
    with pytest.raises(UserError, match="prepare the data again"):
        _ = Dataset.load(out).titles
    info = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps({**info, "titles": {"films": 1}}))
    with pytest.raises(UserError, match="prepare the data again"):
        _ = Dataset.load(out).titles


def test_posters_without_genres_take_no_titles(tmp_path, source):
    table = write(tmp_path, "title,genres\nA film of its own,Drama\n")
    with pytest.raises(UserError, match="this source has none"):
        prepare(source.parent, tmp_path / "data", format="folder", titles=table, quiet=True)
