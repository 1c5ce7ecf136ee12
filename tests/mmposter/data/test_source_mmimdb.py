from __future__ import annotations

import json

import pytest

from mmposter.data import Dataset, prepare
from mmposter.data.sources import read_source
from mmposter.errors import UserError


@pytest.fixture
def movies(tmp_path, make_poster):
    """Five movies with pictures in the published layout; `.folder` is where their pairs lie."""
    folder = tmp_path / "mmimdb" / "dataset"
    for number in range(5):
        make_poster(folder / f"000000{number}.jpeg", number)
        record = {
            "title": f"Film {number}",
            "year": 1990 + number,
            "genres": ["Drama", "War"],
            "cast": [{"name": "Ann"}],
        }
        (folder / f"000000{number}.json").write_text(json.dumps(record))
    return tmp_path / "mmimdb"


def test_a_split_of_other_movies_is_refused(movies):
    split(movies, train=["tt0000000", "tt0000001"], dev=["tt0000002"], test=[])
    with pytest.raises(
        UserError, match=r"(?s)names 3 movies, and none.*it has 'tt0000000', the first file is 0000000\.j"
    ):
        read_source(movies, "mmimdb")


def split(folder, **sides):
    (folder / "split.json").write_text(json.dumps(sides))


def test_pairs_with_their_split(movies, tmp_path):
    split(movies, train=["0000000", "0000001"], dev=["0000002"], test=["0000003", "0000004"])
    found = read_source(movies, "mmimdb")
    row = found.rows[1]
    assert (row.id, row.title, row.year, row.genres, row.actors) == (
        "0000001",
        "Film 1",
        1991,
        ("Drama", "War"),
        ("Ann",),
    )
    assert row.path == (movies / "dataset" / "0000001.jpeg").resolve()
    report = prepare(movies, tmp_path / "data", format="mmimdb", quiet=True)
    assert report.splits == {"train": 2, "val": 1, "test": 2}
    table = Dataset.load(tmp_path / "data").table.set_index("id")["split"]
    assert table["0000002"] == "val"


def test_the_folder_of_the_pairs_itself(movies):
    split(movies / "dataset", train=["0000000"])
    found = read_source(movies / "dataset", "mmimdb")
    assert [row.id for row in found.rows] == [f"000000{number}" for number in range(5)]
    assert [row.split for row in found.rows] == ["train", None, None, None, None]


def test_what_is_broken_is_named_and_nothing_is_lost(movies):
    folder = movies / "dataset"
    (folder / "0000000.json").write_text('{"genres": [')
    (folder / "0000001.json").write_text('["Drama"]')
    (folder / "0000002.jpeg").unlink()
    (folder / "0000003.json").unlink()
    (folder / "0000004.json").write_text('{"title": " ", "year": "1994", "genres": null, "cast": ["Bo", {"id": 1}]}')
    rows = {row.id: row for row in read_source(movies, "mmimdb").rows}
    assert len(rows) == 5
    assert "0000000.json is damaged" in rows["0000000"].problem
    assert rows["0000001"].problem == "0000001.json is no object with a list of genres"
    assert (rows["0000002"].path, rows["0000002"].absence) == (None, "there is no picture beside 0000002.json")
    assert rows["0000003"].has_record is False
    last = rows["0000004"]
    assert (last.title, last.year, last.genres, last.actors) == (None, 1994, (), ("Bo",))


def test_a_split_that_does_not_fit_is_counted(movies):
    split(movies, train=["0000000", "0000001", "9999998", "9999999"], test=["0000001"])
    found = read_source(movies, "mmimdb")
    assert [row.split for row in found.rows] == ["train", None, None, None, None]
    assert [(issue.kind, issue.id, issue.message) for issue in found.issues] == [
        ("two_splits", "0000001", "split.json names it in train and in test"),
        ("unknown_split_id", "9999998", "split.json names 2 movies of train without a JSON file, 9999998 first"),
    ]


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), ("[1]", "is no split")])
def test_a_broken_split_is_an_error(movies, text, message):
    (movies / "split.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_source(movies, "mmimdb")


def test_other_folders_and_this_one_under_another_name(movies, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="needs a JSON file and a picture a movie"):
        read_source(tmp_path / "empty", "mmimdb")
    for folder in (movies, movies / "dataset"):
        with pytest.raises(UserError, match=r"looks like --format mmimdb\."):
            read_source(folder, "ccu")
