"""Sources that were cleaned and split alone become one data set, in which nothing of a measured film teaches.

Each source keeps its own split. Films and near-duplicates are then looked for over all sources, and where a group lies
in several, the earlier source has its way: a later one's posters of a film that is for training there are for training
too, and those of a film that is measured there stay on the same side or are dropped. So the first source's split is the
one that it has alone, poster for poster.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pandas as pd

from mmposter.data.cleaning import cut
from mmposter.data.duplicates import group_posters
from mmposter.data.preparation import Prepared
from mmposter.data.several import common_root
from mmposter.data.sources.base import Issue
from mmposter.data.splitting import NO_SPLIT, SPLITS
from mmposter.data.unknown import sum_unknown

Row: TypeAlias = Mapping[Hashable, Any]

MEASURED_ELSEWHERE, MOVED, TAKEN_ID = "measured_elsewhere", "moved_to_train", "taken_id"


def join_sources(parts: Mapping[str, Prepared], distance: int) -> Prepared:
    """One data set of several, by the names of the sources; the first that has a film decides on its side.

    Dropped of a later source: what is of a measured film and not on the same side (``measured_elsewhere``), an id that
    is there before for the same film or picture (``duplicate_id``), and the same bytes (``same_file``). Another film
    that has an id of an earlier source becomes ``SOURCE/ID``.

    Args:
        parts: of each source what it is alone, with absolute paths.
        distance: Hamming distance of 64-bit perceptual hashes up to which posters are one group.

    Returns:
        The tables have a column source.

    Raises:
        UserError: the sources have no folder in common.
    """
    table = pd.concat([part.table.assign(source=name) for name, part in parts.items()], ignore_index=True)
    met = list(table["id"])
    table["id"] = _single_ids(met, list(table["source"]))
    renamed = [
        Issue(TAKEN_ID, row_id, f"{source}: its id {name} is another poster's of an earlier source")
        for row_id, name, source in zip(table["id"], met, table["source"], strict=True)
        if row_id != name
    ]
    table["group"], _, alike = group_posters(table, distance, alone=list(table["group"]))
    fates, moved = _fates(table, met)
    table["split"] = [fate.split for fate in fates]
    bad = [fate for fate in fates if fate.reason is not None]
    dropped_groups = set(table.loc[[fate.reason is not None for fate in fates], "group"])
    kept, out = cut(
        table,
        [fate.reason is not None for fate in fates],
        [str(fate.reason) for fate in bad],
        [fate.message for fate in bad],
    )
    out["source"] = [fate.source for fate in bad]
    out["id"] = [fate.met for fate in bad]
    # What a dropped poster alone has joined is no group any more.
    loose = kept["group"].isin(dropped_groups)
    if loose.any():
        kept.loc[loose, "group"] = group_posters(kept[loose].reset_index(drop=True), distance)[0]
    ids = set(kept["id"])
    issues = [
        replace(issue, message=f"{name}: {issue.message}") for name, part in parts.items() for issue in part.issues
    ]
    first = next(iter(parts.values()))
    return replace(
        first,
        root=common_root([part.root for part in parts.values()]),
        records={},
        table=kept,
        dropped=pd.concat(
            [*(part.dropped.assign(source=name) for name, part in parts.items()), out], ignore_index=True
        ),
        issues=[*issues, *alike, *moved, *(issue for issue in renamed if issue.id in ids)],
        unknown=sum_unknown([part.unknown for part in parts.values()]),
        posters_found=sum(part.posters_found for part in parts.values()),
        without_poster=sum(part.without_poster for part in parts.values()),
        parts=parts,
    )


@dataclass(frozen=True)
class _Fate:
    """What becomes of one row: its side, and why it is dropped if it is."""

    source: str
    met: str  # its id in the source
    split: str
    reason: str | None = None
    message: str = ""


def _single_ids(ids: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Ids of which none is there twice: that of an earlier source stays, a later one's gets its source's name."""
    taken, seen, single = set(ids), set[str](), []
    for name, source in zip(ids, sources, strict=True):
        one = name
        if name in seen:
            while one in taken:
                one = f"{source}/{one}"
            taken.add(one)
        seen.add(name)
        single.append(one)
    return single


def _fates(table: pd.DataFrame, met: Sequence[str]) -> tuple[list[_Fate], list[Issue]]:
    """What becomes of each row, and an issue for each that goes to training (``moved_to_train``).

    Args:
        table: by source, with groups over all of them.
        met: ids as the sources have them.
    """
    leaders: dict[str, Row] = {}  # of each group its first row
    sides: dict[str, set[str]] = {}  # of each group those that its first source has
    kept_ids: dict[tuple[str, str], str] = {}  # group and id as it was met -> source
    kept_files: dict[str, tuple[str, str]] = {}  # bytes -> source and id
    fates: list[_Fate] = []
    moved: list[Issue] = []
    rows = table[["id", "source", "group", "split", "sha256"]].to_dict("records")
    for row, name in zip(rows, met, strict=True):
        leader = leaders.setdefault(row["group"], row)
        if leader["source"] == row["source"]:
            sides.setdefault(row["group"], set()).add(row["split"])
        fate = _fate(row, name, leader, sides[row["group"]])
        if fate.reason is None and leader["source"] != row["source"]:
            if kept_ids.get((row["group"], name), row["source"]) != row["source"]:
                message = f"{name} is in {kept_ids[row['group'], name]}, which is kept"
                fate = replace(fate, reason="duplicate_id", message=message)
            elif kept_files.get(row["sha256"], (row["source"], ""))[0] != row["source"]:
                message = f"same bytes as {kept_files[row['sha256']][1]} of {kept_files[row['sha256']][0]}"
                fate = replace(fate, reason="same_file", message=f"{message}, which is kept")
        if fate.reason is None:
            kept_ids.setdefault((row["group"], name), row["source"])
            kept_files.setdefault(row["sha256"], (row["source"], row["id"]))
            if fate.split != row["split"]:
                message = f"{row['source']}: was for {row['split']}; {_kin(leader)} is for training"
                moved.append(Issue(MOVED, row["id"], message))
        fates.append(fate)
    return fates, moved


def _fate(row: Row, met: str, leader: Row, sides: set[str]) -> _Fate:
    """By the sides that the group has in the first source that has it."""
    fate = _Fate(row["source"], met, row["split"])
    if leader["source"] == row["source"] or sides == {row["split"]} or sides == {NO_SPLIT}:
        return fate
    if sides == {"train"}:
        return replace(fate, split="train")
    there = " and ".join(side for side in SPLITS if side in sides)
    message = f"for {row['split']} in {row['source']}; {_kin(leader)} is for {there}"
    return replace(fate, reason=MEASURED_ELSEWHERE, message=message)


def _kin(leader: Row) -> str:
    return f"{leader['id']} of {leader['source']}, of the same film or picture,"
