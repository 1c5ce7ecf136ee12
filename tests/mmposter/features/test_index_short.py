"""Pictures whose hashes begin alike are told apart, in an index that looks at the beginnings first."""

from __future__ import annotations

import numpy as np

from mmposter.features.index import Failure, Index, index_table
from mmposter.files.hashes import beginnings


def test_the_beginning_of_a_hash_is_its_first_sixteen_digits() -> None:
    keys = np.array(["0123456789abcdef" + "0" * 48, "f" * 64, "0" * 64], "S64")
    assert beginnings(keys).tolist() == [0x0123456789ABCDEF, 2**64 - 1, 0]


def test_hashes_that_begin_alike_are_told_apart() -> None:
    same = [f"{'ab' * 8}{number:048x}" for number in (5, 3, 9, 1)]
    other = ["0" * 64, "f" * 64]
    index = Index()
    rows = [(sha, ("shard", number)) for number, sha in enumerate([*same, *other])]
    first, second = index_table(rows[:3], {}), index_table(rows[3:], {})
    index.update({"one", "two"}, {"one": first, "two": second})
    asked = [same[2], f"{'ab' * 8}{7:048x}", *other, same[3], "12" * 32, same[0], same[1]]
    found = [None if place is None or isinstance(place, Failure) else place[1] for place in index.places(asked)]
    assert found == [2, None, 4, 5, 3, None, 0, 1]
    there, failed = index.status(asked, {"shard"})
    assert there.tolist() == [True, False, True, True, True, False, True, True]
    assert failed == {}


def test_rows_of_a_file_that_is_gone_are_forgotten() -> None:
    index = Index()
    tables = {name: index_table([(name * 64, ("shard", 0))], {}) for name in "ab"}
    index.update({"a", "b"}, tables)
    assert index.hashes() == ["a" * 64, "b" * 64]
    index.update({"b"}, {})
    assert index.hashes() == ["b" * 64]
    assert index.places(["a" * 64, "b" * 64]) == [None, ("shard", 0)]
    index.update(set(), {})
    assert index.places(["b" * 64]) == [None]
    assert len(index) == 0
