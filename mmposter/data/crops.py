"""Genres balanced by random crops: a data set whose rows are parts of posters; no pixel is copied.

The rule is that of a published system (P1, DenseNet on 20 genres): "each genre is brought to 3000 samples by random
150x150 crops; a poster already augmented for one genre is not augmented again for another". It leaves three things
open. Our reading:

- Genres are gone through from the commonest to the rarest, as the system's text describes it: a genre near the target
  is hardly augmented, and a smaller one that overlaps with it "is barely augmented either", its posters being used up.
- A genre's posters share the target evenly: of 600 posters each owes 5 of 3000 crops. Those that were augmented for a
  commoner genre, which means that they give two or more, stay as they are; what they do not give is given by nobody.
- Every poster gives at least one crop, and a genre with more posters than the target takes nothing. So the commonest
  genres end above the target, by the crops of others, and the rare ones below it.

This reading gives 3.2 crops a poster on 70 % of the system's posters with 70 % of its target; the published number is
3.2, too (26,049 of 8,052 posters).

What the system did next is the fault that this module measures: it split the crops, not the posters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmposter.data.dataset import Dataset, write_dataset
from mmposter.data.splitting import SPLITS, draw
from mmposter.errors import UserError
from mmposter.images.reading import Crop
from mmposter.outputs import claim
from mmposter.outputs.kinds import PREPARED

CropOrder = Literal["split_first", "crops_first"]


@dataclass(frozen=True)
class CropOptions:
    """How crops are made."""

    target: int = 3000  # samples to which each genre is brought, over all sides together
    size: int = 150  # side of a crop in pixels; of a smaller poster it is as much as there is
    seed: int = 0  # of the crops' places, and of the deal
    # `split_first`: the crops of a poster stay on the poster's side. `crops_first`: as published, crops are made over
    # all posters and then dealt to the sides at random, so that one poster is on several of them.
    order: CropOrder = "split_first"

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they are read from dataset.json again."""
        return {**asdict(self), "ratios": None}  # which could be chosen once


def balance_by_crops(dataset: Dataset, out: Path, options: CropOptions) -> Dataset:
    """Write the crops of `dataset` as a data set of its own, and load it.

    Its dataset.json holds the options, the counts by genre before and after, how much the split leaks, and the
    checksum of the manifest that the crops were made from. The same posters and options give the same manifest, byte
    for byte. Other prepared data in `out` are replaced.

    Raises:
        UserError: no labels, no posters, crops already, or another process writes to `out`.
        OSError: `out` cannot be written.
    """
    table = crop_table(dataset, options)
    info = {
        "options": options.to_json(),
        "derived_from": {"data": dataset.folder.resolve().name, "manifest_sha256": dataset.info["manifest_sha256"]},
        "vocabulary": dataset.vocabulary.name,
        "leak_share": leak_share(table),
        "counts": _counts(dataset, table),
    }
    if out.resolve() == dataset.folder.resolve():
        raise UserError(f"{out} holds the posters that the crops are made of; give another folder.")
    with claim(out, PREPARED, go_on=True):
        write_dataset(out, table, dataset.vocabulary, {"root": str(dataset.root), **info})
    return Dataset.load(out)


def crop_table(dataset: Dataset, options: CropOptions) -> pd.DataFrame:
    """The manifest's rows of the crops, nothing written.

    A row is its poster's, but for ``id`` (``POSTER#k``), ``crop`` (left, top, right, bottom in pixels of the upright
    picture) and, with crops_first, ``split``; ``group`` stays, so that intervals go over posters and leaks are seen.

    Every side is brought to its share of the target (its posters among all posters, times `target`), so that with the
    shares of the posters both orders train on about as many crops and measure on about as many.

    Raises:
        UserError: `dataset` has no labels or no posters, or is made of crops already.
    """
    labels = _labels(dataset)  # refuses what cannot be cropped
    ids, splits = list(dataset.table["id"]), dataset.table["split"].to_numpy(dtype=object)
    commonest_first = (-labels.sum(axis=0)).argsort(kind="stable")
    whole = [np.arange(len(ids))]
    parts = whole if options.order == "crops_first" else [np.flatnonzero(splits == side) for side in SPLITS]
    counts = np.zeros(len(ids), dtype=np.int64)
    for part in parts:
        target = round(options.target * len(part) / len(ids))
        drawn = part[_shuffled([ids[row] for row in part], f"{options.seed}/share")]
        counts[drawn] = crops_per_poster(labels[drawn][:, commonest_first], target)
    rows = np.repeat(np.arange(len(ids)), counts)
    number = np.concatenate([np.arange(count) for count in counts])
    table = dataset.table.iloc[rows].reset_index(drop=True)
    table["id"] = [f"{name}#{k}" for name, k in zip(table["id"], number, strict=True)]
    table["crop"] = [
        list(random_crop(width, height, options.size, f"{options.seed}/{name}"))
        for name, width, height in table[["id", "width", "height"]].itertuples(index=False)
    ]
    if options.order == "crops_first":
        shares = [float((splits == side).mean()) for side in SPLITS]
        table["split"] = _deal(list(table["id"]), shares, f"{options.seed}/deal")
    return table


def crops_per_poster(labels: NDArray[np.bool_], target: int) -> NDArray[np.int64]:
    """How many crops each of N posters gives, by the rule of the module.

    Args:
        labels: N x G, the genres in the order in which they are gone through. Where a genre's posters cannot all owe
            the same number, the first ones owe one more.
        target: samples of each genre.

    Returns:
        N, each 1 or more.

    >>> common_and_rare = np.array([[True, True], [True, False], [False, True]])
    >>> crops_per_poster(common_and_rare, 6).tolist()  # the first poster is used up when the rare genre's turn comes
    [3, 3, 3]
    >>> crops_per_poster(np.array([[True, True], [True, False], [True, False]]), 3).tolist()  # as many as wanted
    [3, 1, 1]
    """
    counts = np.ones(len(labels), dtype=np.int64)
    for has in labels.T:
        rows = np.flatnonzero(has)
        if 0 < len(rows) < target:
            each, more = divmod(target, len(rows))
            owed = each + (np.arange(len(rows)) < more)
            counts[rows] = np.where(counts[rows] == 1, owed, counts[rows])
    return counts


def random_crop(width: int, height: int, size: int, seed: str) -> Crop:
    """A square of `size` pixels anywhere in a picture of width x height pixels, cut where the picture is smaller."""
    wide, high = min(size, width), min(size, height)
    number = int.from_bytes(draw(seed), "little")
    left = (number & 0xFFFFFFFF) % (width - wide + 1)
    top = (number >> 32) % (height - high + 1)
    return (left, top, left + wide, top + high)


def leak_share(table: pd.DataFrame) -> float:
    """The share of test rows with a sibling (same poster, or a near-duplicate) among the train rows, in 0-1.

    0 where there is no test row. Works for whole posters, too.
    """
    tested = table.loc[table["split"] == "test", "group"]
    trained = set(table.loc[table["split"] == "train", "group"])
    return float(tested.isin(trained).mean()) if len(tested) else 0.0


def split_warning(dataset: Dataset) -> str | None:
    """A line for people where dataset.json says that the split leaks; None where it does not say so."""
    share = dataset.info.get("leak_share")
    if not share:
        return None
    return (
        f"This split leaks: {share:.1%} of the test crops show a poster of which other crops are in train. What is "
        "measured here says little about new posters."
    )


def _labels(dataset: Dataset) -> NDArray[np.bool_]:
    labels = dataset.labels() > 0
    if dataset.crops is not None:
        made_from = dataset.info.get("derived_from", {}).get("data", "the data of `mmposter prepare`")
        raise UserError(
            f"{dataset.folder} is made of crops already; only whole posters can be cropped.\n"
            f"Take the posters that it was made from: {made_from}"
        )
    if not len(labels):
        raise UserError(f"{dataset.folder} has no posters to make crops of; at least one is needed.")
    return labels


def _deal(ids: Sequence[str], shares: Sequence[float], seed: str) -> NDArray[Any]:
    """A side for each of N crops, at random, as many a side as its share says."""
    sides = np.empty(len(ids), dtype=object)
    ends = np.rint(np.cumsum([0.0, *shares]) * len(ids)).astype(int)
    dealt = _shuffled(ids, seed)
    for side, start, end in zip(SPLITS, ends, ends[1:], strict=False):
        sides[dealt[start:end]] = side
    return sides


def _shuffled(ids: Sequence[str], seed: str) -> NDArray[np.int64]:
    """The places of `ids` in a random order, which is that of a hash: no library's version can change it."""
    return np.array(sorted(range(len(ids)), key=lambda row: draw(f"{seed}/{ids[row]}")), dtype=np.int64)


def _counts(dataset: Dataset, table: pd.DataFrame) -> dict[str, Any]:
    before = Counter(genre for genres in dataset.table["genres"] for genre in genres)
    after = Counter(genre for genres in table["genres"] for genre in genres)
    sides = Counter(table["split"])
    return {
        "posters": len(dataset),
        "crops": len(table),
        "splits": {side: sides[side] for side in SPLITS if sides[side]},
        "genres": {genre: {"posters": before[genre], "crops": after[genre]} for genre in dataset.vocabulary.genres},
    }
