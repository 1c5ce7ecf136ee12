from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmposter.data.splitting import SPLITS, assign_splits, check_ratios, stratified_sides
from mmposter.errors import UserError

RATIOS = (0.7, 0.1, 0.2)


def synthetic(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Multilabel rows with frequencies from 50 % to 3 %, each row with one genre or more."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, 8)) < np.geomspace(0.5, 0.03, 8)).astype(np.float32)
    labels[labels.sum(1) == 0, 0] = 1
    return [f"p{index:05d}" for index in range(count)], labels


def test_shares_of_every_genre_and_of_the_whole():
    ids, labels = synthetic(1500)
    sides = stratified_sides(ids, labels, RATIOS, seed=0)
    side = np.array([sides[name] for name in ids])
    for name, ratio in zip(SPLITS, RATIOS, strict=True):
        mask = side == name
        assert abs(mask.mean() - ratio) < 0.02
        assert (
            np.abs(labels[mask].sum(0) - ratio * labels.sum(0)).max() <= 2.5
        )  # posters of a genre, also of a rare one


def test_order_of_rows_does_not_matter_and_the_seed_does():
    ids, labels = synthetic(300)
    order = np.random.default_rng(5).permutation(300)
    first = stratified_sides(ids, labels, RATIOS, seed=0)
    assert first == stratified_sides([ids[i] for i in order], labels[order], RATIOS, seed=0)
    assert first != stratified_sides(ids, labels, RATIOS, seed=1)


def test_a_group_counts_with_the_labels_of_all_its_posters():
    """Three posters a group, one genre each: the sides are those of 60 posters that have the genres of their group."""
    labels = np.eye(6, dtype=np.float32)[np.random.default_rng(0).integers(0, 6, (60, 3))]
    names = [f"g{number:02}" for number in range(60)]
    whole = stratified_sides(list(np.repeat(names, 3)), labels.reshape(180, 6), RATIOS, seed=0)
    assert whole == stratified_sides(names, labels.max(axis=1), RATIOS, seed=0)
    for other in (*labels.transpose(1, 0, 2), labels.min(axis=1)):  # one poster's labels alone give other sides
        assert whole != stratified_sides(names, other, RATIOS, seed=0)


def test_side_with_share_zero_stays_empty():
    ids, labels = synthetic(100)
    assert set(stratified_sides(ids, labels, (0.8, 0.0, 0.2), seed=0).values()) == {"train", "test"}


def make_table(groups: list[str], split: list[str | None] | None = None) -> pd.DataFrame:
    ids = [f"p{index:03d}" for index in range(len(groups))]
    given = pd.Series(split if split is not None else [None] * len(groups), dtype=object)
    return pd.DataFrame({"id": ids, "group": groups, "split": given})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 7), st.sampled_from([None, "train", "val", "test", "dev", "odd"])),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 3),
)
def test_a_given_side_is_kept_and_no_other_poster_parts_a_group(rows, seed):
    labels = np.array([[code >> bit & 1 for bit in range(3)] for _, code, _ in rows], dtype=np.float32)
    table = make_table([f"g{group}" for group, _, _ in rows], [split for _, _, split in rows])
    result, issues = assign_splits(table, labels, RATIOS, seed)
    given_sides = table["split"].map(lambda name: {"dev": "val", "odd": None}.get(name, name))
    assert (result["split"][given_sides.notna()] == given_sides.dropna()).all()
    sides = {group: set(part.dropna()) for group, part in given_sides.groupby(table["group"])}
    for group, found in result.groupby("group")["split"]:
        assert set(found) == sides[group] if sides[group] else len(set(found)) == 1
    named = {issue.id for issue in issues if issue.kind == "parted_group"}
    parted = given_sides.notna() & table["group"].map(lambda group: len(sides[group]) > 1)
    assert named == set(table["id"][parted])


def test_given_split_wins_and_the_rest_is_stratified():
    ids, labels = synthetic(200)
    table = make_table(ids, ["test"] * 50 + [None] * 150)
    result, issues = assign_splits(table, labels, (0.8, 0.1, 0.1), seed=0)
    assert set(result["split"][:50]) == {"test"}
    assert abs((result["split"][50:] == "train").mean() - 0.8) < 0.05
    assert not issues


@pytest.mark.parametrize(
    ("given_sides", "free"),
    [
        (["train", "train", "test", None], "train"),
        (["train", "test", None], "test"),
        (["train", "val", None], "val"),
        (["val", "test", "train", None], "test"),
        (["validation", None, None], "val"),
        ([" Test ", "TRAINING", "test\n", None], "test"),
    ],
)
def test_what_has_no_side_goes_where_most_of_its_group_are(given_sides, free):
    table = make_table(["g"] * len(given_sides), given_sides)
    result, issues = assign_splits(table, np.ones((len(given_sides), 1), np.float32), RATIOS, seed=0)
    assert result["split"].iloc[-1] == free
    known = [side for side in given_sides if side is not None]
    assert [side[:3] for side in result["split"][: len(known)]] == [side.strip().lower()[:3] for side in known]
    parted = len(set(result["split"])) > 1
    assert [issue.kind for issue in issues] == ["parted_group"] * (len(known) if parted else 0)


def test_a_pair_found_anew_moves_no_other_poster():
    ids, labels = synthetic(200)
    before, _ = assign_splits(make_table(ids).assign(id=ids), labels, RATIOS, seed=0)
    groups = ["p00003" if name == "p00120" else name for name in ids]
    after, _ = assign_splits(make_table(groups).assign(id=ids), labels, RATIOS, 0, ids)
    expected = before["split"].copy()
    expected[120] = expected[3]
    assert after["split"].tolist() == expected.tolist()


def test_unknown_split_name_is_an_issue_and_not_used():
    result, issues = assign_splits(make_table(["a"], ["holdout"]), np.ones((1, 1), np.float32), (1, 0, 0), seed=0)
    assert list(result["split"]) == ["train"]
    assert [(issue.kind, issue.id) for issue in issues] == [("unknown_split", "p000")]


@pytest.mark.parametrize("ratios", [(0.7, 0.2), (0.7, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_bad_ratios(ratios):
    with pytest.raises(UserError, match="split ratios must be three numbers"):
        check_ratios(ratios)


@pytest.mark.parametrize("ratios", [(0.7, 0.1, 0.2), (0.6, 0.2, 0.2), (0.4, 0.3, 0.3), (0.98, 0.01, 0.01)])
@pytest.mark.parametrize("count", range(4, 12))
def test_each_side_with_a_share_gets_a_poster_of_few(ratios, count):
    labels = np.eye(count, dtype=np.float32)
    for seed in range(5):
        table, _ = assign_splits(make_table([f"g{n}" for n in range(count)]), labels, ratios, seed)
        counts = table["split"].value_counts()
        assert counts["train"] >= 2
        assert counts["val"] >= 1
        assert counts["test"] >= 1
        again, _ = assign_splits(make_table([f"g{n}" for n in range(count)]), labels, ratios, seed)
        assert list(again["split"]) == list(table["split"])


def test_with_too_few_groups_training_and_validation_come_first():
    sides = [
        sorted(assign_splits(make_table([f"g{n}" for n in range(count)]), np.eye(count), RATIOS, 0)[0]["split"])
        for count in (1, 2, 3)
    ]
    assert sides == [["train"], ["train", "train"], ["train", "train", "val"]]
    table = make_table(["a"] * 5 + ["b"])  # five near-duplicates are one group
    assert len(set(assign_splits(table, np.ones((6, 1)), (0.5, 0.5, 0), 0)[0]["split"][:5])) == 1


def test_a_side_without_a_share_and_sides_of_the_source_stay_as_they_are():
    table, _ = assign_splits(make_table(list("abcdef")), np.eye(6), (0.9, 0.0, 0.1), 0)
    assert set(table["split"]) == {"train", "test"}
    given = ["val", "train", "train", "test", None, None]
    table, _ = assign_splits(make_table(list("abcdef"), given), np.eye(6), RATIOS, 0)
    assert list(table["split"][:4]) == given[:4]
    table, _ = assign_splits(make_table(list("abcdef"), ["train"] * 3 + [None] * 3), np.eye(6), RATIOS, 0)
    assert set(table["split"][3:]) >= {"val", "test"}
