from __future__ import annotations

import csv

import pytest

from mmposter.data.sources import read_source
from mmposter.errors import UserError

HEADER = ",Unnamed: 0,imdbId,Imdb Link,Title,IMDB Score,Genre,Poster"
LINK = "https://images.example/M/a@@._V1_CR5,0,182,268_AL_.jpg"


def table(tmp_path, *lines, header=HEADER, encoding="utf-8", end="\n"):
    path = tmp_path / "MovieGenre.csv"
    path.write_bytes(end.join([header, *lines, ""]).encode(encoding))
    return path


def line(movie="160905", title="Spooky House (2002)", genre="Comedy|Family", poster=LINK, index=0):
    return f'{index},5224,{movie},http://www.imdb.com/title/tt160905,{title},5.4,{genre},"{poster}"'


def test_a_row_as_it_is_in_the_wild(tmp_path):
    (row,) = read_source(table(tmp_path, line()), "kaggle").rows
    assert (row.id, row.title, row.year, row.genres) == ("tt0160905", "Spooky House", 2002, ("Comedy", "Family"))
    assert (row.url, row.path, row.problem) == (LINK, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", "tt0000005"), ("160905", "tt0160905"), ("4175088", "tt4175088"), ("10175088", "tt10175088"),
        ("tt0160905", "tt0160905"), ("160905.0", "tt0160905"), ("0160905", "tt0160905"),
    ],
)  # fmt: skip
def test_ids_are_written_as_imdb_does(tmp_path, text, expected):
    assert read_source(table(tmp_path, line(text)), "kaggle").rows[0].id == expected


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Mezzo Forte", "Mezzo Forte", None),
        ("1984 (1956)", "1984", 1956),
        ("Rome (2005–2007)", "Rome", 2005),
        ("Title (Part 2) (1999)", "Title (Part 2)", 1999),
        ("Title (Part 2)", "Title (Part 2)", None),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("", None, None),
    ],
)
def test_titles_and_years(tmp_path, text, title, year):
    row = read_source(table(tmp_path, line(title=text)), "kaggle").rows[0]
    assert (row.title, row.year) == (title, year)


def test_bad_rows_are_named_by_their_line_and_none_is_lost(tmp_path):
    lines = [
        line(),
        "1,2,3",
        line(movie=""),
        line(movie="unknown"),
        line(movie="2", poster=""),
        line(movie="3", poster="file:///etc/passwd"),
        line(movie="4", poster="http://[broken"),
        line(movie="5", title='"Never closed'),
        line(movie="6"),
        line(movie="7", genre=""),
    ]
    found = read_source(table(tmp_path, *lines), "kaggle")
    assert len(found.rows) == len(lines)
    assert {row.id: row.problem or row.absence for row in found.rows if row.problem or row.absence} == {
        "line 3": "line 3 has 3 fields, the first line has 8",
        "line 4": "line 4 has no imdbId",
        "line 5": "line 5 has the imdbId 'unknown', which is no number",
        "tt0000002": "line 6 has no link to a poster",
        "tt0000003": "line 7: 'file:///etc/passwd' is no link of http or https",
        "tt0000004": "line 8: 'http://[broken' is no link of http or https",
        # The stray quote reaches into the link, which has commas.
        "tt0000005": "line 9: '268_AL_.jpg\"' is no link of http or https",
    }
    assert [row.id for row in found.rows if row.url] == ["tt0160905", "tt0000006", "tt0000007"]


@pytest.mark.parametrize(
    ("encoding", "title"),
    [("utf-8", "Chíé – €"), ("utf-8-sig", "Chíé – €"), ("cp1252", "Chíé – €"), ("latin-1", "Chíé\x81")],
)
def test_encodings(tmp_path, encoding, title):
    found = read_source(table(tmp_path, line(title=title + " (1962)"), encoding=encoding), "kaggle")
    assert found.rows[0].title == title
    assert len(found.issues) == (not encoding.startswith("utf"))


def test_line_ends_of_windows_and_no_index_columns(tmp_path):
    header = "imdbId,Imdb Link,Title,IMDB Score,Genre,Poster"
    found = read_source(table(tmp_path, line().split(",", 2)[2], header=header, end="\r\n"), "kaggle")
    assert [(row.id, row.url) for row in found.rows] == [("tt0160905", LINK)]


def test_tables_that_are_another_kind_say_what_they_look_like(tmp_path, make_csv):
    with pytest.raises(UserError, match="no column poster; ") as error:
        read_source(table(tmp_path, "1,Drama", header="imdbId,Genre"), "kaggle")
    assert "looks like" not in str(error.value)
    own = make_csv(["image,genres", "1.jpg,Drama"], {})
    with pytest.raises(UserError, match=r"looks like --format csv\."):
        read_source(own, "kaggle")
    with pytest.raises(UserError, match=r"no column image.*(\n.*)+looks like --format kaggle\."):
        read_source(table(tmp_path, line()), "csv")
    with pytest.raises(UserError, match=r"'kagle' is unknown.*\n.*looks like --format kaggle\."):
        read_source(table(tmp_path, line()), "kagle")
    with pytest.raises(UserError, match="needs the table file"):
        read_source(tmp_path, "kaggle")
    with pytest.raises(UserError, match="no rows"):
        read_source(table(tmp_path), "kaggle")


@pytest.mark.shared
def test_the_real_table(shared_root):
    source = shared_root / "data" / "kaggle" / "MovieGenre_sample.csv"
    with source.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    found = read_source(source, "kaggle")
    assert len(found.rows) == len(records) > 1000
    assert not found.issues
    for row, record in zip(found.rows, records, strict=True):
        assert int(row.id.removeprefix("tt")) == int(record["imdbId"])
        assert (row.problem, row.url) == (None, record["Poster"])
        assert "|".join(row.genres) == record["Genre"]
        assert record["Title"].startswith(row.title)
        assert row.year is None or record["Title"] == f"{row.title} ({row.year})"
    assert sum(row.year is not None for row in found.rows) > 0.98 * len(records)
