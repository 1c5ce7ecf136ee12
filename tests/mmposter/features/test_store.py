from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmposter.errors import UserError
from mmposter.features import store as store_module
from mmposter.features.store import ExtractorStore, Failure, fingerprint_digest

FINGERPRINT = {"version": 1, "weights": "abc", "size": [320, 224]}


def record(number: int, rows: int | None = None) -> dict:
    rows = number % 4 if rows is None else rows
    return {
        "boxes": np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) + number,
        "labels": np.full(rows, number, np.int64),
        "text": np.frombuffer(f"poster {number}".encode()[: rows * 3], np.uint8),
    }


def sha(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def store(tmp_path):
    return ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT)


def test_ragged_and_empty_records_come_back_as_they_were_in_the_order_asked(store, assert_same_records):
    store.write({sha(number): record(number) for number in range(5)})
    store.write({sha(5): record(5, rows=0)})  # a shard with nothing in it
    store.write({sha(number): record(number) for number in range(6, 9)})
    order = [7, 0, 5, 8, 3, 3]
    assert_same_records(store.read([sha(n) for n in order]), [record(n, rows=0 if n == 5 else None) for n in order])
    assert store.read([]) == []


def test_what_is_not_there_is_none(store):
    assert store.read([sha(1)]) == [None]
    assert store.done() == {}
    store.write({sha(1): record(1)})
    assert store.read([sha(2), sha(1)])[0] is None


def test_failures_are_kept_with_their_reason(store):
    store.write({sha(1): record(1), sha(2): Failure("truncated", "cut off"), sha(3): record(3)})
    store.write({sha(4): Failure("empty", "no bytes")})
    assert store.done() == {
        sha(1): None,
        sha(2): Failure("truncated", "cut off"),
        sha(3): None,
        sha(4): Failure("empty", "no bytes"),
    }
    found = store.read([sha(n) for n in (1, 2, 3, 4)])
    assert [item is None for item in found] == [False, True, False, True]
    assert found[2]["labels"].tolist() == [3, 3, 3]


def test_writing_nothing_writes_nothing(store):
    store.write({})
    assert not store.folder.exists()


def test_another_object_reads_it_too_and_sees_later_writes(store, tmp_path, assert_same_records):
    other = ExtractorStore(tmp_path / "features", "yolo", dict(reversed(FINGERPRINT.items())))
    assert other.done() == {}
    store.write({sha(1): record(1)})
    assert_same_records(other.read([sha(1)]), [record(1)])
    store.write({sha(2): record(2)})
    assert_same_records(other.read([sha(2), sha(1)]), [record(2), record(1)])


def test_an_index_file_is_read_once(store, monkeypatch):
    """A record extractor asks for every batch; reading all files each time made a large store quadratic."""
    for number in range(3):
        store.write({sha(number): record(number)})
    store.read([sha(1)])
    monkeypatch.setattr(store_module, "read_parquet", lambda *a, **k: pytest.fail("read again"))
    assert len(store.done()) == 3
    assert store.read([sha(2)])[0] is not None


def test_another_fingerprint_is_another_folder(store, tmp_path):
    store.write({sha(1): record(1)})
    for change in ({"weights": "abd"}, {"size": [224, 320]}, {"new": None}):
        other = ExtractorStore(tmp_path / "features", "yolo", {**FINGERPRINT, **change})
        assert other.folder != store.folder
        assert other.done() == {}
    assert ExtractorStore(tmp_path / "features", "ocr", FINGERPRINT).folder != store.folder


def test_the_fingerprint_lies_beside_the_records(store):
    store.write({sha(1): record(1)})
    assert json.loads((store.folder / "fingerprint.json").read_text()) == {"name": "yolo", **FINGERPRINT}
    assert store.folder.name == f"yolo-{fingerprint_digest('yolo', FINGERPRINT)[:12]}"


def test_the_folder_of_a_fingerprint_never_changes():
    """A store of months must still be found: this digest was worked out by hand from the canonical JSON."""
    canonical = '{"name":"yolo","size":[320,224],"version":1,"weights":"abc"}'
    import hashlib

    assert fingerprint_digest("yolo", FINGERPRINT) == hashlib.sha256(canonical.encode()).hexdigest()


def test_metadata(store):
    assert store.metadata() == {}
    store.describe({"class_names": ["person", "dog"]})
    assert store.metadata() == {"class_names": ["person", "dog"]}


def test_two_writers_of_different_and_of_the_same_pictures(store, tmp_path, assert_same_records):
    other = ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT)
    store.write({sha(1): record(1), sha(2): record(2)})
    other.write({sha(2): record(2), sha(3): record(3)})
    assert set(store.done()) == {sha(1), sha(2), sha(3)}
    assert_same_records(other.read([sha(n) for n in (3, 2, 1)]), [record(n) for n in (3, 2, 1)])


def test_of_two_answers_the_first_in_name_order_counts_for_every_reader(store, tmp_path, monkeypatch):
    class Name:
        hex = ""

    monkeypatch.setattr(store_module.uuid, "uuid4", lambda: Name)
    for name, number in (("bbb", 2), ("aaa", 1), ("ccc", 3)):
        Name.hex = name
        store.write({sha(0): record(number)})
    assert store.read([sha(0)])[0]["labels"].tolist() == [1]
    fresh = ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT)
    assert fresh.read([sha(0)])[0]["labels"].tolist() == [1]


def _write_many(root, start: int) -> None:
    writer = ExtractorStore(root, "yolo", FINGERPRINT)
    for number in range(start, start + 30, 3):
        writer.write({sha(n): record(n) for n in range(number, number + 3)})


def test_two_processes_of_different_and_of_the_same_pictures(store, tmp_path, assert_same_records):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write_many, args=(tmp_path / "features", start)) for start in (0, 15)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert set(store.done()) == {sha(n) for n in range(45)}
    assert_same_records(store.read([sha(n) for n in range(45)]), [record(n) for n in range(45)])


def test_a_kill_between_shard_and_index_leaves_no_trace(store, monkeypatch, assert_same_records):
    store.write({sha(1): record(1)})
    monkeypatch.setattr(store_module, "write_rows", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.write({sha(2): record(2)})
    monkeypatch.undo()
    assert len(list((store.folder / "shards").iterdir())) == 2  # the lost one is there, and counts for nothing
    (store.folder / "shards" / ".x.safetensors.a1b2.tmp").write_bytes(b"half")
    (store.folder / "index" / ".x.parquet.a1b2.tmp").write_bytes(b"half")
    assert store.done() == {sha(1): None}
    store.write({sha(2): record(2)})
    assert_same_records(store.read([sha(1), sha(2)]), [record(1), record(2)])


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "noise"])
def test_a_damaged_shard_is_named(store, damage):
    store.write({sha(1): record(1)})
    good = next((store.folder / "shards").iterdir())
    store.write({sha(2): record(2)})
    shard = next(path for path in (store.folder / "shards").iterdir() if path != good)
    data = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes({"cut": data[:-7], "empty": b"", "noise": os.urandom(200)}[damage])
    assert store.read([sha(1)])[0] is not None  # the others can still be read
    with pytest.raises(UserError, match="the feature store is damaged") as caught:
        store.read([sha(1), sha(2)])
    index = store.folder / "index" / f"{shard.stem}.parquet"
    assert str(shard) in str(caught.value)
    assert f"remove {index}" in str(caught.value)
    index.unlink()  # what the message says
    assert store.done() == {sha(1): None}


def test_a_damaged_index_is_named(store, tmp_path):
    store.write({sha(1): record(1)})
    index = next((store.folder / "index").iterdir())
    index.write_bytes(index.read_bytes()[:-9])
    with pytest.raises(UserError, match=f"the feature store is damaged: {index} cannot be read"):
        ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT).done()


def test_records_of_a_batch_must_have_the_same_fields(store):
    with pytest.raises(ValueError, match=r"must have the fields \['a'\]; got \['b'\]"):
        store.write({sha(1): {"a": np.zeros(1)}, sha(2): {"b": np.zeros(1)}})
    assert store.done() == {}


# --- many small index files ---


def index_files(store):
    return sorted((store.folder / "index").glob("*.parquet"))


def fill(store, start=0, stop=40):
    for number in range(start, stop):
        store.write({sha(number): Failure("empty", f"no. {number}") if number % 7 == 3 else record(number)})


def test_merging_the_index_changes_no_answer(store, tmp_path, assert_same_records):
    fill(store)
    shas = [sha(number) for number in range(45)]
    done, records = store.done(), store.read(shas)
    assert len(done) == 40
    store.compact()
    assert len(index_files(store)) == 1
    for reader in (store, ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT)):
        assert reader.done() == done
        assert_same_records(reader.read(shas), records)
    fill(store, 40, 45)
    assert len(store.done()) == 45
    assert len(index_files(store)) == 6


def test_a_few_index_files_are_left_alone(store):
    fill(store, 0, 5)
    before = index_files(store)
    store.compact()
    assert index_files(store) == before


def test_of_two_answers_the_same_counts_after_merging(store, tmp_path, monkeypatch):
    class Name:
        hex = ""

    monkeypatch.setattr(store_module.uuid, "uuid4", lambda: Name)
    for name, number in (("bbb", 2), ("aaa", 1), ("ccc", 3)):
        Name.hex = name
        store.write({sha(0): record(number)})
    for number in range(20):
        Name.hex = f"d{number:02}"
        store.write({sha(100 + number): record(number)})
    Name.hex = "merged"
    ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT).compact()
    assert [file.stem for file in index_files(store)] == ["merged"]
    assert store.read([sha(0)])[0]["labels"].tolist() == [1]
    assert len(store.done()) == 21


def test_a_kill_while_merging_loses_nothing(store, tmp_path, monkeypatch):
    fill(store)
    done = store.done()
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_flush", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.compact()
    assert len(index_files(store)) == 41  # the merged file beside the others: each row twice, with the same answer
    small = [file for file in index_files(store) if len(pq.read_table(file)) == 1]
    assert len(small) == 40
    for file in small[:20]:  # the kill came while they were removed
        file.unlink()
    assert ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT).done() == done


def test_a_store_that_cannot_be_written_is_not_merged(store, monkeypatch):
    fill(store)
    done = store.done()
    monkeypatch.setattr(store_module, "atomic_path", lambda path: (_ for _ in ()).throw(PermissionError("read-only")))
    store.compact()
    assert store.done() == done
    assert len(index_files(store)) == 40


def test_a_reader_whose_index_files_are_merged_away_looks_again(store, tmp_path, monkeypatch):
    fill(store)
    reader = ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT)
    original, calls = store_module.read_parquet, []

    def read_parquet(file, *columns, **options):
        calls.append(file)
        if len(calls) == 3:
            monkeypatch.setattr(store_module, "read_parquet", original)
            store.compact()
        return original(file, *columns, **options)

    monkeypatch.setattr(store_module, "read_parquet", read_parquet)
    assert len(reader.done()) == 40
    assert len(index_files(store)) == 1


def _merge_often(root, start: int) -> None:
    for number in range(start, start + 60):
        worker = ExtractorStore(root, "yolo", FINGERPRINT)
        worker.write({sha(number): record(number)})
        worker.compact()
        assert worker.read([sha(number)])[0] is not None


def test_many_who_write_read_and_merge_at_once(store, tmp_path, monkeypatch, assert_same_records):
    monkeypatch.setattr(store_module, "_MANY", 3)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_merge_often, args=(tmp_path / "features", start)) for start in (0, 60, 120)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert set(store.done()) == {sha(number) for number in range(180)}
    assert_same_records(store.read([sha(n) for n in range(180)]), [record(n) for n in range(180)])


# --- stores of a million pictures ---


def test_status_of_many_pictures_at_once(store):
    fill(store, 0, 12)
    there, failed = store.status([sha(number) for number in range(14)])
    assert np.flatnonzero(there).tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]
    assert failed == {3: Failure("empty", "no. 3"), 10: Failure("empty", "no. 10")}
    assert ExtractorStore(store.root, "ocr", FINGERPRINT).status([sha(1)])[0].tolist() == [False]
    assert store.status([])[0].tolist() == []


def test_reading_a_part_looks_at_no_folder_again(store, monkeypatch):
    fill(store)
    store.read([sha(1)])
    monkeypatch.setattr(store, "_fresh", lambda: pytest.fail("the folder was looked at"))
    assert [found is None for found in store.read([sha(number) for number in range(2, 5)])] == [False, True, False]


def test_a_shard_that_is_gone_is_computed_again(store):
    """After merging, what the message about a damaged shard says to remove is the shard."""
    fill(store)
    store.compact()
    shard = next((store.folder / "shards").iterdir())
    shard.write_bytes(b"")
    with pytest.raises(UserError, match=f"remove {shard} and run"):
        store.read([sha(number) for number in range(40)])
    shard.unlink()
    assert len(store.done()) == 39
    assert store.status([sha(number) for number in range(40)])[0].sum() == 33


def test_a_store_can_be_sent_to_another_process(store, assert_same_records):
    fill(store, 0, 3)
    other = pickle.loads(pickle.dumps(store))
    assert other.folder == store.folder
    assert_same_records(other.read([sha(2)]), [record(2)])


def test_a_store_that_is_merged_all_along_has_few_index_files(store, tmp_path, monkeypatch):
    """Files of one size are merged, so that a row is written a few times, and not again at each merging."""
    rows, original = [], store_module.write_rows

    def write_rows(file, table):
        rows.append(len(table))
        original(file, table)

    monkeypatch.setattr(store_module, "write_rows", write_rows)
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(9600)]
    most = 0
    for start in range(0, len(hashes), 32):
        store.write({sha256: Failure("empty", "no bytes") for sha256 in hashes[start : start + 32]})
        store.compact()
        most = max(most, len(index_files(store)))
    assert most <= 33
    assert sum(rows) < 4 * len(hashes)
    assert set(ExtractorStore(tmp_path / "features", "yolo", FINGERPRINT).done()) == set(hashes)


def test_merged_rows_are_sorted_and_each_picture_is_there_once(store):
    for number in (*range(20, 0, -1), 5, 7):
        store.write({sha(number * 999): record(number)})
    store.compact()
    (index,) = index_files(store)
    rows = pq.read_table(index)["sha256"].to_pylist()
    assert rows == sorted({sha(number * 999) for number in range(1, 21)})
