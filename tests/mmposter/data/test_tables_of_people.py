"""Tables as Excel, Windows and R write them: read_source gives the same rows out of each."""

from __future__ import annotations

import datetime
import io
import zipfile

import openpyxl
import pytest

from mmposter.data.sources import read_source
from mmposter.data.sources.csv_table import looks_like_csv
from mmposter.errors import UserError

ROWS = [
    ("image", "genres", "title", "year"),
    ("000.jpg", "Drama|Comedy", "Film, the first", "1980"),
    ("001.jpg", "Action", "Film é", "1981"),
]
WANTED = [("000.jpg", ("Drama", "Comedy"), "Film, the first", 1980), ("001.jpg", ("Action",), "Film é", 1981)]


def text(separator: str = ",", before: str = "") -> str:
    lines = [separator.join(f'"{cell}"' if "," in cell else cell for cell in row) for row in ROWS]
    return before + "\r\n".join(lines) + "\r\n"


def read(path, data: bytes):
    path.write_bytes(data)
    found = read_source(path, "csv")
    assert looks_like_csv(path)
    return [(row.id, row.genres, row.title, row.year) for row in found.rows], [issue.kind for issue in found.issues]


@pytest.mark.parametrize("separator", [";", "|", "\t", ","])
@pytest.mark.parametrize("line", ["sep={}\r\n", '"sep={}"\n', "SEP={}\r\n"])
def test_the_line_that_names_the_separator(tmp_path, separator, line):
    if separator == "|":  # between columns, so the genres of a cell are parted otherwise
        data = text("|", line.format("|")).replace("Drama|Comedy", "Drama;Comedy")
    else:
        data = text(separator, line.format(separator))
    assert read(tmp_path / "t.csv", data.encode()) == (WANTED, [])


def test_lines_are_still_counted_from_the_first(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\nimage;genres\n1.jpg\n")
    (row,) = read_source(tmp_path / "t.csv", "csv").rows
    assert row.problem == "line 3 has 1 fields, the first line has 2"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", [True, False])
def test_wide_encodings_with_and_without_a_mark(tmp_path, encoding, mark):
    data = text(before="\ufeff" if mark else "").encode(encoding)
    assert read(tmp_path / "t.csv", data) == (WANTED, [] if mark else ["bad_encoding"])


def test_a_blank_before_a_quote(tmp_path):
    data = b'image, genres, title, year\n000.jpg, Drama|Comedy, "Film, the first", 1980\n'
    assert read(tmp_path / "t.csv", data) == (WANTED[:1], [])


def test_backslashes_part_folders_and_stay_inside(tmp_path, make_poster):
    poster = make_poster(tmp_path / "data" / "posters" / "001.jpg", 1)
    odd = make_poster(tmp_path / "data" / r"a\b.jpg", 2)
    make_poster(tmp_path / "secret.jpg", 3)
    names = [r"posters\001.jpg", r"a\b.jpg", r"\posters\001.jpg", r"..\secret.jpg", r"posters\..\..\secret.jpg"]
    names += ["../secret.jpg", "posters/../posters/001.jpg"]
    table = tmp_path / "data" / "t.csv"
    table.write_text("image,genres\n" + "".join(f"{name},Drama\n" for name in names))
    rows = read_source(table, "csv").rows
    assert [row.path for row in rows[:3]] == [poster, odd, poster]
    assert rows[0].id == "posters/001.jpg"
    assert all("outside the table's folder" in str(row.problem) for row in rows[3:6])
    assert [row.path for row in rows[3:6]] == [None] * 3
    assert rows[6].problem is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "an old Excel"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1" * 99, "zero bytes"),
        (b"SQLite format 3\0" + b"\x1b[2J" * 50, "zero bytes"),
        (b"\x1b[2Jimage\x07,\x9b31m\n1,2\n", "no column genres"),
        (b"PK\x03\x04" + b"\x1b[2J" * 50, "Excel"),
    ],
)
def test_what_is_no_table_is_refused_in_words_that_steer_no_terminal(tmp_path, data, words):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(UserError, match=words) as found:
        read_source(tmp_path / "t.csv", "csv")
    assert all(letter.isprintable() or letter == "\n" for letter in str(found.value))


def test_a_message_does_not_name_a_thousand_columns(tmp_path):
    (tmp_path / "t.csv").write_text(",".join(f"column{n}" * 50 for n in range(1000)) + "\n")
    with pytest.raises(UserError) as found:
        read_source(tmp_path / "t.csv", "csv")
    assert len(str(found.value)) < 3000


# --- .xlsx


def workbook(rows, formats=None, *, sheets=1) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    for place, form in (formats or {}).items():
        sheet[place].number_format = form
    for _ in range(sheets - 1):
        book.create_sheet().append(["other"])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["t.xlsx", "t.csv"])
def test_a_workbook_gives_the_rows_of_its_first_sheet(tmp_path, name):
    rows = [ROWS[0], (*ROWS[1][:3], 1980), (None,), (*ROWS[2][:3], 1981.0)]
    assert read(tmp_path / name, workbook(rows, sheets=2)) == (WANTED, ["ignored_sheet"])


def test_cells_are_what_a_person_sees(tmp_path):
    day = datetime.date(1999, 12, 31)
    rows = [
        ["image", "genres", "id", "title", "year"],
        ["1.jpg", "Drama", 111161, 7.5, day],
        ["2.jpg", "Drama", 68646.0, day, 1972],
        ["3.jpg", "Drama", "0050083", True, "=1+1"],
        ["4.jpg", None, 12, 1 / 3, 1999.0],
    ]
    data = workbook(rows, {"C2": "0000000", "C3": "0000000", "D2": "0.00", "E2": "yyyy", "D3": "yyyy-mm-dd"})
    (tmp_path / "t.xlsx").write_bytes(data)
    found = read_source(tmp_path / "t.xlsx", "csv")
    assert [(row.id, row.title, row.year) for row in found.rows] == [
        ("0111161", "7.50", 1999),
        ("0068646", "1999-12-31", 1972),
        ("0050083", "TRUE", None),  # a formula that nobody has computed
        ("12", "0.333333333333333", 1999),
    ]
    assert [row.genres for row in found.rows] == [("Drama",)] * 3 + [()]


def repacked(data: bytes, **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.rpartition("/")[2].partition(".")[0], old.read(name)))
    return stream.getvalue()


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path):
    data = repacked(workbook(ROWS), sheet1=b" " * 140_000_000)
    assert len(data) < 300_000
    (tmp_path / "t.xlsx").write_bytes(data)
    with pytest.raises(UserError, match="a table may have 128 MiB"):
        read_source(tmp_path / "t.xlsx", "csv")


def test_a_workbook_of_wide_or_far_cells_takes_no_memory(tmp_path):
    row = '<row r="{0}"><c r="XFD{0}" t="inlineStr"><is><t>x</t></is></c></row>'
    rows = "".join(row.format(number) for number in (1, 2, 3, 900_000))
    sheet = f'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{rows}'
    (tmp_path / "t.xlsx").write_bytes(repacked(workbook(ROWS), sheet1=f"{sheet}</sheetData></worksheet>".encode()))
    with pytest.raises(UserError, match="no column image"):
        read_source(tmp_path / "t.xlsx", "csv")


def test_entities_that_multiply_are_refused(tmp_path):
    names = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{names}]><sst>&a9;</sst>'
    (tmp_path / "t.xlsx").write_bytes(repacked(workbook(ROWS), sheet1=bomb.encode(), sharedStrings=bomb.encode()))
    with pytest.raises(UserError, match="cannot be read as a table of Excel"):
        read_source(tmp_path / "t.xlsx", "csv")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_workbooks_never_raise_anything_else(tmp_path, seed):
    import random

    draw = random.Random(seed)
    good = workbook(ROWS)
    for _ in range(15):
        data = bytearray(good)
        for _ in range(draw.choice([1, 5, 40])):
            data[draw.randrange(4, len(data))] = draw.randrange(256)
        (tmp_path / "t.xlsx").write_bytes(data[: len(data) if draw.random() < 0.7 else draw.randrange(5, len(data))])
        said = ""
        try:
            assert read_source(tmp_path / "t.xlsx", "csv").rows
        except UserError as error:
            said = str(error)
        assert all(letter.isprintable() or letter == "\n" for letter in said)
