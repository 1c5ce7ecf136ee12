"""A shuffled branch says nothing of its poster, and is otherwise what it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from mmposter.data import Dataset
from mmposter.features.ragged import Ragged, batch_of
from mmposter.features.shuffling import deal, shuffle_branches
from mmposter.features.table import FeatureTable


def posters(tmp_path, splits: list[str], groups: list[str] | None = None) -> Dataset:
    ids = [f"film{number:04}" for number in range(len(splits))]
    table = pd.DataFrame({"id": ids, "split": splits, "group": groups or ids})
    return Dataset(tmp_path, tmp_path, table, None, {})


def numbered(count: int, usable: Any = None) -> FeatureTable:
    """Two branches whose records hold the number of their poster; poster N has N % 3 boxes."""
    numbers = torch.arange(count)
    counts = numbers % 3
    tensors: dict[str, torch.Tensor | Ragged] = {
        "cnn.pooled": numbers.float()[:, None],
        "yolo.boxes": Ragged(numbers.repeat_interleave(counts).float()[:, None].expand(-1, 4), counts),
        "yolo.labels": Ragged(numbers.repeat_interleave(counts), counts),
    }
    return FeatureTable(tensors, np.ones(count, bool) if usable is None else usable, {"cnn": {"num_features": 1}})


def givers(features: FeatureTable) -> list[int]:
    values = features.tensors["cnn.pooled"]
    assert isinstance(values, torch.Tensor)
    return values[:, 0].int().tolist()


# --- the deal ---

members = st.lists(st.integers(0, 12).map("g{}".format), min_size=0, max_size=40)


@given(groups=members, seed=st.integers(0, 5).map(str))
def test_nobody_keeps_his_own_nor_gets_his_groups_if_that_can_be(groups, seed):
    ids = [f"p{number}" for number in range(len(groups))]
    dealt = deal(ids, groups, seed)
    assert sorted(dealt) == list(range(len(groups)))
    if len(groups) >= 2:
        assert all(giver != row for row, giver in enumerate(dealt))
    if groups and 2 * max(map(groups.count, groups)) <= len(groups):
        assert all(groups[giver] != groups[row] for row, giver in enumerate(dealt))


def test_a_single_poster_keeps_its_record():
    assert deal(["a"], ["a"], "0") == [0]
    assert deal([], [], "0") == []


def test_the_deal_follows_the_ids_and_not_the_order_of_the_rows():
    ids = [f"p{number}" for number in range(50)]
    forward, backward = deal(ids, ids, "0"), deal(ids[::-1], ids[::-1], "0")
    assert {ids[row]: ids[giver] for row, giver in enumerate(forward)} == {
        ids[::-1][row]: ids[::-1][giver] for row, giver in enumerate(backward)
    }


def test_every_other_poster_is_as_likely_to_give():
    """Of 5 posters each of the 4 others gives a quarter of the time: chi squared with 15 degrees of freedom."""
    ids = list("abcde")
    counts = np.zeros((5, 5))
    for seed in range(2000):
        for row, giver in enumerate(deal(ids, ids, f"{seed}/yolo")):
            counts[row, giver] += 1
    assert not counts.diagonal().any()
    off = counts[~np.eye(5, dtype=bool)]
    assert ((off - 500) ** 2 / 500).sum() < 37.7  # the 99.9th percentile


# --- the table ---


def test_splits_keep_among_themselves_and_rows_stay_whole(tmp_path):
    splits = ["train", "val", "test", "none"] * 10
    found = shuffle_branches(numbered(40), ["cnn", "yolo"], posters(tmp_path, splits), seed=0)
    dealt = givers(found)
    assert sorted(dealt) == list(range(40))
    assert all(giver != row and giver % 4 == row % 4 for row, giver in enumerate(dealt))
    boxes = batch_of(found.tensors, torch.arange(40))
    for row in range(40):
        mine = boxes["yolo.labels"][row][boxes["yolo.mask"][row]]
        assert len(set(mine.tolist())) <= 1
        assert all(len(mine) == label % 3 and label % 4 == row % 4 for label in mine.tolist())
        assert (boxes["yolo.boxes"][row][boxes["yolo.mask"][row]] == mine[:, None]).all()
    assert torch.bincount(boxes["yolo.mask"].sum(dim=1)).tolist() == [14, 13, 13]  # as many empty ones as before


def test_other_branches_the_given_table_and_the_metadata_stay(tmp_path):
    before = numbered(12)
    found = shuffle_branches(before, ["yolo"], posters(tmp_path, ["train"] * 12), seed=0)
    assert givers(found) == givers(before) == list(range(12))
    assert found.tensors["yolo.labels"] is not before.tensors["yolo.labels"]
    assert before.tensors["yolo.labels"][torch.tensor([2])].tolist() == [[2, 2]]
    assert found.metadata == before.metadata
    assert shuffle_branches(before, [], posters(tmp_path, ["train"] * 12), seed=0) == before


def test_posters_that_cannot_be_used_keep_their_place_and_give_to_nobody(tmp_path):
    usable = np.arange(12) % 4 != 1
    found = shuffle_branches(numbered(12, usable), ["cnn"], posters(tmp_path, ["train"] * 12), seed=0)
    dealt = givers(found)
    assert [dealt[row] for row in (1, 5, 9)] == [1, 5, 9]
    assert all(dealt[row] != row and usable[dealt[row]] for row in np.flatnonzero(usable))


def test_a_seed_repeats_and_branches_and_seeds_differ(tmp_path):
    data = posters(tmp_path, ["train"] * 30)
    dealt = [givers(shuffle_branches(numbered(30), ["cnn"], data, seed)) for seed in (0, 0, 1)]
    assert dealt[0] == dealt[1] != dealt[2]
    both = shuffle_branches(numbered(30), ["cnn", "yolo"], data, seed=0)
    labels = both.tensors["yolo.labels"][torch.arange(30)]
    assert givers(both) == dealt[0]
    assert sum(int(labels[row, 0]) == giver for row, giver in enumerate(dealt[0])) < 10


def test_near_duplicates_do_not_give_to_each_other(tmp_path):
    groups = [f"g{number // 2}" for number in range(20)]
    for seed in range(20):
        found = shuffle_branches(numbered(20), ["cnn"], posters(tmp_path, ["train"] * 20, groups), seed)
        assert all(giver // 2 != row // 2 for row, giver in enumerate(givers(found)))


def test_all_of_the_signal_is_gone(tmp_path):
    """Planted: the branch shows every genre. A linear probe finds them; of the dealt records it finds chance."""
    rng = np.random.default_rng(0)
    labels = rng.random((1200, 4)) < [0.5, 0.3, 0.2, 0.1]
    splits = ["train" if row % 2 else "test" for row in range(1200)]
    pooled = torch.from_numpy(labels + 0.2 * rng.normal(size=labels.shape)).float()
    before = FeatureTable({"cnn.pooled": pooled}, np.ones(1200, bool), {})
    after = shuffle_branches(before, ["cnn"], posters(tmp_path, splits), seed=0)
    train, test = np.array(splits) == "train", np.array(splits) == "test"

    def mean_average_precision(features: FeatureTable) -> float:
        values = np.asarray(features.tensors["cnn.pooled"])
        scores = [
            LogisticRegression().fit(values[train], labels[train, genre]).decision_function(values[test])
            for genre in range(4)
        ]
        return float(np.mean([average_precision_score(labels[test, g], s) for g, s in enumerate(scores)]))

    chance = labels[test].mean()
    assert mean_average_precision(before) > 0.95
    assert mean_average_precision(after) == pytest.approx(chance, abs=0.05)
    for mask in (train, test):
        mine = [np.sort(np.asarray(table.tensors["cnn.pooled"])[mask], axis=0) for table in (before, after)]
        np.testing.assert_array_equal(*mine)
