"""Crops of posters as a data set: how many, where, on which side, and how much a split of crops leaks."""

from __future__ import annotations

import doctest
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmposter.data.crops as crops_module
from mmposter.data import Dataset, pixels, write_dataset
from mmposter.data.crops import (
    CropOptions,
    balance_by_crops,
    crop_table,
    crops_per_poster,
    leak_share,
    random_crop,
    split_warning,
)
from mmposter.data.dataset import manifest_table
from mmposter.data.splitting import stratified_sides
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.measurement.evaluate import evaluate_run
from mmposter.training import pictures
from mmposter.training.inputs import load_inputs
from mmposter.training.train import train

GENRES = ("Drama", "Comedy", "War")
VOCABULARY = Vocabulary("three", GENRES)


def posters(rows, folder="data") -> Dataset:
    """A data set in memory of (genres, split) or (genres, split, width, height)."""
    table = [
        {
            "id": f"tt{index:03}",
            "path": f"{index}.jpg",
            "title": None,
            "year": pd.NA,
            "genres": list(genres),
            "raw_genres": list(genres),
            "actors": [],
            "split": split,
            "group": f"tt{index:03}",
            "sha256": f"{index:064}",
            "width": size[0] if size else 300,
            "height": size[1] if size else 444,
        }
        for index, (genres, split, *size) in enumerate(rows)
    ]
    return Dataset(Path(folder), Path("posters"), pd.DataFrame(table), VOCABULARY, {"manifest_sha256": "0" * 64})


# Without None or nothing: a poster that `prepare` keeps has a genre and a side.
any_genres = st.lists(st.sampled_from(GENRES), min_size=1, max_size=3, unique=True)
any_poster = st.tuples(any_genres, st.sampled_from(["train", "val", "test"]), st.integers(32, 70), st.integers(32, 70))
any_posters = st.lists(any_poster, min_size=1, max_size=15).map(posters)
any_options = st.builds(
    CropOptions,
    target=st.integers(1, 60),
    size=st.integers(1, 80),
    seed=st.integers(0, 3),
    order=st.sampled_from(["split_first", "crops_first"]),
)


def poster_of(crop_id: str) -> str:
    return crop_id.rpartition("#")[0]


def slow_counts(labels: np.ndarray, target: int) -> list[int]:
    """The rule once more, crop by crop."""
    counts = [1] * len(labels)
    for genre in range(labels.shape[1]):
        mine = [row for row in range(len(labels)) if labels[row, genre]]
        turn = {row for row in mine if counts[row] == 1}
        for crop in range(len(mine), target if mine else 0):
            row = mine[crop % len(mine)]
            counts[row] += row in turn
    return counts


def test_counts_worked_by_hand():
    # The first genre is above its target. The second has posters 0, 1 and 2, which owe 3, 2 and 2 of 7. The third has
    # 0, 3 and 4 and owes 3, 2 and 2 as well: poster 0 stays at what it gives, were it less or more.
    labels = np.array([[0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], *[[1, 0, 0]] * 8], dtype=bool)
    assert crops_per_poster(labels[:, :2], 7).tolist() == [3, 2, 2, 1, 1, *[1] * 8]
    assert crops_per_poster(labels, 7).tolist() == [3, 2, 2, 2, 2, *[1] * 8]


def test_a_small_genre_inside_a_commoner_one_is_barely_augmented():
    """As the published text has it: its posters were used already."""
    small_inside = np.array([[True, False]] * 20 + [[True, True]] * 4 + [[False, True]])
    counts = crops_per_poster(small_inside, 48)
    assert counts[:24].tolist() == [2] * 24  # the common genre reaches the target
    assert counts[24] == 9  # the one poster that is of the small genre alone gives a fifth of the target
    assert counts[20:].sum() == 17  # so that the small genre has about a third of it


@given(
    labels=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12), target=st.integers(1, 50)
)
def test_counts_are_those_of_the_rule_crop_by_crop(labels, target):
    has = np.array(labels)
    counts = crops_per_poster(has, target)
    assert counts.tolist() == slow_counts(has, target)
    first = counts[has[:, 0]]
    if len(first):
        assert crops_per_poster(has[:, :1], target)[has[:, 0]].sum() == max(target, len(first))


@given(dataset=any_posters, options=any_options)
def test_every_poster_gives_crops_that_lie_inside_it(dataset, options):
    table = crop_table(dataset, options)
    assert table["id"].is_unique
    whole = dataset.table.set_index("id")
    numbers = defaultdict(list)
    for row in table.to_dict("records"):
        poster = whole.loc[poster_of(row["id"])]
        numbers[poster.name].append(int(row["id"].rpartition("#")[2]))
        left, top, right, bottom = row["crop"]
        assert 0 <= left < right <= poster["width"]
        assert 0 <= top < bottom <= poster["height"]
        assert right - left == min(options.size, poster["width"])
        assert bottom - top == min(options.size, poster["height"])
        assert {name: row[name] for name in ("path", "sha256", "group", "genres")} == {
            name: poster[name] for name in ("path", "sha256", "group", "genres")
        }
    assert {name: sorted(found) for name, found in numbers.items()} == {
        name: list(range(len(numbers[name]))) for name in whole.index
    }


@given(dataset=any_posters, options=any_options)
def test_clean_order_never_has_a_poster_on_two_sides(dataset, options):
    options = replace(options, order="split_first")
    table = crop_table(dataset, options)
    sides = dict(zip(dataset.table["id"], dataset.table["split"], strict=True))
    assert list(table["split"]) == [sides[poster_of(name)] for name in table["id"]]
    assert leak_share(table) == 0.0
    # Each side brings its commonest genre to its share of the target.
    for side, mine in table.groupby("split"):
        count = len(set(map(poster_of, mine["id"])))
        target = round(options.target * count / len(dataset))
        number = {genre: sum(genre in genres for genres in mine["genres"]) for genre in GENRES}
        assert max(number.values()) >= target, side


@given(dataset=any_posters, options=any_options, random=st.randoms(use_true_random=False))
def test_rows_order_is_of_no_consequence(dataset, options, random):
    order = list(range(len(dataset)))
    random.shuffle(order)
    mixed = replace(dataset, table=dataset.table.iloc[order].reset_index(drop=True))
    assert manifest_table(crop_table(mixed, options)).equals(manifest_table(crop_table(dataset, options)))


def test_commonest_genre_goes_first_whatever_the_vocabularys_order():
    # War, the last of the vocabulary, has three posters of four; Comedy has two, one of them together with War.
    dataset = posters([(("War",), "train"), (("War",), "train"), (("War", "Comedy"), "train"), (("Comedy",), "train")])
    table = crop_table(dataset, CropOptions(target=12))
    # 12 crops for War are 4 of each poster; then Comedy's own poster gives the half of 12, and the shared one stays at
    # 4. Comedy first would have had 6 and 6, and the other posters of War 4 each.
    assert Counter(map(poster_of, table["id"])) == {"tt000": 4, "tt001": 4, "tt002": 4, "tt003": 6}


def test_crops_fall_everywhere():
    boxes = np.array([random_crop(300, 444, 150, f"0/tt1#{k}") for k in range(2000)])
    left, top, right, bottom = boxes.T
    assert (right - left == 150).all()
    assert (bottom - top == 150).all()
    assert (left.min(), left.max()) == (0, 150)
    assert top.min() <= 2
    assert top.max() >= 292
    # Uniform on 0-150 and 0-294.
    assert left.mean() == pytest.approx(75, abs=4)
    assert top.mean() == pytest.approx(147, abs=8)
    # Drawn apart from each other, also where both have the same room.
    left, top = np.array([random_crop(300, 300, 150, f"0/tt1#{k}")[:2] for k in range(2000)]).T
    assert abs(np.corrcoef(left, top)[0, 1]) < 0.08


def many_posters() -> Dataset:
    """Like the published data: rare genres that are brought far up, and a stratified split, 70:10:20."""
    rng = np.random.default_rng(0)
    genres = [
        [genre for genre, often in zip(GENRES, (0.6, 0.2, 0.1), strict=True) if rng.random() < often]
        for _ in range(200)
    ]
    made = posters([(names or ["Drama"], "none") for names in genres])
    sides = stratified_sides(list(made.table["group"]), made.labels(), (0.7, 0.1, 0.2), 0)
    made.table["split"] = [sides[group] for group in made.table["group"]]
    return made


def test_leak_of_the_published_order_is_what_chance_gives():
    dataset = many_posters()
    options = CropOptions(target=600, order="crops_first")
    table = crop_table(dataset, options)
    leaky = replace(dataset, table=table)
    counts = Counter(map(poster_of, table["id"]))
    share = float((dataset.table["split"] == "train").mean())
    # A crop whose poster gives c has no sibling in train with the chance (1 - share)^(c - 1).
    expected = sum(c * (1 - (1 - share) ** (c - 1)) for c in counts.values()) / len(table)
    assert expected > 0.8
    assert leak_share(leaky.table) == pytest.approx(expected, abs=0.05)
    clean = replace(dataset, table=crop_table(dataset, replace(options, order="split_first")))
    assert leak_share(clean.table) == 0.0
    assert leak_share(dataset.table) == 0.0
    assert len(clean) == pytest.approx(len(leaky), rel=0.05)
    for side in ("train", "test"):
        assert len(clean.split(side)) == pytest.approx(len(leaky.split(side)), rel=0.3)  # few posters, many shared


def test_leak_near_one_where_every_poster_gives_many():
    dataset = posters([((GENRES[index % 3],), "train" if index % 3 else "test") for index in range(30)])
    table = crop_table(dataset, CropOptions(target=200, order="crops_first"))
    assert leak_share(table) > 0.99


def test_near_duplicates_count_as_siblings():
    dataset = posters([(("Drama",), "train"), (("Drama",), "test"), (("Drama",), "test")])
    dataset.table.loc[1, "group"] = "tt000"
    assert leak_share(dataset.table) == 0.5
    assert leak_share(dataset.split("train").table) == 0.0  # nothing to test on


def test_crops_are_dealt_in_the_shares_of_the_posters():
    dataset = many_posters()
    shares = dataset.table["split"].value_counts(normalize=True)
    dealt = crop_table(dataset, CropOptions(target=600, order="crops_first"))["split"].value_counts(normalize=True)
    for side in ("train", "val", "test"):
        assert dealt[side] == pytest.approx(shares[side], abs=0.001)


def test_another_seed_cuts_and_deals_otherwise():
    dataset = many_posters()
    one, two = (crop_table(dataset, CropOptions(300, 150, seed, "crops_first")) for seed in (0, 1))
    assert len(one) == pytest.approx(len(two), rel=0.05)  # which posters two genres share decides
    same = one.merge(two, on="id")
    assert (same["split_x"] != same["split_y"]).mean() > 0.2
    assert (same["crop_x"] == same["crop_y"]).mean() < 0.05


@pytest.fixture
def prepared(tmp_path) -> Dataset:
    made = many_posters()
    write_dataset(tmp_path / "ccu", made.table, VOCABULARY, {"root": str(tmp_path)})
    return Dataset.load(tmp_path / "ccu")


def test_same_options_give_the_same_bytes_and_others_replace_them(prepared, tmp_path):
    options = CropOptions(target=300, order="crops_first")
    first = balance_by_crops(prepared, tmp_path / "a", options)
    balance_by_crops(prepared, tmp_path / "b", options)
    files = [(tmp_path / name / file).read_bytes() for name in "ab" for file in ("manifest.parquet", "dataset.json")]
    assert files[:2] == files[2:]
    balance_by_crops(prepared, tmp_path / "a", options)  # what is there is what is asked for
    other = replace(options, seed=1)
    again = balance_by_crops(prepared, tmp_path / "a", other)
    assert again.info["manifest_sha256"] != first.info["manifest_sha256"]


def test_dataset_json_says_where_it_comes_from_and_that_it_leaks(prepared, tmp_path):
    leaky = balance_by_crops(prepared, tmp_path / "leaky", CropOptions(target=300, order="crops_first"))
    info = json.loads((tmp_path / "leaky" / "dataset.json").read_text())
    assert info["derived_from"] == {"data": "ccu", "manifest_sha256": prepared.info["manifest_sha256"]}
    assert info["options"] == {"target": 300, "size": 150, "seed": 0, "order": "crops_first", "ratios": None}
    assert info["leak_share"] == leak_share(leaky.table) > 0.5
    assert info["counts"]["posters"] == 200
    assert info["counts"]["crops"] == len(leaky) == sum(info["counts"]["splits"].values())
    labels = leaky.labels().sum(axis=0).astype(int).tolist()
    before = prepared.labels().sum(axis=0).astype(int).tolist()
    assert info["counts"]["genres"] == {
        genre: {"posters": b, "crops": a} for genre, b, a in zip(GENRES, before, labels, strict=True)
    }
    assert max(labels) >= 300  # the commonest reaches it; others may stay below
    assert f"{info['leak_share']:.1%} of the test crops" in split_warning(leaky)
    clean = balance_by_crops(prepared, tmp_path / "clean", CropOptions(target=300))
    assert clean.info["leak_share"] == 0.0
    assert split_warning(clean) is None
    assert split_warning(prepared) is None


def test_crops_come_back_from_disk_and_stay_with_their_rows(prepared, tmp_path):
    table = crop_table(prepared, CropOptions(target=300)).sort_values("id", ignore_index=True)
    data = balance_by_crops(prepared, tmp_path / "crops", CropOptions(target=300))
    assert data.crops == [tuple(box) for box in table["crop"]]
    assert data.root == prepared.root
    by_id = dict(zip(data.table["id"], data.crops, strict=True))
    for part in (data.split("test"), data.with_vocabulary(Vocabulary("war", ("War",)))[0]):
        assert 0 < len(part) < len(data)
        assert part.crops == [by_id[name] for name in part.table["id"]]
    assert data.image_path(0) == prepared.image_path(0)


def test_whole_posters_among_crops_and_none_at_all(prepared, tmp_path):
    assert prepared.crops is None
    assert "crop" not in pq.read_schema(prepared.folder / "manifest.parquet").names
    table = crop_table(prepared, CropOptions(target=1))
    table["crop"] = [None, *table["crop"][1:]]
    write_dataset(tmp_path / "mixed", table, VOCABULARY, {"root": str(tmp_path)})
    mixed = Dataset.load(tmp_path / "mixed").crops
    assert mixed[0] is None
    assert all(len(box) == 4 for box in mixed[1:])


def test_what_cannot_be_cropped_is_refused(prepared, tmp_path):
    crops = balance_by_crops(prepared, tmp_path / "crops", CropOptions(target=10))
    with pytest.raises(UserError, match=r"made of crops already(.|\n)*: ccu"):
        crop_table(crops, CropOptions())
    with pytest.raises(UserError, match="has no genres"):
        crop_table(replace(prepared, genre_vocabulary=None), CropOptions())
    with pytest.raises(UserError, match="no posters to make crops of"):
        crop_table(replace(prepared, table=prepared.table.head(0)), CropOptions())
    with pytest.raises(UserError, match="holds the posters that the crops are made of"):
        balance_by_crops(prepared, prepared.folder, CropOptions())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        balance_by_crops(prepared, tmp_path / "file", CropOptions())


def test_examples_in_the_docstrings_hold():
    result = doctest.testmod(crops_module)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize(("regime", "branches"), [("features", "cnn"), ("finetune", "cnn,yolo,ocr")])
def test_features_of_crops_are_refused(world, tmp_path, regime, branches):
    data = balance_by_crops(world.dataset, tmp_path / "crops", CropOptions(target=40, size=32))
    config = world.config(regime=regime, branches=branches)
    named = "cnn" if regime == "features" else "yolo, ocr"
    with pytest.raises(UserError, match=rf"crops of posters(.|\n)*\({named}\)(.|\n)*--regime finetune --branches cnn"):
        load_inputs(config, data, device="cpu", offline=True, quiet=True)


def test_a_network_learns_and_is_measured_on_the_crops(world, tmp_path, monkeypatch):
    data = balance_by_crops(world.dataset, tmp_path / "crops", CropOptions(target=70, size=40, order="crops_first"))
    seen = []
    for module in (pixels, pictures):  # of a training, and of one pass
        monkeypatch.setattr(module, "crop_image", lambda image, crop: seen.append(crop) or image.crop(crop))
    config = world.config("train.epochs=1", regime="finetune", branches="cnn")
    run = train(config, data, tmp_path / "run", device="cpu", offline=True, quiet=True).run
    assert set(seen) == {*data.split("train").crops, *data.split("val").crops}
    seen.clear()
    result = evaluate_run(run, data, device="cpu", offline=True, include_trained=True)
    assert result.n == len(data.split("test"))
    assert seen == data.split("test").crops
    # Without asking, crops of posters that were trained on are left out: here the leak.
    assert evaluate_run(run, data, device="cpu", offline=True).n < result.n
