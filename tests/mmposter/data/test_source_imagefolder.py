from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmposter.data import Dataset, prepare
from mmposter.data.sources import read_source
from mmposter.errors import UserError


@pytest.fixture
def folder(tmp_path, make_poster):
    """Two training pictures and a test picture, no metadata yet."""
    for number, name in enumerate(["train/a.jpg", "train/more/b.jpg", "test/c.jpg"]):
        make_poster(tmp_path / "set" / name, number)
    return tmp_path / "set"


ROWS = [
    {"file_name": "train/a.jpg", "genres": ["Drama", "War"], "title": "A", "year": 1999},
    {"file_name": "train/more/b.jpg", "genres": ["Drama"], "title": None, "year": None},
    {"file_name": "test/c.jpg", "genres": ["Sci-Fi"], "title": "C", "year": 2001},
]


def write(folder, kind, rows=ROWS):
    path = folder / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [
            ",".join([row["file_name"], "|".join(row["genres"]), row["title"] or "", str(row["year"] or "")])
            for row in rows
        ]
        path.write_text("\n".join(["file_name,genres,title,year", *lines]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_one_file_of_metadata(folder, kind, tmp_path):
    write(folder, kind)
    found = read_source(folder, "imagefolder")
    assert [(row.id, row.genres, row.title, row.year, row.split) for row in found.rows] == [
        ("train/a.jpg", ("Drama", "War"), "A", 1999, "train"),
        ("train/more/b.jpg", ("Drama",), None, None, "train"),
        ("test/c.jpg", ("Sci-Fi",), "C", 2001, "test"),
    ]
    assert all(row.path.is_file() for row in found.rows)
    prepare(folder, tmp_path / "data", format="imagefolder", quiet=True)
    data = Dataset.load(tmp_path / "data")
    assert dict(zip(data.table["id"], data.table["split"], strict=True)) == {
        "test/c.jpg": "test", "train/a.jpg": "train", "train/more/b.jpg": "train",
    }  # fmt: skip


def test_metadata_in_each_folder_names_files_relative_to_itself(folder):
    (folder / "train" / "metadata.jsonl").write_text(
        '{"file_name": "a.jpg", "label": "Drama; War", "split": "val"}\n{"file_name": "more/b.jpg", "label": "War"}\n'
    )
    (folder / "test" / "metadata.csv").write_text("file_name,labels,id\nc.jpg,\"['Sport', 'War']\",tt9\n")
    rows = {row.id: row for row in read_source(folder, "imagefolder").rows}
    assert rows["train/a.jpg"].genres == ("Drama", "War")
    assert rows["train/a.jpg"].split == "val"
    assert rows["train/more/b.jpg"].split == "train"
    assert (rows["tt9"].genres, rows["tt9"].path.name, rows["tt9"].split) == (("Sport", "War"), "c.jpg", "test")


def test_what_is_broken_is_named_and_nothing_is_lost(folder):
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "train/a.jpg", "genres": ["War"]}\nno json\n[1]\n\n{"genres": ["War"]}\n'
        '{"file_name": "../../etc/passwd", "genres": []}\n{"file_name": "gone.jpg", "genres": ["War"]}\n'
    )
    rows = read_source(folder, "imagefolder").rows
    assert [row.problem for row in rows[:6]] == [
        None,
        rows[1].problem,
        "metadata.jsonl line 3 is no object",
        "metadata.jsonl line 5 has no file_name",
        "metadata.jsonl line 6: file_name '../../etc/passwd' lies outside the folder",
        None,
    ]
    assert rows[1].problem.startswith("metadata.jsonl line 2 is damaged")
    assert not rows[5].path.exists()
    assert {row.id for row in rows if not row.has_record} == {"train/more/b.jpg", "test/c.jpg"}


def test_bad_rows_of_a_csv(folder):
    (folder / "metadata.csv").write_text("file_name,genres\ntrain/a.jpg,War\ntest/c.jpg\n")
    rows = read_source(folder, "imagefolder").rows
    assert rows[1].problem == "metadata.csv line 3 has 1 fields, the first line has 2"


def test_pictures_that_are_links_into_a_cache(folder, make_poster, tmp_path):
    blob = make_poster(tmp_path / "blobs" / "0a1b.jpg", 7)
    (folder / "train" / "d.jpg").symlink_to(blob)
    write(folder, "jsonl", [*ROWS, {"file_name": "train/d.jpg", "genres": ["War"]}])
    row = read_source(folder, "imagefolder").rows[3]
    assert (row.id, row.problem) == ("train/d.jpg", None)
    assert row.path.is_file()


def test_two_files_in_one_folder(folder):
    write(folder, "csv")
    write(folder, "parquet")
    found = read_source(folder, "imagefolder")
    assert len(found.rows) == 3
    assert [(issue.kind, issue.id) for issue in found.issues] == [("ignored_file", "metadata.parquet")]


def test_classes_by_folders(tmp_path, make_poster):
    names = ["train/Drama/1.jpg", "validation/War/2.jpg", "test/Drama/3.jpg"]
    for number, name in enumerate(names):
        make_poster(tmp_path / "set" / name, number)
    found = read_source(tmp_path / "set", "imagefolder")
    assert {row.id: (row.genres, row.split) for row in found.rows} == {
        "test/Drama/3.jpg": (("Drama",), "test"),
        "train/Drama/1.jpg": (("Drama",), "train"),
        "validation/War/2.jpg": (("War",), "validation"),
    }
    report = prepare(tmp_path / "set", tmp_path / "data", format="imagefolder", quiet=True)
    assert report.splits == {"train": 1, "val": 1, "test": 1}
    flat = {row.id: (row.genres, row.split) for row in read_source(tmp_path / "set" / "train", "imagefolder").rows}
    assert flat == {"Drama/1.jpg": (("Drama",), None)}


def test_unusable_folders(folder, tmp_path, make_poster):
    make_poster(tmp_path / "plain" / "1.jpg", 1)
    with pytest.raises(
        UserError, match=r"no folders named as genres.\nFor pictures without genres use --format folder"
    ):
        read_source(tmp_path / "plain", "imagefolder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture and no metadata"):
        read_source(tmp_path / "empty", "imagefolder")
    with pytest.raises(UserError, match="needs a folder"):
        read_source(tmp_path / "plain" / "1.jpg", "imagefolder")
    (folder / "metadata.csv").write_text("file,genres\na,b\n")
    with pytest.raises(UserError, match="has no column file_name; its columns: file, genres"):
        read_source(folder, "imagefolder")
    (folder / "metadata.csv").write_text("file_name,text\na,b\n")
    with pytest.raises(UserError, match=r"has no column genres \(or genre, labels, label\)"):
        read_source(folder, "imagefolder")
    (folder / "metadata.csv").unlink()
    (folder / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_source(folder, "imagefolder")
    with pytest.raises(UserError, match=r"looks like --format imagefolder\."):
        read_source(folder, "mmimdb")
