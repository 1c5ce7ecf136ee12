"""Branches dealt to other posters: the control that keeps what a branch is like and takes what it says.

If a model with a shuffled branch is as good as one with the branch, the branch was worth nothing, and what looked like
a gain came from more parameters or from noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from mmposter.data.dataset import Dataset
from mmposter.data.splitting import draw
from mmposter.features.ragged import take
from mmposter.features.table import FeatureTable


def shuffle_branches(features: FeatureTable, branches: Sequence[str], dataset: Dataset, seed: int) -> FeatureTable:
    """The table with the records of `branches` dealt to other posters of the same split.

    Train, val and test posters (and those of no split) each keep among themselves, so that nothing of a test poster
    reaches training. A record goes as it is, also an empty one; a poster that is not usable keeps its own. Each branch
    is dealt by itself: two that are shuffled do not stay together.

    Two branches look at one picture network. With `style.reweight_cnn` the style statistics weigh the CNN's channels:
    shuffle ``style``, and the ``cnn`` branch gets a stranger's weights; shuffle ``cnn``, and the stranger's channels
    get this poster's. ``style.reweight_cnn=false`` keeps the two apart.

    Args:
        features: the records of N posters.
        branches: whose records are dealt; all others stay.
        dataset: the same N posters, with id, split and group.
        seed: of the deal; the same posters, seed and branch are always dealt the same.
    """
    if not branches:
        return features
    table = dataset.table
    ids, groups, splits = list(table["id"]), list(table["group"]), list(table["split"])
    tensors = dict(features.tensors)
    for branch in branches:
        rows = list(range(len(ids)))
        for split in dict.fromkeys(splits):
            mine = [row for row in range(len(ids)) if splits[row] == split and features.usable[row]]
            dealt = deal([ids[row] for row in mine], [groups[row] for row in mine], f"{seed}/{branch}")
            for row, giver in zip(mine, dealt, strict=True):
                rows[row] = mine[giver]
        own = {name: values for name, values in tensors.items() if name.startswith(f"{branch}.")}
        tensors |= take(own, torch.tensor(rows))
    return replace(features, tensors=tensors)


def deal(ids: Sequence[str], groups: Sequence[str], seed: str) -> list[int]:
    """For each of N posters the one whose record it gets: a permutation, and where N is 2 or more, none gets its own.

    The posters are put in a random circle in which each group stands together, and everybody takes the record of the
    poster as many places on as the largest group is large. So nobody gets one of its own group, unless a group holds
    more than half of all posters, where it cannot be avoided. The order comes from a hash of the ids and not from a
    random generator: it depends neither on the order of the rows nor on a library's version.

    >>> deal(["a", "b", "c"], ["a", "b", "c"], "0/yolo")
    [1, 2, 0]
    """

    def place(row: int) -> tuple[bytes, str, bytes]:
        return draw(f"{seed}/{groups[row]}"), groups[row], draw(f"{seed}/{ids[row]}")

    circle = sorted(range(len(ids)), key=place)
    largest = max(Counter(groups).values(), default=0)
    step = min(largest, len(ids) // 2)
    dealt = list(range(len(ids)))
    for at, row in enumerate(circle):
        dealt[row] = circle[(at + step) % len(circle)]
    return dealt
