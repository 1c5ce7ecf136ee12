from __future__ import annotations

import pytest

from mmposter.data import prepare
from mmposter.data.sources import read_source
from mmposter.errors import UserError

HEADER = "Id,Genre,Drama,Sci-Fi,War"


@pytest.fixture
def table(tmp_path):
    def make(*lines, header=HEADER):
        path = tmp_path / "train.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return make


def test_rows_and_the_places_of_pictures(table, make_poster, tmp_path):
    beside = make_poster(tmp_path / "tt1.jpg", 1)
    inside = make_poster(tmp_path / "Images" / "tt2.jpeg", 2)
    lines = ["tt1,\"['Drama', 'War']\",1,0,1", 'tt2,"Sci-Fi, War",0.0,1.0,1.0', "tt3,Drama,1,0,0"]
    found = read_source(table(*lines), "onehot")
    assert [row.genres for row in found.rows] == [("Drama", "War"), ("Sci-Fi", "War"), ("Drama",)]
    assert [row.path for row in found.rows] == [beside.resolve(), inside.resolve(), None]
    assert found.rows[2].absence == "there is no tt3.jpg beside the table, in its folder Images or in --posters"
    assert not found.issues


def test_pictures_in_the_folder_of_posters(table, make_poster, tmp_path):
    source = table("tt1,Drama,1,0,0", "tt2,War,0,0,1", "tt3,War,0,0,1")
    make_poster(tmp_path / "tt1.jpg", 1)
    make_poster(tmp_path / "elsewhere" / "tt2.png", 2)
    report = prepare(
        source, tmp_path / "data", format="onehot", posters=tmp_path / "elsewhere", ratios=(1, 0, 0), quiet=True
    )
    assert (report.kept, report.dropped, report.links) == (2, {"missing_poster": 1}, {})
    assert not (tmp_path / "data" / "dead_links.csv").exists()


def test_the_columns_win_over_the_list(table):
    found = read_source(table("tt1,\"['Drama']\",1,0,1", "tt2,,1,0,0", "tt3,drama,1,0,0", "tt4,Noir,0,0,0"), "onehot")
    assert [row.genres for row in found.rows] == [("Drama", "War"), ("Drama",), ("Drama",), ()]
    assert [(issue.kind, issue.id, issue.message) for issue in found.issues] == [
        ("genres_disagree", "tt1", "line 2: Genre says Drama, the columns say Drama, War"),
        ("genres_disagree", "tt4", "line 5: Genre says Noir, the columns say none"),
    ]


def test_bad_rows_are_named_by_their_line(table):
    lines = [
        "tt1,Drama,1,0",
        ",Drama,1,0,0",
        "../tt2,Drama,1,0,0",
        "tt3,Drama,1,2,0",
        "tt4,Drama,1,,0",
        "tt5,War,0,0,1",
    ]
    found = read_source(table(*lines), "onehot")
    assert [row.problem for row in found.rows] == [
        "line 2 has 4 fields, the first line has 5",
        "line 3 has no Id",
        "line 4: the Id '../tt2' is no file name",
        "line 5: Sci-Fi is '2', neither 0 nor 1",
        "line 6: Sci-Fi is '', neither 0 nor 1",
        None,
    ]


def test_other_columns_are_no_genres(table):
    header = ",Unnamed: 0,Id,Title,Year,Score,Drama,War,Split"
    lines = ["0,0,tt1,One,1999,7.5,1,0,train", "1,1,tt2,Two,2001.0,6.5,0,1,test"]
    found = read_source(table(*lines, header=header), "onehot")
    assert [row.genres for row in found.rows] == [("Drama",), ("War",)]
    assert [(row.title, row.year, row.split) for row in found.rows] == [("One", 1999, "train"), ("Two", 2001, "test")]
    assert [(issue.kind, issue.id) for issue in found.issues] == [("ignored_column", "Score")]


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("Id,Genre", ["tt1,Drama"], "has no column of 0 and 1"),
        ("Name,Drama", ["tt1,1"], "has no column Id"),
        (HEADER, [], "has no rows"),
    ],
)
def test_unusable_tables(table, header, lines, message):
    with pytest.raises(UserError, match=message):
        read_source(table(*lines, header=header), "onehot")


def test_a_table_of_this_kind_is_recognised(table):
    with pytest.raises(UserError, match=r"looks like --format onehot\."):
        read_source(table("tt1,Drama,1,0,0"), "csv")
