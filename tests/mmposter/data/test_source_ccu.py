from __future__ import annotations

import pytest

from mmposter.data.sources import read_source
from mmposter.data.sources.ccu import parse_records
from mmposter.errors import UserError


def kinds(found):
    return {kind: [issue.id for issue in found.issues if issue.kind == kind] for kind in {i.kind for i in found.issues}}


def test_reads_the_published_layout(ccu):
    ccu.record("tt1", "Drama, Sci-Fi", title="Zurück", actors="Ann Bee, Cé Dé")
    path = ccu.poster("tt1", 1)
    found = read_source(ccu.root, "ccu")
    (row,) = found.rows
    assert (row.id, row.path, row.title, row.year) == ("tt1", path.resolve(), "Zurück", 1985)
    assert row.genres == ("Drama", "Sci-Fi")
    assert row.actors == ("Ann Bee", "Cé Dé")
    assert found.labelled
    assert not found.issues


def test_not_available_is_no_title_and_no_actor_but_a_raw_genre(ccu):
    ccu.record("tt1", "N/A", title="N/A")
    (row,) = read_source(ccu.root, "ccu").rows
    assert (row.title, row.actors, row.genres, row.path) == (None, (), ("N/A",), None)


def test_object_id_inside_a_text_stays_a_text():
    text = '{"_id" : ObjectId("a1"), "Title" : "my ObjectId(\\"x\\") film", "imdbID" : "tt1"}'
    ((_, record, problem),) = parse_records(text)
    assert problem is None
    assert record == {"_id": "a1", "Title": 'my ObjectId("x") film', "imdbID": "tt1"}


@pytest.mark.parametrize(
    "bad",
    [
        '{\n  "imdbID" : "tt2",\n  "Title" : "no end\n}',
        '{\n  "imdbID" : "tt2",\n  "Genre" : }',
        '{\n  "imdbID" : "tt2"\n  "Genre" : "Drama"\n}',
        '{\n  "imdbID" : "tt2",',
    ],
    ids=["missing quote", "missing value", "missing comma", "cut off"],
)
def test_malformed_record_is_named_and_reading_goes_on(ccu, bad):
    ccu.record("tt1", "Drama")
    ccu.raw(bad)
    ccu.record("tt3", "Comedy")
    found = read_source(ccu.root, "ccu")
    assert [row.id for row in found.rows] == ["tt1", "tt3"]
    assert kinds(found) == {"bad_record": ["tt2"]}
    assert "1985.txt line 8: not JSON" in found.issues[0].message
    assert list(found.records.values()) == [3, 2, 0, 1]


def test_malformed_last_record_and_stray_text(ccu):
    ccu.raw("hello")
    ccu.record("tt1", "Drama")
    ccu.raw('{ "Title" : ')
    found = read_source(ccu.root, "ccu")
    assert [row.id for row in found.rows] == ["tt1"]
    assert kinds(found) == {"bad_record": ["1985.txt:1", "1985.txt:9"]}


def test_record_without_id_is_bad(ccu):
    ccu.raw('{"Title" : "Nobody", "Genre" : "Drama"}')
    ccu.raw('{"Title" : "Nobody", "imdbID" : 7}')
    found = read_source(ccu.root, "ccu")
    assert not found.rows
    assert [issue.message for issue in found.issues] == [
        "1985.txt line 1: it has no imdbID",
        "1985.txt line 2: it has no imdbID",
    ]


def test_second_record_of_an_id_is_counted_and_the_first_used(ccu):
    ccu.record("tt1", "Drama", year=1985)
    ccu.record("tt1", "Drama", year=1985)
    ccu.record("tt1", "Horror", year=1990)
    found = read_source(ccu.root, "ccu")
    (row,) = found.rows
    assert (row.genres, row.year) == (("Drama",), 1985)
    assert kinds(found) == {"duplicate_record": ["tt1", "tt1"]}
    assert "(same genres); the one of 1985 is used" in found.issues[0].message
    assert "(other genres); the one of 1985 is used" in found.issues[1].message
    assert list(found.records.values()) == [3, 1, 2, 0]


def test_poster_in_two_year_folders_gives_two_rows_own_year_first(ccu):
    ccu.record("tt1", "Drama", year=1990)
    other, own = ccu.poster("tt1", 1, year=1985), ccu.poster("tt1", 2, year=1990)
    assert [row.path for row in read_source(ccu.root, "ccu").rows] == [own.resolve(), other.resolve()]


def test_poster_without_a_record_is_a_row(ccu):
    ccu.record("tt1", "Drama")
    ccu.poster("tt9", 1, year=1999)
    rows = {row.id: row for row in read_source(ccu.root, "ccu").rows}
    assert rows["tt1"].has_record
    assert rows["tt1"].path is None
    assert not rows["tt9"].has_record
    assert rows["tt9"].year == 1999


def test_damaged_encoding_is_an_issue(ccu):
    ccu.record("tt1", "Drama")
    path = ccu.root / "Movie_Poster_Metadata" / "groundtruth" / "1985.txt"
    path.write_bytes(path.read_bytes() + b"\x41")  # half a sign at the end
    found = read_source(ccu.root, "ccu")
    assert [row.id for row in found.rows] == ["tt1"]
    assert found.issues[0].kind == "bad_encoding"


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(
        UserError, match=r"no folder Movie_Poster_Dataset and no folder Movie_Poster_Metadata/groundtruth"
    ):
        read_source(tmp_path, "ccu")


@pytest.mark.shared
def test_real_metadata_add_up(shared_ccu):
    found = read_source(shared_ccu, "ccu")
    assert found.records == {
        "records in the text": 6198,
        "movies": 6189,
        "duplicate records": 9,
        "malformed records": 0,
    }
    with_poster = [row for row in found.rows if row.path is not None]
    assert len(with_poster) == 5638
    assert len(found.rows) - len(with_poster) == 551
    assert all(row.has_record and row.year and row.title for row in with_poster)
    empire = next(row for row in found.rows if row.id == "tt0080684")
    assert empire.actors[:2] == ("Mark Hamill", "Harrison Ford")
