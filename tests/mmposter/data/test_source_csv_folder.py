from __future__ import annotations

import importlib
import inspect

import pytest

from mmposter.data.sources import FORMATS, format_help, read_source, source_formats
from mmposter.errors import UserError


def test_csv_reads_all_columns(make_csv):
    path = make_csv(
        ["Title,Image,GENRES,id,year,split,actors,other", 'One,a/1.jpg,"Drama, Sci-Fi",x1,1999.0,train,Ann|Bo,9'],
        {"a/1.jpg": 1},
    )
    (row,) = read_source(path, "csv").rows
    assert (row.id, row.title, row.year, row.split) == ("x1", "One", 1999, "train")
    assert row.genres == ("Drama", "Sci-Fi")
    assert row.actors == ("Ann", "Bo")
    assert row.path == (path.parent / "a/1.jpg").resolve()


@pytest.mark.parametrize("genres", ["Drama|War", '"Drama,War"', "Drama;War", "Drama| War |Drama|"])
def test_csv_genre_separators(make_csv, genres):
    (row,) = read_source(make_csv(["image,genres", f"1.jpg,{genres}"], {}), "csv").rows
    assert row.genres == ("Drama", "War")
    assert row.id == "1.jpg"  # no id column: the image is the id


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_column_separator_is_found(make_csv, separator):
    (row,) = read_source(make_csv([f"image{separator}genres", f"1.jpg{separator}Drama|War"], {}), "csv").rows
    assert row.genres == ("Drama", "War")


def test_csv_absolute_image(make_csv, make_poster, tmp_path):
    image = make_poster(tmp_path / "elsewhere" / "1.jpg", 1)
    (row,) = read_source(make_csv(["image,genres", f"{image},Drama"], {}), "csv").rows
    assert row.path == image


def test_csv_bad_rows_are_named_by_line(make_csv):
    lines = [
        "image,genres,year",
        "1.jpg,Drama,1999",
        "",
        '2.jpg,"Dra',
        'ma",1999',
        "3.jpg,Drama",
        ",Drama,1999",
        "4.jpg,War,soon",
    ]
    found = read_source(make_csv(lines, {}), "csv")
    assert [(row.id, row.problem) for row in found.rows] == [
        ("1.jpg", None),
        ("2.jpg", None),
        ("3.jpg", "line 6 has 2 fields, the first line has 3"),
        ("line 7", "line 7 names no image"),
        ("4.jpg", None),
    ]
    assert [(issue.kind, issue.id) for issue in found.issues] == [("bad_year", "4.jpg")]


def test_csv_latin1_is_read_and_said(make_csv):
    path = make_csv(["image,genres,title"], {})
    path.write_bytes(path.read_bytes() + "1.jpg,Drama,Zurück\n".encode("latin-1"))
    found = read_source(path, "csv")
    assert found.rows[0].title == "Zurück"
    assert found.issues[0].kind == "bad_encoding"


def test_csv_byte_order_mark(make_csv):
    path = make_csv(["image,genres", "1.jpg,Drama"], {})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_source(path, "csv").rows[0].id == "1.jpg"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["picture,genres", "1.jpg,Drama"], r"no column image; its columns: picture, genres"),
        (["a", "1"], r"no column image and no column genres"),
        (["image,genres"], r"has a first line and no rows"),
    ],
)
def test_csv_unusable_tables(make_csv, lines, message):
    with pytest.raises(UserError, match=message):
        read_source(make_csv(lines, {}), "csv")


def test_folder_takes_every_picture(make_poster, tmp_path):
    for name in ("b.png", "a/1.jpg", "b/1.jpg", "b/.hidden.jpg"):
        make_poster(tmp_path / name, 1)
    (tmp_path / "notes.txt").write_text("no picture")
    found = read_source(tmp_path, "folder")
    assert [row.id for row in found.rows] == ["a/1.jpg", "b/1.jpg", "b.png"]
    assert not found.labelled
    assert {row.genres for row in found.rows} == {()}


def test_folder_without_pictures(tmp_path):
    with pytest.raises(UserError, match="no picture below"):
        read_source(tmp_path, "folder")


@pytest.mark.parametrize("format", ["csv", "folder"])
def test_wrong_kind_of_source(make_csv, tmp_path, format):
    source = tmp_path if format == "csv" else make_csv(["image,genres"], {})
    with pytest.raises(UserError, match=f"format {format} needs"):
        read_source(source, format)


def test_unknown_format_lists_the_registry(tmp_path):
    assert source_formats() == ["ccu", "csv", "folder", "imagefolder", "kaggle", "mmimdb", "nfo", "onehot", "parquet"]
    with pytest.raises(UserError, match=r"Known: ccu, csv, folder, imagefolder.*--plugin FILE COMMAND"):
        read_source(tmp_path, "kagle")


@pytest.mark.parametrize("name", source_formats())
def test_every_format_says_what_it_is_in_one_line(name):
    text = format_help()[name]
    assert 20 < len(text) < 130
    assert text.endswith(".")
    assert text in inspect.getsource(importlib.import_module(FORMATS[name].read.__module__))


def test_a_quote_that_is_never_closed_costs_one_row(make_csv):
    lines = ["image,genres,title", '1.jpg,Drama,"A', "2.jpg,War,B", "3.jpg,War,C", '4.jpg,"Dra', 'ma",D']
    found = read_source(make_csv(lines, {}), "csv")
    # The first begins a title that would swallow the rest; as a line of its own it still has three fields.
    assert [(row.id, row.title) for row in found.rows] == [
        ("1.jpg", "A"), ("2.jpg", "B"), ("3.jpg", "C"), ("4.jpg", "D"),
    ]  # fmt: skip
    lines[1] = '1.jpg,"Drama,A'
    rows = read_source(make_csv(lines, {}), "csv").rows
    assert [row.problem for row in rows] == ["line 2 has 2 fields, the first line has 3", None, None, None]


def test_csv_cell_beyond_measure_is_an_error_with_its_line(make_csv):
    with pytest.raises(UserError, match=r"is no table at line 3 .*field larger"):
        read_source(make_csv(["image,genres", "1.jpg,Drama", f"2.jpg,{'x' * 200_000}"], {}), "csv")


@pytest.mark.parametrize(
    ("encoding", "issue"),
    [("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("cp1252", "Windows-1252"), ("latin-1", "Latin-1")],
)
def test_encodings_are_told_by_the_file(tmp_path, encoding, issue):
    # 0x81 is no sign of Windows-1252, and a control character of Latin-1.
    title = "Zurück\x81" if encoding == "latin-1" else "Zurück – €"
    path = tmp_path / "posters.csv"
    path.write_bytes(f"image,genres,title\n1.jpg,Drama,{title}\n".encode(encoding))
    found = read_source(path, "csv")
    assert found.rows[0].title == title
    assert [issue.kind for issue in found.issues] == ["bad_encoding"] * (issue is not None)
    assert all(f"read as {issue}" in each.message for each in found.issues)


def test_source_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_source(tmp_path / "nowhere", "csv")
