"""What a run knows of the posters that it has seen."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from mmposter.errors import UserError
from mmposter.runs.seen import SEEN, SeenPosters


def manifest(names: str, hashes: list[int] | None = None) -> pd.DataFrame:
    table = pd.DataFrame({"id": list(names), "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in names]})
    return table if hashes is None else table.assign(phash=np.array(hashes, np.uint64))


def test_the_same_file_is_found_and_a_near_hash_is(tmp_path):
    seen = SeenPosters.of(manifest("ab", [0, 2**64 - 1]), "train").with_more(
        SeenPosters.of(manifest("c", [2**40]), "val")
    )
    seen.save(tmp_path)
    loaded = SeenPosters.load(tmp_path)
    other = manifest("acxyz", [2**20 - 1, 2**21 - 1, 0b111111, 0b1111111, 2**64 - 2])
    for posters in (seen, loaded):
        assert posters.among(other).tolist() == [True, True, True, False, True]
        assert posters.among(other, ["train"]).tolist() == [True, False, True, False, True]
        assert posters.among(other, ["val"]).tolist() == [False, True, False, False, False]
        assert posters.among(other.drop(columns="phash")).tolist() == [True, True, False, False, False]
    assert len(loaded) == 3


def test_data_without_perceptual_hashes_are_known_by_their_files(tmp_path):
    seen = SeenPosters.of(manifest("ab"), "train")
    seen.save(tmp_path)
    # No hash is not the hash 0.
    assert SeenPosters.load(tmp_path).among(manifest("bx", [5, 0])).tolist() == [True, False]


def test_a_poster_of_both_was_trained_on_and_keeps_its_hash():
    seen = SeenPosters.of(manifest("ab"), "train").with_more(SeenPosters.of(manifest("bc", [1, 2]), "val"))
    assert sorted(seen.splits) == ["train", "train", "val"]
    again = seen.with_more(SeenPosters.of(manifest("c", [2]), "train"))
    assert (again.splits == "train").all()


def test_crops_are_one_poster_and_the_size_is_small(tmp_path):
    table = manifest("aab", [1, 1, 2])
    assert len(SeenPosters.of(table, "train")) == 2
    random = np.random.default_rng(0)
    many = pd.DataFrame({"sha256": [random.bytes(32).hex() for _ in range(4000)]})
    SeenPosters.of(many.assign(phash=random.integers(0, 2**63, 4000, dtype=np.uint64)), "train").save(tmp_path)
    assert (tmp_path / SEEN).stat().st_size < 28 * 4000


def test_a_damaged_file_is_refused_and_none_is_none(tmp_path):
    assert SeenPosters.load(tmp_path) is None
    SeenPosters.of(manifest("abc", [1, 2, 3]), "train").save(tmp_path)
    data = (tmp_path / SEEN).read_bytes()
    for broken in (data[: len(data) // 2], b"", b"PAR1" * 10):
        (tmp_path / SEEN).write_bytes(broken)
        with pytest.raises(UserError, match=r"seen\.parquet"):
            SeenPosters.load(tmp_path)


def test_a_hash_may_end_in_zeros(tmp_path):
    table = pd.DataFrame({"sha256": ["ab" * 15 + "00" + "cd" * 16, "ab" * 14 + "0000" + "ef" * 16]})
    SeenPosters.of(table, "train").with_more(SeenPosters.of(table[:1], "val")).save(tmp_path)
    loaded = SeenPosters.load(tmp_path)
    assert len(loaded) == 2
    assert loaded.among(table).all()
