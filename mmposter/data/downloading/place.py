"""Files for rows that have none: from the folder of posters, or from their links into it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmposter.data.downloading.download import Outcome, download
from mmposter.data.downloading.options import DownloadOptions
from mmposter.data.sources.base import SAFE_ID
from mmposter.errors import UserError
from mmposter.images.formats import picture_suffixes

if TYPE_CHECKING:
    from mmposter.data.sources.base import PosterRow, SourceRows

SUFFIX = ".jpg"  # whatever the picture is: it is opened by its content
THERE = "there"
# Windows takes these for devices, whatever follows the first dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class DeadLink:
    """A link whose poster is not there."""

    id: str
    url: str  # as the source has it
    reason: str
    message: str


@dataclass(frozen=True)
class Links:
    """What became of a source's links, one an id: ``sum(counts) == total``."""

    total: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)  # `THERE`, and the dead ones by reason
    dead: tuple[DeadLink, ...] = ()
    saved: int = 0  # of those that are there, how many came in this run


def sum_links(parts: Sequence[Links]) -> Links:
    """The links of several sources together."""
    counts = sum((Counter(part.counts) for part in parts), Counter[str]())
    there = counts.pop(THERE, 0)
    total = sum(part.total for part in parts)
    ordered = {THERE: there, **dict(sorted(counts.items()))} if total else {}
    dead = tuple(link for part in parts for link in part.dead)
    return Links(total, ordered, dead, sum(part.saved for part in parts))


def place_posters(
    found: SourceRows, folder: Path, options: DownloadOptions, *, quiet: bool = False
) -> tuple[SourceRows, Links]:
    """Give every row without a file the one that `folder` has under its id, downloaded before if the row has a link.

    A file that is there already (``<id>.jpg``, or another usual suffix) is taken as it is and not asked for again.
    Further rows of an id share the file of the first. Where all posters lie in `folder`, it is the root of the result.

    Raises:
        UserError: `folder` is a file or cannot be written.
    """
    there = _files_by_stem(folder)
    rows: list[PosterRow] = []
    links: dict[str, str] = {}  # id -> link; of an id that is there twice, the first row's
    for row in found.rows:
        if row.problem is not None or _has_file(row):
            rows.append(row)
        elif SAFE_ID.fullmatch(row.id) is None or _DEVICE.fullmatch(row.id):
            problem = f"the id {row.id!r} cannot be the name of a file" if row.url else None
            rows.append(replace(row, problem=problem))
        else:
            if row.url is not None:
                links.setdefault(row.id, row.url)
            rows.append(replace(row, path=there.get(row.id, row.path)))
    wanted = {folder / f"{row_id}{SUFFIX}": link for row_id, link in links.items() if row_id not in there}
    outcomes = download(wanted, folder, options, quiet=quiet) if wanted else {}
    rows = [_after(row, folder, outcomes) for row in rows]
    dead = tuple(
        DeadLink(row_id, link, outcome.reason, outcome.message)
        for row_id, link in links.items()
        if (outcome := outcomes.get(folder / f"{row_id}{SUFFIX}", Outcome())) and not outcome.saved
    )
    counts = Counter(link.reason for link in dead)
    ordered = {THERE: len(links) - len(dead), **dict(sorted(counts.items()))} if links else {}
    saved = sum(outcome.saved for outcome in outcomes.values())
    paths = [row.path for row in rows if row.path is not None and row.problem is None]
    base = folder.resolve()
    root = base if paths and all(isinstance(path, Path) and path.parent == base for path in paths) else found.root
    return replace(found, root=root, rows=rows), Links(len(links), ordered, dead, saved)


def _has_file(row: PosterRow) -> bool:
    """Whether its poster is there; an object of a store is, until it is read."""
    return isinstance(row.path, str) or (row.path is not None and row.path.is_file())


def _after(row: PosterRow, folder: Path, outcomes: Mapping[Path, Outcome]) -> PosterRow:
    if row.url is None or row.problem is not None or _has_file(row):
        return row
    outcome = outcomes.get(folder / f"{row.id}{SUFFIX}")
    if outcome is None or outcome.saved:
        return replace(row, path=folder.resolve() / f"{row.id}{SUFFIX}")
    return replace(row, path=None, absence=f"{outcome.reason}: {outcome.message}")


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """Pictures directly in `folder` by their names without suffix; .jpg first where there are several."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--posters {folder} is a file; it must be a folder.\nGive another path.")
    if not folder.is_dir():
        return {}
    base = folder.resolve()
    with os.scandir(base) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
    paths = [base / name for name in names if Path(name).suffix.lower() in picture_suffixes()]
    return {path.stem: path for path in sorted(paths, key=lambda path: path.suffix == SUFFIX)}
