"""The posters as a published system wants them: its genres, and crops where it makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmposter.data.crops import CropOptions, balance_by_crops
from mmposter.data.dataset import Dataset, read_info, write_dataset
from mmposter.data.splitting import draw
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.outputs import claim
from mmposter.outputs.kinds import PREPARED
from mmposter.published.systems import Published, Variant
from mmposter.report.balance import write_balance

FEW = 10
"""Posters to train on below which no result means anything."""


def task_dataset(dataset: Dataset, vocabulary: str, out: Path, limit: int | None = None) -> Dataset:
    """The posters of `dataset` under another vocabulary, led anew from their raw genres; split and groups stay.

    Args:
        vocabulary: a built-in name.
        out: the derived data set is written below it, unless `dataset` is already what is wanted or it is there. The
            features of `dataset` serve it too.
        limit: take only about so many posters, the same ones each time, of each side its share; None: all.

    Raises:
        UserError: no labels, no poster with a genre of the vocabulary, or too few to train on.
    """
    wanted = Vocabulary.load(vocabulary)
    derived, without = dataset.with_vocabulary(wanted)
    # Its mapping may be of another version: only what it makes of these posters counts.
    same = dataset.vocabulary.same_labels(wanted) and list(derived.table["genres"]) == list(dataset.table["genres"])
    if same and limit is None:
        return dataset
    folder = out / (vocabulary if limit is None else f"{vocabulary}-{limit}-posters")
    origin = {
        "data": dataset.folder.resolve().name,
        "manifest_sha256": str(dataset.info["manifest_sha256"]),
        "vocabulary": dataset.vocabulary.name,
    }
    made = {"derived_from": origin, "vocabulary_file": wanted.to_json(), "limit": limit}
    info = read_info(folder)
    if info is not None and all(info.get(key) == value for key, value in made.items()):
        return Dataset.load(folder, dataset.root)
    if limit is not None:
        derived = _some(derived, limit)
    trained_on = int((derived.table["split"] == "train").sum())
    if trained_on < FEW:
        raise UserError(
            f"{dataset.folder} has {trained_on} posters to train on with genres of {vocabulary} "
            f"({', '.join(wanted.genres)}); {FEW} are the least.\nPrepare data with raw genres of IMDb."
        )
    counts = {"kept": len(derived), "without_genre": len(without)}
    with claim(folder, PREPARED, go_on=True):
        write_dataset(
            folder,
            derived.table,
            wanted,
            {"root": str(dataset.root), **made, "counts": counts, "features": str(dataset.features_folder.resolve())},
        )
    return Dataset.load(folder)


def cropped_dataset(task: Dataset, published: Published, variant: Variant, out: Path, target: int) -> Dataset:
    """A task's crops in the order of the variant, `target` a genre; made once (UserError: as `balance_by_crops`)."""
    crops, order = published.system.crops, published.order(variant)
    assert crops is not None
    assert order is not None
    limit = task.info.get("limit")
    some = "" if limit is None else f"-{limit}-posters"
    folder = out / f"{task.vocabulary.name}{some}-{order}-{target}"
    balanced = balance_by_crops(task, folder, CropOptions(target=target, size=crops.size, order=order))
    write_balance(balanced)
    return balanced


def without_validation(task: Dataset, out: Path) -> Dataset:
    """A task whose validation posters are trained on, and whose test posters are watched in their place: a fault.

    The network is measured on `task` itself, on the test posters that it was chosen on.
    """
    table = task.table.assign(split=task.table["split"].replace({"val": "train", "test": "val"}))
    folder = out / f"{task.folder.resolve().name}-watched-on-test"
    info = {
        "root": str(task.root),
        "derived_from": {"data": task.folder.resolve().name, "manifest_sha256": str(task.info["manifest_sha256"])},
        "features": str(task.features_folder.resolve()),
    }
    with claim(folder, PREPARED, go_on=True):
        write_dataset(folder, table, task.vocabulary, info)
    return Dataset.load(folder)


def _some(dataset: Dataset, limit: int) -> Dataset:
    """Near-duplicate groups in the order of a hash of their names, until a side has its share of `limit`."""
    share = limit / len(dataset)
    groups = list(dataset.table["group"])
    ranks = {group: draw(str(group)) for group in set(groups)}
    kept = []
    for side in sorted(set(dataset.table["split"])):
        rows = dataset.table.index[dataset.table["split"] == side]
        ordered = sorted(rows, key=lambda row: (ranks[groups[row]], row))
        kept += ordered[: round(share * len(rows))]
    return replace(dataset, table=dataset.table.loc[sorted(kept)].reset_index(drop=True))
