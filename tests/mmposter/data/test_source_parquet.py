"""Shards of Hugging Face with the pictures inside: read, unpacked once, in bounded memory."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmposter.data import Dataset
from mmposter.data.pipeline import prepare
from mmposter.data.sources import read_source
from mmposter.errors import UserError
from mmposter.images.reading import load_image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = ["Action", "Comedy", "Drama"]


@pytest.fixture
def picture(make_drawn):
    def encoded(number: int, kind: str = "PNG") -> bytes:
        stream = io.BytesIO()
        make_drawn(number).save(stream, kind)
        return stream.getvalue()

    return encoded


def write(path, images, genres, *, metadata=None, kind=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"image": pa.array(images, IMAGE), "genres": pa.array(genres, kind)}
    arrays |= {name: pa.array(values) for name, values in columns.items()}
    table = pa.table(arrays)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": metadata}})})
    pq.write_table(table, path)


def test_shards_become_a_data_set_and_its_pictures_lie_in_it(tmp_path, picture):
    source, out = tmp_path / "hub", tmp_path / "data"
    for shard, first in (("train-00000-of-00002", 0), ("train-00001-of-00002", 3), ("validation-00000-of-00001", 6)):
        images = [{"bytes": picture(n), "path": f"tt{n:04}.png"} for n in range(first, first + 3)]
        write(source / "data" / f"{shard}.parquet", images, [["Drama", "War"]] * 2 + [["Action"]], title=list("abc"))
    report = prepare(source, out, format="parquet", duplicate_distance=0, quiet=True)
    assert (report.kept, report.splits) == (9, {"train": 6, "val": 3})
    dataset = Dataset.load(out)
    assert list(dataset.table["id"])[:2] == ["tt0000", "tt0001"]
    assert dataset.table["genres"][0] == ["Drama", "War"]
    assert dataset.table["title"][1] == "b"
    for row, number in ((0, 0), (8, 8)):
        assert dataset.image_path(row).parent == (out / "posters").resolve()
        assert dataset.image_path(row).read_bytes() == picture(number)
        load_image(dataset.image_path(row))
    before = dataset.image_path(0).stat().st_mtime_ns
    manifest = (out / "manifest.parquet").read_bytes()
    prepare(source, out, format="parquet", duplicate_distance=0, quiet=True)
    assert (out / "manifest.parquet").read_bytes() == manifest
    assert dataset.image_path(0).stat().st_mtime_ns == before  # what is there is not written again


@pytest.mark.parametrize(
    ("feature", "values", "kind"),
    [
        ({"names": NAMES, "_type": "ClassLabel"}, [2, 0, -1], pa.int64()),
        ({"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "Sequence"}, [[2], [0, 1], []], None),
        ([{"names": NAMES, "_type": "ClassLabel"}], [[2], [0, 1], [-1]], None),
    ],
)
def test_numbers_of_a_class_label_are_its_names(tmp_path, picture, feature, values, kind):
    images = [{"bytes": picture(n), "path": None} for n in range(3)]
    path = tmp_path / "test.parquet"
    write(path, images, values, metadata={"genres": feature}, kind=kind)
    rows = read_source(path, "parquet").rows
    assert rows[0].genres == ("Drama",)
    assert rows[1].genres[0] == "Action"
    assert rows[2].genres == ()
    assert [row.id for row in rows] == ["test-000001", "test-000002", "test-000003"]
    assert {row.split for row in rows} == {"test"}


def test_a_label_that_no_name_stands_for_and_ids_that_are_no_names(tmp_path, picture):
    images = [{"bytes": picture(n), "path": "same.png"} for n in range(3)]
    path = tmp_path / "t.parquet"
    write(path, images, [9, 0, 0], metadata={"genres": {"names": NAMES}}, id=["a", "../../x", "c"])
    rows = read_source(path, "parquet").rows
    assert [row.problem for row in rows] == [
        "t.parquet row 1 has the label 9; there are 3, from 0",
        "the id '../../x' cannot be a file's name",
        None,
    ]
    folder = tmp_path / "posters"
    unpack = read_source(path, "parquet").unpack
    assert unpack is not None
    unpack(folder)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["t.parquet", "c.jpg"]


def test_a_row_without_a_picture_and_damaged_ones_are_named(tmp_path, picture):
    images = [{"bytes": picture(n), "path": None} for n in range(4)]
    images += [{"bytes": None, "path": "gone.jpg"}, None, {"bytes": b"no picture", "path": None}]
    write(tmp_path / "t.parquet", images, ["Drama"] * 7)
    report = prepare(tmp_path / "t.parquet", tmp_path / "out", format="parquet", quiet=True)
    assert report.kept == 4
    assert report.dropped == {"missing_poster": 2, "not_an_image": 1}


def test_bytes_alone_are_pictures_too(tmp_path, picture):
    pq.write_table(pa.table({"Image": [picture(1)], "label": ["War"]}), tmp_path / "t.parquet")
    (row,) = read_source(tmp_path / "t.parquet", "parquet").rows
    assert (row.id, row.genres) == ("t-000001", ("War",))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"image": ["a.jpg"], "genres": ["War"]}, "no column of pictures"),
        ({"image": [b"x"], "what": ["War"]}, "no column of genres"),
        ({"image": [b"x"], "label": [3]}, "nothing says which genres they are"),
    ],
)
def test_what_is_no_shard_is_refused(tmp_path, table, words):
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=words):
        read_source(tmp_path / "t.parquet", "parquet")


def test_damaged_and_swollen_shards_are_refused(tmp_path, picture):
    path = tmp_path / "t.parquet"
    for data in (b"", b"PAR1", b"PAR1" + b"\0" * 300 + b"PAR1"):
        path.write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as Parquet"):
            read_source(path, "parquet")
    zeros = pa.table({"image": [bytes(12_000_000)] * 8, "genres": ["War"] * 8})
    pq.write_table(zeros, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="unpacks to"):
        read_source(path, "parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no Parquet file"):
        read_source(tmp_path / "empty", "parquet")


def test_another_format_is_told_what_it_looks_like(tmp_path, picture):
    write(tmp_path / "hub" / "data" / "train-0.parquet", [{"bytes": picture(0), "path": None}], ["War"])
    with pytest.raises(UserError, match="looks like --format parquet"):
        read_source(tmp_path / "hub", "imagefolder")
