"""Posters in an object store: read one by one, bounded, and never under --offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmposter.data import Dataset, prepare
from mmposter.errors import BadImageError, UserError
from mmposter.features.extract import StoredPoster, extract
from mmposter.features.table import dataset_posters
from mmposter.images.listing import list_posters
from mmposter.images.reading import load_image
from mmposter.objects import is_object, link_of, list_objects, name_below, read_object


@pytest.mark.parametrize("link", ["s3://films/one.jpg", "gs://films/", "hf://datasets/org/name/one.jpg", "s3://films"])
def test_these_are_objects(link):
    assert is_object(link)


@pytest.mark.parametrize(
    "text",
    [
        "films/one.jpg",
        "https://example.org/one.jpg",
        "hf://org/model",
        "file:///etc/passwd",
        "memory://one",
        "ssh://host/one",
        "simplecache::s3://films/one.jpg",
        "s3:///one.jpg",
        "S3 //films",
    ],
)
def test_these_are_none(text):
    assert not is_object(text)


def test_an_object_is_read_whole(bucket):
    link = bucket.put("a/one.bin", bytes(range(256)) * 40)
    assert read_object(link, 10_240) == bytes(range(256)) * 40
    assert read_object(bucket.put("empty", b""), 10) == b""


def test_what_cannot_be_read_has_a_reason(bucket, monkeypatch):
    link = bucket.put("a/one.bin", b"0" * 101)
    for place, reason in [
        (bucket.link("a/none"), "missing"),
        ("s3://no-such-bucket/one", "missing"),
        (link, "too_large"),
    ]:
        with pytest.raises(BadImageError) as failed:
            read_object(place, 100)
        assert failed.value.reason == reason
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(BadImageError) as failed:
        read_object(link, 1000)
    assert failed.value.reason == "no_connection"


def test_no_object_is_larger_in_memory_than_allowed(bucket, monkeypatch):
    link = bucket.put("large", b"0" * 1000)
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "_cat_file", lambda *args, **kwargs: pytest.fail("it was read"))
    with pytest.raises(BadImageError, match="at most"):
        read_object(link, 999)


def test_offline_asks_no_store(bucket, monkeypatch):
    link = bucket.put("one", b"1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadImageError, match="--offline"):
        read_object(link, 10)
    with pytest.raises(UserError, match="Leave --offline out"):
        list_objects(link)


def test_objects_below_a_folder(bucket):
    for key in ("a/b/2.jpg", "a/1.jpg", "a/", "ab/3.jpg"):
        bucket.put(key, b"12345")
    found = list_objects(bucket.link("a"))
    assert [(one.link, one.size) for one in found] == [(bucket.link("a/1.jpg"), 5), (bucket.link("a/b/2.jpg"), 5)]
    assert [one.link for one in list_objects(bucket.link("a/1.jpg"))] == [bucket.link("a/1.jpg")]
    assert list_objects(bucket.link("none")) == []
    before = found[0].mark
    bucket.put("a/1.jpg", b"54321")
    assert list_objects(bucket.link("a"))[0].mark != before


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/passwd", "a//b", "a\\b", "C:b", "a/./b", "a/.."])
def test_a_name_stays_below_its_folder(name):
    with pytest.raises(UserError, match="is no path below"):
        name_below(f"s3://films/data/{name}", "s3://films/data")


def test_a_name_below():
    assert name_below("s3://films/data/a/b.csv", "s3://films/data/") == "a/b.csv"
    assert link_of(Path("s3://films/a/b")) == "s3://films/a/b"


def test_a_folder_stands_for_its_pictures(bucket):
    keys = ["p/one.png", "p/two.JPG", "p/notes.txt", "p/deep/three.webp"]
    for key in keys:
        bucket.put(key, b"x")
    pictures = [bucket.link(key) for key in sorted(keys) if not key.endswith("txt")]
    assert sorted(list_posters([bucket.link("p/")], [])) == sorted(pictures)
    assert list_posters([bucket.link("none.jpg"), bucket.link("none")], []) == [
        bucket.link("none.jpg"),
        bucket.link("none"),
    ]


def picture(number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (60, 40, 3), dtype=np.uint8))


@pytest.fixture
def both(tmp_path, bucket):
    """The same twelve posters and a bad one, prepared from files and from links."""
    folder = tmp_path / "posters"
    folder.mkdir()
    for number in range(12):
        picture(number).save(folder / f"{number:02}.png")
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:300])
    bucket.put_folder(folder, "posters")
    genres = ["Drama", "Comedy", "Horror"]
    names = [f"{number:02}.png" for number in range(12)] + ["cut.png", "gone.png"]
    results = []
    for kind, place in [("files", f"{folder}/"), ("links", bucket.link("posters/"))]:
        rows = [f"{place}{name},m{number},{genres[number % 3]}" for number, name in enumerate(names)]
        table = tmp_path / f"{kind}.csv"
        table.write_text("image,id,genres\n" + "\n".join(rows) + "\n")
        prepare(table, tmp_path / kind, format="csv")
        results.append(Dataset.load(tmp_path / kind))
    return results


def test_a_table_may_name_links(both, bucket):
    files, links = both
    assert list(links.table["sha256"]) == list(files.table["sha256"])
    assert list(links.table["split"]) == list(files.table["split"])
    assert links.table["path"][0] == bucket.link("posters/00.png")
    dropped = (links.folder / "dropped.csv").read_text()
    assert "gone.png,missing," in dropped
    assert "cut.png,truncated," in dropped
    row = list(links.table["id"]).index("m3")
    assert links.image_path(row) == bucket.link("posters/03.png")
    assert load_image(links.image_path(row)).size == (40, 60)


def test_the_store_is_that_of_files(both, tmp_path, frozen_extractors, bucket):
    _, links = both
    stores = []
    for dataset in both:
        root = tmp_path / f"store-{dataset.folder.name}"
        (report, *_) = extract(dataset_posters(dataset), frozen_extractors(), root, quiet=True)
        assert report.computed == 12
        assert not report.failed
        stores.append(everything(root, dataset, frozen_extractors()))
    assert stores[0] == stores[1]
    bucket.put("posters/03.png", b"other bytes")
    bucket.remove("posters/04.png")
    (report, *_) = extract(dataset_posters(links), frozen_extractors(), tmp_path / "again", quiet=True)
    assert {name: failure.reason for name, failure in report.failed.items()} == {"m3": "changed", "m4": "missing"}
    # Both may be put right, and then they are looked at again.
    bucket.put("posters/04.png", (tmp_path / "posters" / "04.png").read_bytes())
    (report, *_) = extract(dataset_posters(links), frozen_extractors(), tmp_path / "again", quiet=True)
    assert report.computed == 1
    assert list(report.failed) == ["m3"]
    assert isinstance(dataset_posters(links)[0], StoredPoster)


def everything(root, dataset, extractors):
    from mmposter.features.store import ExtractorStore

    shas = list(dataset.table["sha256"])
    return {
        one.name: [
            {field: value.tobytes() for field, value in record.items()}
            for record in ExtractorStore(root, one.name, one.fingerprint()).read(shas)
        ]
        for one in extractors
    }


@pytest.fixture
def frozen_extractors():
    from mmposter.config import load_config
    from mmposter.features.extractors import build_extractors

    settings = ["cnn.backbone=mobilenet_v3_small", "cnn.init=none", "cnn.size=[64,48]"]

    def build():
        branches = build_extractors(load_config(None, settings), ["cnn"], offline=True)
        return [step for branch in branches.values() for step in branch.steps]

    return build
