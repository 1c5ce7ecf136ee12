"""Feature stores: numbers that a disk or a stranger changed are found before anything learns from them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmposter.errors import UserError
from mmposter.features.index import SCHEMA
from mmposter.features.shard import ShardError, read_shard, write_shard
from mmposter.features.store import ExtractorStore, Failure
from mmposter.files.atomic import write_json

FINGERPRINT = {"version": 1, "weights": "abc"}


def sha(number: int) -> str:
    return f"{number:064x}"


def record(number: int) -> dict:
    return {"pooled": np.full((1, 8), 0.5 + number, np.float32)}


@pytest.fixture
def store(tmp_path):
    return ExtractorStore(tmp_path / "features", "cnn", FINGERPRINT)


def again(store) -> ExtractorStore:
    """The store as another process finds it."""
    return ExtractorStore(store.root, store.name, store.fingerprint)


def files(store, kind: str) -> list:
    return sorted((store.folder / kind).iterdir())


def flip(file, *, bit: int, at: int = -2) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1 << bit
    file.write_bytes(bytes(data))


def forget_checksums(store) -> None:
    """Index files as an earlier mmposter wrote them."""
    for file in files(store, "index"):
        pq.write_table(pq.read_table(file).drop(["crc32"]), file)


@pytest.mark.parametrize("merged", [False, True])
def test_a_flipped_bit_is_found_and_what_to_type_is_said(store, merged):
    for number in range(20):
        store.write({sha(number): record(number)})
    if merged:
        store.compact()
        assert len(files(store, "index")) == 1
    shard = files(store, "shards")[3]
    flip(shard, bit=6)  # of the exponent: a number of about 1 becomes one of 1e19
    with pytest.raises(UserError, match="the checksum differs") as caught:
        again(store).read([sha(number) for number in range(20)])
    assert str(shard) in str(caught.value)
    index = store.folder / "index" / f"{shard.stem}.parquet"
    assert f"remove {shard if merged else index} and run `mmposter extract` again" in str(caught.value)
    (shard if merged else index).unlink()  # what it says: then one record is left to compute
    assert sum(again(store).status([sha(number) for number in range(20)])[0]) == 19


def test_the_cure_of_a_pack_is_the_pack(store):
    store.write({sha(1): record(1)})
    folder = store.root.parent
    (folder / "manifest.parquet").touch()
    facts = {"kind": "mmposter-dataset", "schema": 1, "root": "", "manifest_sha256": "", "vocabulary": None}
    write_json(folder / "dataset.json", {**facts, "pictures": False})
    flip(files(store, "shards")[0], bit=6)
    with pytest.raises(UserError, match=f"remove {folder}: it is made again from the pack"):
        again(store).read([sha(1)])


def test_a_store_of_an_earlier_version_is_read_as_before(store):
    for number in range(3):
        store.write({sha(number): record(number)})
    forget_checksums(store)
    found = again(store).read([sha(number) for number in range(3)])
    assert [float(item["pooled"][0, 0]) for item in found] == [0.5, 1.5, 2.5]


def test_old_and_new_index_files_merge_and_keep_the_checksums(store):
    for number in range(10):
        store.write({sha(number): record(number)})
    forget_checksums(store)
    old = {file.stem for file in files(store, "shards")}
    for number in range(10, 20):
        store.write({sha(number): record(number)})
    store.write({sha(20): Failure("empty", "no bytes")})
    again(store).compact()
    (index,) = files(store, "index")
    table = pq.read_table(index)
    assert table.num_rows == 21
    for shard, checksum in zip(table["shard"].to_pylist(), table["crc32"].to_pylist(), strict=True):
        assert (checksum is None) == (shard is None or shard in old)
    new = next(file for file in files(store, "shards") if file.stem not in old)
    flip(new, bit=6)
    assert again(store).read([sha(number) for number in range(10)])[9] is not None
    with pytest.raises(UserError, match="the checksum differs"):
        again(store).read([sha(number) for number in range(20)])


def test_a_flipped_bit_in_an_index_is_found(store):
    store.write({sha(number * 12345): record(number) for number in range(50)})
    (index,) = files(store, "index")
    whole, before = index.read_bytes(), again(store)._read_index(index)
    refused = 0
    for at in range(4, len(whole) - 2000, 3):  # the pages; the footer has no checksum
        flip(index, bit=at % 8, at=at)
        try:
            assert again(store)._read_index(index).equals(before)  # what nobody reads, such as the least and largest
        except UserError:
            refused += 1
        index.write_bytes(whole)
    assert refused > 100


@pytest.mark.parametrize("shard", ["../../elsewhere", "/etc/passwd", "a b", "", "x" * 65, "é"])
def test_an_index_names_no_file_outside_of_the_store(store, shard):
    store.write({sha(1): record(1)})
    (index,) = files(store, "index")
    row = {"sha256": [sha(2)], "shard": [shard], "row": [0], "reason": [None], "message": [None], "crc32": [None]}
    pq.write_table(pa.table(row, schema=SCHEMA), index)
    with pytest.raises(UserError, match="the feature store is damaged"):
        again(store).read([sha(2)])


@pytest.mark.parametrize(
    "row",
    [
        {"sha256": "not a hash"},
        {"sha256": None},
        {"row": -1},
        {"row": None},
        {"shard": None},
        {"shard": None, "reason": "empty"},
    ],
    ids=str,
)
def test_rows_that_mean_nothing_are_refused(store, row):
    store.write({sha(1): record(1)})
    (index,) = files(store, "index")
    good = {"sha256": sha(2), "shard": "a1", "row": 0, "reason": None, "message": None, "crc32": None}
    pq.write_table(pa.table({key: [value] for key, value in {**good, **row}.items()}, schema=SCHEMA), index)
    with pytest.raises(UserError, match="the feature store is damaged"):
        again(store).done()


def test_a_row_that_the_shard_does_not_have_is_damage(store):
    store.write({sha(1): record(1)})
    (index,) = files(store, "index")
    table = pq.read_table(index)
    pq.write_table(table.set_column(2, "row", pa.array([5], pa.int32())), index)
    with pytest.raises(UserError, match="it has 1 records, and record 5 is asked for"):
        again(store).read([sha(1)])


@pytest.mark.parametrize("offsets", [[0, 1, 3], [1, 2], [0, 2, 1, 2], [0, -1, 2], [], [[0, 2]], [0.0, 2.0]], ids=str)
def test_places_that_are_none_are_refused(tmp_path, offsets):
    from safetensors.numpy import save_file

    kind = np.float32 if offsets and isinstance(offsets[0], float) else np.int64
    save_file({"x": np.zeros((2, 3)), "x.offsets": np.array(offsets, kind)}, tmp_path / "a.safetensors")
    with pytest.raises(ShardError):
        read_shard(tmp_path / "a.safetensors", None)


def test_a_whole_shard_comes_back(tmp_path):
    checksum = write_shard(tmp_path / "a.safetensors", [record(1), record(2)])
    assert read_shard(tmp_path / "a.safetensors", checksum).record(1)["pooled"].tolist() == [[2.5] * 8]
