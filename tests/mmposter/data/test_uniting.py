"""Rows and files of one poster: its genres are those of all of them, and what contradicts is named."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from mmposter.data import Dataset, prepare


def run(source, out, format="csv", **options):
    return prepare(source, out, format=format, quiet=True, workers=2, **options)


def genres_of(out):
    table = Dataset.load(out).table
    return dict(zip(table["id"], table["genres"], strict=True))


def named(out, kind):
    issues = pd.read_csv(out / "issues.csv")
    return issues.loc[issues["kind"] == kind, "message"].tolist()


@pytest.mark.parametrize("order", [1, -1])
def test_one_row_a_poster_and_genre(make_csv, tmp_path, order):
    rows = [f"{number}.jpg,{genre}" for number in range(6) for genre in ("Drama", "Science Fiction", "Drama")]
    source = make_csv(["image,genres", *rows[::order]], {f"{number}.jpg": number for number in range(6)})
    report = run(source, tmp_path / "data")
    assert genres_of(tmp_path / "data") == {f"{number}.jpg": ["Drama", "Sci-Fi"] for number in range(6)}
    assert report.dropped == {"united": 6, "duplicate_id": 6}
    assert report.kept + sum(report.dropped.values()) == report.posters_found
    assert "rows united with another of the same poster: 6, such as" in "\n".join(report.notes)
    assert "| united | 6 |" in report.report_path.read_text()


def test_one_row_a_genre_in_other_formats(make_poster, tmp_path):
    for number in range(3):
        make_poster(tmp_path / "posters" / f"tt000000{number}.jpg", number)
        make_poster(tmp_path / "set" / f"{number}.jpg", number)
    lines = [f"{number},{genre},https://images.example/x.jpg" for number in range(3) for genre in ("Drama", "War")]
    table = tmp_path / "MovieGenre.csv"
    table.write_text("\n".join(["imdbId,Genre,Poster", *lines]) + "\n")
    run(table, tmp_path / "kaggle", "kaggle", posters=tmp_path / "posters")
    lines = [f"{number}.jpg,{genre}" for number in range(3) for genre in ("Drama", "War")]
    (tmp_path / "set" / "metadata.csv").write_text("\n".join(["file_name,label", *lines]) + "\n")
    run(tmp_path / "set", tmp_path / "folder", "imagefolder")
    for out in ("kaggle", "folder"):
        assert set(map(tuple, genres_of(tmp_path / out).values())) == {("Drama", "War")}


def test_equal_rows_stay_duplicates(make_csv, tmp_path):
    lines = ["image,genres,title", "0.jpg,Drama|War,A", "0.jpg,War|Drama,a ", "0.jpg,War,", "1.jpg,War,B"]
    report = run(make_csv(lines, {"0.jpg": 0, "1.jpg": 1}), tmp_path / "data")
    assert (report.dropped, report.issues, report.notes) == ({"duplicate_id": 2}, {}, ())


def test_rows_of_one_id_that_contradict_are_named(make_csv, tmp_path):
    lines = [
        "id,image,genres,title,year,split",
        "a,0.jpg,Drama,One,1999,train",
        "b,1.jpg,War,Two,2000,",
        "a,0.jpg,Comedy,Other,2001,test",
        "b,2.jpg,Horror,Two,2000,",
        "b,copy/1.jpg,Sport,Two,2000,train",
    ]
    source = make_csv(lines, {f"{number}.jpg": number for number in range(3)})
    (source.parent / "copy").mkdir()
    shutil.copy(source.parent / "1.jpg", source.parent / "copy" / "1.jpg")
    report = run(source, tmp_path / "data")
    # The picture is the same, so its genres are united; another picture of the id gives none.
    assert genres_of(tmp_path / "data") == {"a": ["Comedy", "Drama"], "b": ["Sport", "War"]}
    assert report.dropped == {"united": 2, "duplicate_id": 1}
    assert named(tmp_path / "data", "contradiction") == [
        "row 3 says title Other, row 1 One, which is used",
        "row 3 says year 2001, row 1 1999, which is used",
        "row 3 says split test, row 1 train, which is used",
    ]
    (message,) = named(tmp_path / "data", "genres_differ")
    assert message.startswith("row 4: the id is there before, in row 2, with another picture")
    assert message.endswith("genres differ: kept War, here Horror")
    assert [note.split(":")[0].split()[0] for note in report.notes] == ["rows", "genres_differ", "contradiction"]


def test_a_poster_in_two_class_folders(make_poster, tmp_path):
    for number in range(4):
        make_poster(tmp_path / "set" / "Drama" / f"{number}.jpg", number)
    make_poster(tmp_path / "set" / "Comedies" / "other name.jpg", 1)
    make_poster(tmp_path / "set" / "Science Fiction" / "1.jpg", 1)
    make_poster(tmp_path / "set" / "Drama" / "again.jpg", 3)
    report = run(tmp_path / "set", tmp_path / "data", "imagefolder")
    assert genres_of(tmp_path / "data") == {
        "Comedies/other name.jpg": ["Comedy", "Drama", "Sci-Fi"],
        "Drama/0.jpg": ["Drama"],
        "Drama/2.jpg": ["Drama"],
        "Drama/3.jpg": ["Drama"],
    }
    assert report.dropped == {"united": 2, "same_file": 1}
    assert len(report.notes) == 1
    again = run(tmp_path / "set", tmp_path / "one", "imagefolder", vocabulary="single13")
    assert again.dropped == report.dropped
    assert genres_of(tmp_path / "one")["Comedies/other name.jpg"] == ["Comedy"]


def test_a_poster_in_two_class_folders_and_on_two_sides(make_poster, tmp_path):
    for number, name in enumerate(["train/Drama/0.jpg", "train/Drama/1.jpg", "test/War/2.jpg", "validation/War/3.jpg"]):
        make_poster(tmp_path / "set" / name, number)
    make_poster(tmp_path / "set" / "train" / "War" / "0.jpg", 2)
    run(tmp_path / "set", tmp_path / "data", "imagefolder")
    assert len(genres_of(tmp_path / "data")) == 4
    assert named(tmp_path / "data", "contradiction") == ["row 4 says split train, row 1 test, which is used"]


def test_one_picture_under_two_films_is_not_united_and_never_silent(make_csv, make_poster, tmp_path):
    lines = ["image,genres,title", "0.jpg,Drama,One", "1.jpg,War,Two", "2.jpg,War,One", "3.jpg,Drama,Four"]
    source = make_csv(lines, {"0.jpg": 0, "1.jpg": 0, "2.jpg": 0, "3.jpg": 3})
    report = run(source, tmp_path / "data")
    # The ids are no more than file names; the titles tell films apart.
    assert genres_of(tmp_path / "data") == {"0.jpg": ["Drama", "War"], "3.jpg": ["Drama"]}
    assert report.dropped == {"same_file": 1, "united": 1}
    assert report.issues == {"genres_differ": 1}
    assert any(note.startswith("genres_differ 1") for note in report.notes)
    lines = ["id,image,genres", "x,0.jpg,Drama", "y,1.jpg,War"]  # two films by their ids
    source.write_text("\n".join(lines) + "\n")
    report = run(source, tmp_path / "other")
    assert genres_of(tmp_path / "other") == {"x": ["Drama"]}
    assert named(tmp_path / "other", "genres_differ") == [
        "same bytes as x, which is kept; genres differ: kept Drama, here War"
    ]
