"""An index: made once, brought up to date, refused where it belongs to another model, and searched exactly."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmposter import Dataset, PosterClassifier, UserError
from mmposter.features.store import ExtractorStore
from mmposter.inference.classifier import embedding_identity
from mmposter.similarity import PosterIndex, build_index
from mmposter.similarity import writing as writing_module
from mmposter.similarity.index import INDEX
from mmposter.similarity.writing import IndexRow, IndexWriter

PARTS = {"cnn": slice(0, 4), "ocr": slice(4, 6)}


def filled(folder: Path, vectors: np.ndarray, splits: str = "") -> PosterIndex:
    """An index of made-up vectors."""
    folder.mkdir()
    rows = [
        IndexRow(f"p{n}", f"k{n}", f"Film {n}", 2000 + n, ("Drama",), (splits or "t" * len(vectors))[n])
        for n in range(len(vectors))
    ]
    with IndexWriter(folder, made_with="me", branches=PARTS, source="/posters") as writer:
        for row, vector in zip(rows, vectors, strict=True):
            writer.add(row, vector)
        return writer.finish([row.key for row in rows])


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(writing_module, "PART", 8)
    monkeypatch.setattr(writing_module, "MERGED", 20)
    monkeypatch.setattr("mmposter.similarity.index._BLOCK", 7)
    monkeypatch.setattr("mmposter.similarity.index._QUERIES", 3)


def test_search_is_that_of_one_product_with_a_term_for_each_branch(tmp_path, small_parts):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 6)).astype(np.float32)
    vectors[7, 4:] = 0  # no words there
    index = filled(tmp_path / "index", vectors)
    assert len(index) == 50
    assert len(index.facts.parts) == 3
    asked = rng.normal(size=(5, 6)).astype(np.float32)
    for by, columns in ((None, slice(0, 6)), (["ocr"], slice(4, 6))):
        units = [
            v[:, columns] / np.maximum(np.linalg.norm(v[:, columns], axis=1, keepdims=True), 1e-9)
            for v in (asked, vectors)
        ]
        truth = units[0] @ units[1].T
        for query, neighbours in enumerate(index.search(asked, 4, by=by)):
            assert [one.id for one in neighbours] == [f"p{n}" for n in np.argsort(-truth[query])[:4]]
            assert [one.rank for one in neighbours] == [1, 2, 3, 4]
            for one in neighbours:
                assert one.similarity == pytest.approx(truth[query, int(one.id[1:])], abs=2e-3)
                assert sum(one.shares.values()) == pytest.approx(one.similarity, abs=1e-5)
                assert one.title == f"Film {one.id[1:]}"
    (same,) = index.search(vectors[7:8], 1)
    assert (same[0].id, same[0].nothing, same[0].shares["ocr"]) == ("p7", ("ocr",), 0.0)
    assert same[0].similarity == pytest.approx(1, abs=1e-3)
    assert same[0].name == "Film 7 (2007)"


def test_a_side_alone_and_posters_of_which_nothing_was_seen(tmp_path):
    vectors = np.eye(6, dtype=np.float32)
    vectors[3] = 0
    index = filled(tmp_path / "index", vectors, "aabbab")
    (found,) = index.search(np.ones((1, 6), np.float32), 9)
    assert {one.id for one in found} == {"p0", "p1", "p2", "p4", "p5"}, "p3 is near to none"
    (found,) = index.search(np.ones((1, 6), np.float32), 9, split="b")
    assert {one.id for one in found} == {"p2", "p5"}
    assert index.search(np.zeros((1, 6), np.float32), 9) == [[]]
    with pytest.raises(UserError, match="has no posters of the split 'c'; it has a, b"):
        index.search(np.ones((1, 6), np.float32), split="c")
    with pytest.raises(UserError, match=r"the branches of .* are cnn, ocr; got 'yolo'"):
        index.search(np.ones((1, 6), np.float32), by=["yolo"])
    with pytest.raises(ValueError, match="Q x 6"):
        index.search(np.ones((1, 5), np.float32))
    with pytest.raises(ValueError, match="must be finite"):
        index.search(np.full((1, 6), np.nan, np.float32))


def test_a_data_set_is_embedded_from_its_store_once(made, whole, pictures, monkeypatch):
    index = build_index(whole, made.dataset.folder, offline=True, quiet=True)
    assert len(index) == len(made.dataset)
    assert index.splits == {"train", "val", "test"}
    with monkeypatch.context() as patch:
        patch.setattr("mmposter.similarity.building.load_features", None)  # a second reading would fail
        again = build_index(whole, made.dataset.folder, offline=True, quiet=True)
        assert again.facts == index.facts
        assert build_index(whole, index.folder).facts == index.facts, "an index stands for itself"
    (boxes,) = made.dataset.features_folder.glob("yolo-*")
    known = json.loads((boxes / "fingerprint.json").read_text())
    records = ExtractorStore(made.dataset.features_folder, known.pop("name"), known).read(made.dataset.table["sha256"])
    seen = index.vectors(index.facts.parts[0])[:, whole.parts["yolo"]].any(axis=1)
    assert seen.tolist() == [len(record["boxes"]) > 0 for record in records]
    assert 0 < seen.sum() < len(seen)
    # What is embedded from the store and from the picture is the same, where both look through the same branches.
    looked = build_index(pictures, made.dataset.folder, offline=True, quiet=True)
    assert looked.folder != index.folder
    (near,) = looked.search(pictures.embed(made.dataset.image_path(5)), 24)
    (same,) = [one for one in near if one.id == made.dataset.table["id"][5]]
    assert same.similarity == pytest.approx(1, abs=1e-3)
    assert min(one.similarity for one in near) < 0.9, "posters can be told apart"
    assert (same.title, same.genres) == ("Film 5", tuple(made.dataset.table["genres"][5]))
    with pytest.raises(UserError, match="was made with another model or other branches"):
        build_index(whole, looked.folder)
    with pytest.raises(UserError, match="made with another model or other branches"):
        build_index(whole, made.dataset.folder, looked.folder, offline=True, quiet=True)
    remade = build_index(whole, made.dataset.folder, looked.folder, rebuild=True, offline=True, quiet=True)
    assert remade.facts.made_with == embedding_identity(whole)
    assert {file.suffix for file in remade.folder.iterdir()} == {".json", ".safetensors", ".parquet"}


def test_a_changed_data_set_is_embedded_anew(made, pictures, tmp_path):
    data = Path(shutil.copytree(made.dataset.folder, tmp_path / "data"))
    before = build_index(pictures, data, tmp_path / "index", offline=True, quiet=True)
    table = Dataset.load(data).table
    from mmposter.data import write_dataset

    table.loc[0, "title"] = "Another title"
    write_dataset(data, table[:20], made.dataset.vocabulary, {"root": str(made.dataset.root)})
    after = build_index(pictures, data, tmp_path / "index", offline=True, quiet=True)
    assert (len(before), len(after)) == (24, 20)
    assert after.rows(after.facts.parts[0])["title"][0].as_py() == "Another title"
    assert not (tmp_path / "index" / f"{before.facts.parts[0]}.parquet").exists(), "what is replaced goes"
    with pytest.raises(UserError, match=r"holds an index of .*data; replace it with --rebuild"):
        build_index(pictures, made.dataset.folder, tmp_path / "index", offline=True, quiet=True)


def test_a_folder_of_pictures_grows_and_shrinks(pictures, poster_files, tmp_path, capsys, monkeypatch):
    paths = poster_files(5)
    (paths[0].parent / "text.jpg").write_text("no picture")
    index = build_index(pictures, paths[0].parent, tmp_path / "index", quiet=True)
    assert len(index) == 6
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 6 posters could not be used" in said
    assert "text.jpg: not_an_image" in said
    (near,) = index.search(pictures.embed(paths[3]), 9)
    assert len(near) == 5, "what is no picture is near to none"
    assert near[0].id == str(paths[3].resolve())
    looked: list[str] = []
    stream = PosterClassifier.stream_embeddings

    def watched(self, posters, **how):
        looked.extend(map(str, posters))
        return stream(self, posters, **how)

    monkeypatch.setattr(PosterClassifier, "stream_embeddings", watched)
    shutil.copy(paths[0], paths[0].parent / "new.png")
    paths[1].unlink()
    os.utime(paths[2], ns=(1, 1))
    index = build_index(pictures, paths[0].parent, tmp_path / "index", quiet=True)
    assert {Path(name).name for name in looked} == {"new.png", paths[2].name}
    ids = [Path(row).name for part in index.facts.parts for row in index.rows(part)["id"].to_pylist()]
    assert ids == sorted([*(path.name for path in paths if path != paths[1]), "new.png", "text.jpg"])


def test_what_a_stopped_command_has_finished_is_kept(pictures, poster_files, tmp_path, monkeypatch):
    paths = poster_files(6)
    stream = PosterClassifier.stream_embeddings

    def stopped(self, posters, **how):
        for number, one in enumerate(stream(self, posters, **how)):
            if number == 4:
                raise KeyboardInterrupt
            yield one

    with monkeypatch.context() as patch:
        patch.setattr(PosterClassifier, "stream_embeddings", stopped)
        with pytest.raises(KeyboardInterrupt):
            build_index(pictures, paths[0].parent, tmp_path / "index", quiet=True)
    with pytest.raises(UserError, match="is not finished; go on with"):
        build_index(pictures, tmp_path / "index")
    looked = []

    def counted(self, posters, **how):
        looked.extend(posters)
        return stream(self, posters, **how)

    monkeypatch.setattr(PosterClassifier, "stream_embeddings", counted)
    index = build_index(pictures, paths[0].parent, tmp_path / "index", quiet=True)
    assert len(looked) == 2
    assert len(index) == 6


def _search_ones(folder):
    index = PosterIndex.load(folder)
    return index.search(np.ones((1, index.width), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda known: known.update(parts=["../../etc/part-" + "0" * 32]), "a part is part- and 32 digits"),
        (lambda known: known.update(format=99), "has format 99"),
        (lambda known: known.update(branches={"cnn": [0, 4], "ocr": [3, 6]}), "one behind the other"),
        (lambda known: known.update(branches={}), "there is no branch"),
        (lambda known: known.update(posters=-1), "posters"),
        (lambda known: known.update(through=["yolo"]), "through must name some of"),
        (lambda known: known.update(kind="cake"), "is no index of posters"),
        (lambda known: known.update(branches={"cnn": [0, 5]}, through=["cnn"]), r"vectors of 6 x 5"),
    ],
)
def test_an_index_of_a_stranger_is_refused_in_words(tmp_path, change, message):
    index = filled(tmp_path / "index", np.eye(6, dtype=np.float32))
    known = json.loads((index.folder / INDEX).read_text())
    change(known)
    (index.folder / INDEX).write_text(json.dumps(known))
    with pytest.raises(UserError, match=message):
        _search_ones(index.folder)


def test_damaged_parts_are_named(tmp_path):
    for suffix in (".safetensors", ".parquet"):
        index = filled(tmp_path / suffix[1:], np.eye(6, dtype=np.float32))
        file = index.folder / f"{index.facts.parts[0]}{suffix}"
        data = bytearray(file.read_bytes())
        data[-1 if suffix == ".safetensors" else 40] ^= 255
        file.write_bytes(data)
        with pytest.raises(UserError, match=file.name):
            PosterIndex.load(index.folder).search(np.ones((1, 6), np.float32))
    index = filled(tmp_path / "nan", np.full((3, 6), np.nan, np.float32))
    with pytest.raises(UserError, match="numbers that are not finite"):
        index.search(np.ones((1, 6), np.float32))


def test_what_is_nothing_to_look_among_is_told(pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures, and is no folder of `mmposter prepare`"):
        build_index(pictures, tmp_path / "empty")
    with pytest.raises(UserError, match="is nothing that posters are in"):
        build_index(pictures, tmp_path / "nowhere")
