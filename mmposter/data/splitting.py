"""Training, validation and test: stratified over all genres at once, one film's and near-duplicates on one side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmposter.data.sources.base import Issue
from mmposter.errors import UserError

SPLITS = ("train", "val", "test")
NO_SPLIT = "none"
RATIOS = (0.7, 0.1, 0.2)

NEEDED = {"train": 2, "val": 1, "test": 1}
"""Groups that a side needs to be of use, in the order in which they are found for it."""

SPLIT_ADVICE = (
    "Prepare 3 posters or more that are no near-duplicates of each other; where the source names the sides itself, let "
    "it name train and val: mmposter prepare SOURCE --out DATA --overwrite --ratios 0.7 0.1 0.2"
)
"""What to type where a side that is needed is empty."""

_ALIASES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


def draw(text: str) -> bytes:
    """Eight bytes that are random and yet always those of this text, whatever a library's version."""
    return blake2b(text.encode(), digest_size=8).digest()


def check_ratios(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Three shares for train, val and test.

    Raises:
        UserError: not three numbers of 0 or more with the sum 1, or nothing left for training.
    """
    if len(ratios) != 3 or min(ratios) < 0 or ratios[0] == 0 or abs(sum(ratios) - 1) > 1e-6:
        raise UserError(
            f"split ratios must be three numbers for train, val and test, 0 or more (train more than 0), with the sum "
            f"1; got {', '.join(f'{ratio:g}' for ratio in ratios)}.\nType for example: --ratios 0.7 0.1 0.2"
        )
    return (float(ratios[0]), float(ratios[1]), float(ratios[2]))


def stratified_sides(
    groups: Sequence[str], labels: NDArray[np.float32], ratios: Sequence[float], seed: int
) -> dict[str, str]:
    """Give each group a side by iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011).

    A group is one item with the union of its posters' labels, so that it cannot be parted. The result depends on the
    groups, their labels, the ratios and the seed, not on the order of the rows.

    Args:
        groups: N group names.
        labels: N x G multi-hot.
        ratios: shares of train, val and test; a side with share 0 gets nothing.
        seed: shuffles the items and breaks ties.

    Returns:
        Group name -> ``train``, ``val`` or ``test``.
    """
    used = [index for index, ratio in enumerate(ratios) if ratio > 0]
    parts = stratified_parts(groups, labels, [ratios[index] for index in used], seed)
    return {group: SPLITS[used[part]] for group, part in parts.items()}


def stratified_parts(
    groups: Sequence[str], labels: NDArray[np.float32], shares: Sequence[float], seed: int
) -> dict[str, int]:
    """Give each group one of the parts 0, 1, ... of these `shares` (each above 0, sum 1), as `stratified_sides` does.

    Args:
        groups: N group names.
        labels: N x G multi-hot.
        shares: of the parts; for the folds of a cross-validation all alike.
        seed: shuffles the items and breaks ties.

    Returns:
        Group name -> number of the part.
    """
    from iterstrat.ml_stratifiers import IterativeStratification  # with scikit-learn, which few commands need

    names, item = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    union = np.zeros((len(names), labels.shape[1]), dtype=bool)
    np.logical_or.at(union, item, labels > 0)
    random = np.random.RandomState(seed)
    # The algorithm goes through items in the given order, and ids follow the year of the movie.
    order = random.permutation(len(names))
    parts = IterativeStratification(union[order], np.array(shares), random)
    return {str(names[place]): int(part) for place, part in zip(order, parts, strict=True)}


def assign_splits(
    table: pd.DataFrame,
    labels: NDArray[np.float32],
    ratios: Sequence[float],
    seed: int,
    items: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, list[Issue]]:
    """Fill the column split. A side given by the source wins; the other posters are stratified.

    A given side is never changed. Where a group's posters are given different sides, each is an issue
    (``parted_group``): the source's own split leaks. Its posters without a given side, and those of a group with one,
    go where most of the others are (equal numbers: test before val before train, so that no copy of a test poster is
    trained on). A side that is no known name counts as not given (``unknown_split``). Each side with a share gets a
    group, and train two, where there are enough of them (see `NEEDED`).

    Args:
        table: has the columns id, group and split (raw name or None).
        labels: N x G multi-hot.
        ratios: shares of train, val and test for the posters without a given side.
        seed: of the stratification.
        items: smaller groups that are stratified, None for the groups themselves; a group goes where that of its own
            name goes. So a pair that is found anew moves its own posters, not all others.
    """
    issues: list[Issue] = []
    given = [_given_side(row_id, text, issues) for row_id, text in zip(table["id"], table["split"], strict=True)]
    votes: dict[str, Counter[str]] = {}
    for group, side in zip(table["group"], given, strict=True):
        if side is not None:
            votes.setdefault(group, Counter())[side] += 1
    sides = {group: max(SPLITS, key=lambda side: (count[side], SPLITS.index(side))) for group, count in votes.items()}
    for row_id, group, side in zip(table["id"], table["group"], given, strict=True):
        if side is not None and len(votes[group]) > 1:
            parted = ", ".join(sorted(votes[group], key=SPLITS.index))
            message = f"the source's split parts group {group}, one film or one picture: it is in {parted}"
            issues.append(Issue("parted_group", row_id, message))
    free = ~table["group"].isin(list(sides)).to_numpy(dtype=bool)
    names = np.array(table["group"] if items is None else items, dtype=object)
    if free.any():
        drawn = stratified_sides(names[free].tolist(), labels[free], ratios, seed)
        drawn = {group: drawn[group] for group in table.loc[free, "group"]}
        wanted = [side for side, ratio in zip(SPLITS, ratios, strict=True) if ratio > 0]
        sides |= _fill_sides(drawn, Counter(sides.values()), wanted, seed)
    split = [side or sides[group] for side, group in zip(given, table["group"], strict=True)]
    return table.assign(split=split), issues


def _fill_sides(drawn: dict[str, str], given: Counter[str], wanted: Sequence[str], seed: int) -> dict[str, str]:
    """Move groups to the sides that few posters leave without any: the largest side gives, then the later one.

    Args:
        drawn: group name -> side, of the groups that may be moved.
        given: groups that each side has beside them.
        wanted: the sides that shall have some, in the order of `NEEDED`.
    """
    sides = dict(drawn)
    order = sorted(drawn, key=lambda group: draw(f"{seed}/{group}"))  # which of them moves
    for place, side in enumerate(wanted):
        while True:
            counts = given + Counter(sides.values())
            if counts[side] >= NEEDED[side]:
                break
            spare = {
                other: counts[other] - (NEEDED[other] if other not in wanted[place:] else 0)
                for other in wanted
                if other != side and other in sides.values()
            }
            giver = max(spare, key=lambda other: spare[other], default=side)
            if spare.get(giver, 0) <= 0:
                break
            sides[next(group for group in order if sides[group] == giver)] = side
    return sides


def _given_side(row_id: str, text: str | None, issues: list[Issue]) -> str | None:
    if text is None:
        return None
    name = text.strip().casefold()
    side = _ALIASES.get(name, name)
    if side in SPLITS:
        return side
    issues.append(Issue("unknown_split", row_id, f"split {text!r} is none of {', '.join(SPLITS)}; it was not used"))
    return None
