"""Prepared data, stores and evaluations that are damaged or a stranger's: they load, or are refused in words."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmposter.data.dataset import Dataset, write_dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.evaluation.scored import ScoredPosters, Source
from mmposter.features.store import ExtractorStore
from mmposter.features.table import load_features
from mmposter.files import strict_parquet
from mmposter.files.strict_parquet import ParquetError, _measure, read_parquet

PRINT = {"version": 1, "weights": "abc"}
POSTERS = 9
MEMORY = 200 * 2**20


def sha(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Nine posters, and pooled features of all."""
    rows = [
        {
            "id": f"film{n}",
            "path": f"film{n}.jpg",
            "title": "A film",
            "year": 2000,
            "genres": ["Drama"],
            "raw_genres": ["Drama"],
            "actors": [],
            "split": ("train", "val", "test")[n % 3],
            "group": f"film{n}",
            "sha256": sha(n),
            "width": 40,
            "height": 60,
        }
        for n in range(POSTERS)
    ]
    out = tmp_path / "data"
    info = {"root": str(tmp_path / "posters"), "options": {"seed": 0}}
    write_dataset(out, pd.DataFrame(rows), Vocabulary("one", ("Drama", "War")), info)
    store = ExtractorStore(out / "features", "cnn", PRINT)
    store.describe({"num_features": 8})
    for part in (range(5), range(5, POSTERS)):
        store.write({sha(n): {"pooled": np.full((1, 8), n, np.float32)} for n in part})
    return out


class Branch:
    """The extractor of the store above, without a network."""

    class feature:  # noqa: N801 (an attribute of `BranchExtractors`)
        name, slots = "cnn", 0

        @staticmethod
        def fingerprint() -> dict[str, Any]:
            return PRINT

        @staticmethod
        def empty() -> None:
            return None

        @staticmethod
        def collating():
            return {"slots": None}

        @staticmethod
        def collate(records):
            import torch

            return {"cnn.pooled": torch.from_numpy(np.concatenate([record["pooled"] for record in records]))}

    features = (feature,)


def read_all(folder: Path) -> None:
    dataset = Dataset.load(folder)
    dataset.labels()
    _ = dataset.features_folder, dataset.crops, dataset.info.get("options", {}).get("seed"), dataset.split("val")
    load_features(dataset, {"cnn": Branch})  # type: ignore[dict-item]


def change_manifest(folder: Path, column: str, values: list[Any], kind: pa.DataType | None = None) -> None:
    """Another column, with the checksum that goes with it: a stranger writes both."""
    table = pq.read_table(folder / "manifest.parquet")
    table = table.set_column(table.column_names.index(column), column, pa.array(values, kind))
    pq.write_table(table, folder / "manifest.parquet")
    info = json.loads((folder / "dataset.json").read_text())
    info["manifest_sha256"] = hashlib.sha256((folder / "manifest.parquet").read_bytes()).hexdigest()
    (folder / "dataset.json").write_text(json.dumps(info))


def test_the_folder_is_read(folder):
    read_all(folder)
    assert len(Dataset.load(folder)) == POSTERS


@pytest.mark.parametrize("path", ["../secret.jpg", "a/../../secret.jpg", "..", "", "a\0b", "..\\secret.jpg"], ids=repr)
def test_a_path_does_not_leave_the_posters(folder, path):
    change_manifest(folder, "path", [path] * POSTERS)
    with pytest.raises(UserError, match="leads out of the folder of the posters"):
        Dataset.load(folder)


def test_paths_that_stay_and_paths_that_are_absolute_go_on(folder):
    paths = [f"a/../film{n}.jpg" for n in range(POSTERS - 1)] + ["/elsewhere/of/a/table.jpg"]
    change_manifest(folder, "path", paths)
    dataset = Dataset.load(folder)
    (folder.parent / "posters").mkdir()
    assert dataset.image_path(POSTERS - 1) == Path("/elsewhere/of/a/table.jpg")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("id", ["film1"] * POSTERS),
        ("id", [None, *"abcdefgh"]),
        ("split", ["dev"] * POSTERS),
        ("sha256", ["../x"] * POSTERS),
        ("sha256", ["é" * 64] * POSTERS),
        ("year", [2**40] * POSTERS),
        ("year", ["old"] * POSTERS),
        ("genres", ["Drama"] * POSTERS),
        ("genres", [None] * POSTERS),
        ("genres", [[None]] * POSTERS),
    ],
    ids=str,
)
def test_rows_that_are_no_posters_are_refused(folder, column, values):
    change_manifest(folder, column, values)
    with pytest.raises(UserError, match="mmposter prepare SOURCE --out"):
        Dataset.load(folder)


@pytest.mark.parametrize("elsewhere", ["/", "/tmp", "mine", "data/features/.."])
def test_features_are_kept_beside_prepared_data_alone(folder, elsewhere):
    info = json.loads((folder / "dataset.json").read_text())
    mine = str(folder.parent / elsewhere)
    (folder / "dataset.json").write_text(json.dumps({**info, "features": mine}))
    with pytest.raises(UserError, match="which is no folder features of prepared data"):
        _ = Dataset.load(folder).features_folder
    other = folder.parent / "derived"
    shutil.copytree(folder, other)
    (other / "dataset.json").write_text(json.dumps({**info, "features": str(folder / "features")}))
    (folder / "dataset.json").write_text(json.dumps(info))
    read_all(other)


@pytest.mark.parametrize("name", ["dataset.json", "vocabulary.json", "features/cnn/metadata.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": 1e400}', '{"kind": NaN}', "[1]", "7", "", "\xff"])
def test_json_that_is_none_is_refused(folder, name, text):
    path = folder / name.replace("/cnn/", f"/{next((folder / 'features').iterdir()).name}/")
    said = text
    if name == "dataset.json" and text.startswith("{"):  # with its kind, or it would be somebody else's file
        said = '{"kind": "mmposter-dataset", ' + text[1:]
    path.write_bytes(said.encode("latin-1"))
    with pytest.raises(UserError):
        read_all(folder)


@pytest.mark.parametrize("key", ["root", "manifest_sha256", "vocabulary", "pictures", "features", "options"])
@pytest.mark.parametrize("value", [7, [1], {"a": 1}, 1.5], ids=str)
def test_facts_of_another_type_are_refused(folder, key, value):
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**info, key: value}))
    if (key, value) == ("options", {"a": 1}):
        read_all(folder)
        return
    with pytest.raises(UserError, match=key):
        Dataset.load(folder)


@pytest.mark.parametrize(
    ("record", "metadata", "match"),
    [
        (np.full((1, 8), np.nan, np.float32), {"num_features": 8}, "not finite"),
        (np.full((1, 8), np.inf, np.float32), {"num_features": 8}, "not finite"),
        (np.zeros((1, 7), np.float32), {"num_features": 8}, "is damaged"),
        (np.zeros((2, 8), np.float32), {"num_features": 8}, "is damaged"),
        (np.zeros((1, 8), np.float32), {"num_features": 10**12}, "num_features is 1000000000000"),
        (np.zeros((1, 8), np.float32), {"num_features": "8"}, "num_features"),
        (np.zeros((1, 8), np.float32), {}, "num_features"),
    ],
)
def test_features_that_no_network_makes_are_refused(folder, record, metadata, match):
    store = ExtractorStore(folder / "features", "cnn", PRINT)
    shutil.rmtree(store.folder / "index")
    store.write({sha(n): {"pooled": np.zeros((1, 8), np.float32)} for n in range(1, POSTERS)})
    store.write({sha(0): {"pooled": record}})
    store.describe(metadata)
    with pytest.raises(UserError, match=match) as caught:
        read_all(folder)
    assert "mmposter extract" in str(caught.value)


ODD = [None, True, -1, 2**40, 1.5, 1e300, "", "../x", [], {}, [[]], {"a": None}, "\0", ["a"] * 9]


def test_whatever_is_wrong_in_a_folder_it_loads_or_is_refused(folder, tmp_path):
    rng = random.Random(15)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix == ".json"]
    memory, read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for number in range(60):
        other = tmp_path / "other"
        shutil.copytree(folder, other)
        if number % 2:
            path = other / rng.choice(texts)
            values = json.loads(path.read_text())
            values[rng.choice(sorted(values))] = rng.choice(ODD)
            path.write_text(json.dumps(values))
        else:
            path = other / rng.choice(files)
            data = bytearray(path.read_bytes())
            at = rng.randrange(len(data))
            data[at : at + rng.choice([1, 2, 40])] = rng.randbytes(rng.choice([0, 1, 2, 40]))
            path.write_bytes(data)
        try:
            read_all(other)
            read += 1
        except UserError:
            pass
        shutil.rmtree(other)
    assert 5 < read < 50
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < MEMORY


@pytest.fixture
def scored(tmp_path) -> Path:
    target = np.array([[True, False], [False, True], [True, True]])
    source = Source(
        run="run",
        weights="w",
        branches=("cnn",),
        config={"seed": 0, "branches": ["cnn"]},
        data="data",
        manifest="m",
        split="test",
        empty="allow",
        constant={"macro_f1": 0.5, "auc": float("nan")},
        version="1",
        commit=None,
    )
    scores = np.array([[0.9, 0.1], [0.2, 0.7], [0.6, 0.6]], np.float32)
    groups = np.array(["a", "b", "c"], dtype=object)
    posters = ScoredPosters(("a", "b", "c"), groups, ("Drama", "War"), target, scores, target, np.full(2, 0.5), source)
    posters.save(tmp_path / "predictions.parquet")
    return tmp_path / "predictions.parquet"


def test_scored_posters_come_back_and_flipped_bits_do_not(scored):
    before = ScoredPosters.load(scored)
    assert before.probs.tolist() == pytest.approx(np.array([[0.9, 0.1], [0.2, 0.7], [0.6, 0.6]]))
    whole, refused = scored.read_bytes(), 0
    for at in range(4, pq.ParquetFile(scored).metadata.row_group(0).column(5).data_page_offset + 40, 3):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        scored.write_bytes(data)
        try:
            found = ScoredPosters.load(scored)
        except UserError:
            refused += 1
            continue
        assert found.ids == before.ids
        assert np.array_equal(found.probs, before.probs)
        assert np.array_equal(found.target, before.target)
    assert refused > 20


@pytest.mark.parametrize("value", [5e37, -0.5, np.nan, np.inf])
def test_no_probability_is_beyond_one(scored, value):
    table = pq.read_table(scored)
    column = table.column_names.index("probability.War")
    odd = pa.array([0.1, value, 0.3], pa.float32())
    pq.write_table(table.set_column(column, "probability.War", odd), scored)
    with pytest.raises(UserError, match="a probability must lie between 0 and 1"):
        ScoredPosters.load(scored)


@pytest.mark.parametrize("key", ["format", "genres", "thresholds", "source"])
@pytest.mark.parametrize("value", [None, -1, "x", [1], {"a": []}, [[]]], ids=str)
def test_scored_facts_of_another_type_are_refused(scored, key, value):
    table = pq.read_table(scored)
    facts = {**json.loads(table.schema.metadata[b"mmposter"]), key: value}
    pq.write_table(table.replace_schema_metadata({b"mmposter": json.dumps(facts).encode()}), scored)
    with pytest.raises(UserError, match="which should hold scored posters, is damaged"):
        ScoredPosters.load(scored)


def repeated(count: int) -> pa.Array:
    """One long text as a dictionary, so that it is not repeated here."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), ["x" * 1_000_000])


BOMBS = {
    "one long text in all rows": lambda: repeated(500),
    "one long text in lists": lambda: pa.ListArray.from_arrays(pa.array([0, 250, 500], pa.int32()), repeated(500)),
    "a long text": lambda: pa.array(["x" * 70_000_000]),
    "many rows of nothing": lambda: pa.nulls(9_000_000, pa.int8()),
    "a long list": lambda: pa.array([np.zeros(9_000_000, np.int8)], pa.list_(pa.int8())),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_table_that_unpacks_to_too_much_is_refused_before_it_is_read(tmp_path, name):
    file = tmp_path / "x.parquet"
    table = pa.table({"a": BOMBS[name]()})
    pq.write_table(table, file, compression="zstd", row_group_size=2**26, store_schema=False)
    assert file.stat().st_size < 100_000
    assert pq.read_metadata(file).num_rows == len(table)
    with pytest.raises(ParquetError, match="it unpacks to"):
        read_parquet(file)


def test_a_page_may_not_hide_its_size(tmp_path):
    """The footer says little, and the page much: the header of the page counts."""
    pq.write_table(
        pa.table({"a": ["x" * 70_000_000]}), tmp_path / "x.parquet", compression="zstd", use_dictionary=False
    )

    class Footer:
        data_page_offset, has_dictionary_page, dictionary_page_offset = 4, False, None
        total_uncompressed_size = 10

        def __init__(self, said) -> None:
            self.total_compressed_size = said.total_compressed_size

    said = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(0)
    assert _measure((tmp_path / "x.parquet").read_bytes(), Footer(said)).bytes > 70_000_000


def test_many_swollen_dictionaries_are_refused_before_all_are_looked_through(tmp_path, monkeypatch):
    """Each is a few bytes, unpacks to a megabyte, and takes time to look through."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), ["x" * 1_000_000])
    table = pa.table({"a": pa.chunked_array([texts] * 400)})
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd", row_group_size=1, store_schema=False)
    assert (tmp_path / "x.parquet").stat().st_size < 400_000
    looked = []
    original = strict_parquet._longest
    monkeypatch.setattr(strict_parquet, "_longest", lambda *page: (looked.append(page), original(*page))[1])
    with pytest.raises(ParquetError, match="it unpacks to"):
        read_parquet(tmp_path / "x.parquet")
    assert len(looked) < 150
