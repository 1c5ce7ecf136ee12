"""Several sources for one data set: what each is called, how it is read and split, and the folder that holds all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from mmposter.data.duplicates import imdb_id
from mmposter.data.sources import read_source
from mmposter.data.sources.base import AUTO, SourceRows
from mmposter.data.sources.frame import is_frame, read_frame
from mmposter.data.sources.recognised import settle_format
from mmposter.data.splitting import check_ratios
from mmposter.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Value = TypeVar("Value")

Source: TypeAlias = "str | Path | pd.DataFrame"
"""A folder or a table's file by its path, or a table in memory with the columns of format csv."""

_FRAME = "table"
"""The name of a source that is no file, and what is read of it: format csv."""


@dataclass(frozen=True)
class Asked:
    """One source as `prepare` was asked for it."""

    name: str  # short, and no other source's; it can name a folder
    path: Path
    format: str
    ratios: tuple[float, float, float]  # shares of train, val and test
    frame: pd.DataFrame | None = None  # the table itself, where it is no file
    recognised: str = ""  # by what the format was recognised, in words; empty where it was given

    def read(self) -> SourceRows:
        """Its rows (UserError: it cannot be read so)."""
        if self.frame is None:
            return read_source(self.path, self.format)
        return read_frame(self.frame)


def ask_sources(
    sources: Source | Sequence[Source],
    formats: str | Sequence[str],
    ratios: Sequence[float] | Sequence[Sequence[float]],
) -> list[Asked]:
    """Each source with its name, format and ratios; formats and ratios are given once for all, or once for each.

    Args:
        sources: one, or several.
        formats: names of formats, or `AUTO`, which is replaced by the one that is recognised.
        ratios: shares of train, val and test.

    Raises:
        UserError: no source, one that is there twice, another number of formats or ratios, ratios that are none, or a
            format that is not recognised.
    """
    given = (
        [sources] if isinstance(sources, str | Path) or is_frame(sources) else list(cast("Sequence[Source]", sources))
    )
    frames = [one if is_frame(one) else None for one in given]
    paths = [Path(_FRAME) if is_frame(one) else Path(cast("str | Path", one)) for one in given]
    if not paths:
        raise UserError("no source is given.\nType for example: mmposter prepare posters.csv --out data")
    files = [path.resolve() for path, frame in zip(paths, frames, strict=True) if frame is None]
    if len(set(files)) < len(files):
        raise UserError(f"a source is given twice: {', '.join(map(str, paths))}.\nName each once.")
    kinds = [formats] if isinstance(formats, str) else list(formats)
    shares = cast(
        "list[Sequence[float]]", [ratios] if not ratios or isinstance(ratios[0], int | float) else list(ratios)
    )
    wrong = [
        f"{option} is given {len(given)} times for {len(paths)} source{'s' * (len(paths) > 1)}"
        for option, given in (("--format", kinds), ("--ratios", shares))
        if len(given) not in (1, len(paths))
    ]
    if wrong:
        raise UserError(
            f"{'; '.join(wrong)}. Allowed: once for all, or once for each, in the order of the sources.\nType for "
            "example: mmposter prepare ccu posters.csv --format ccu --format csv --ratios 0.7 0.1 0.2 --ratios 1 0 0 "
            "--out data"
        )
    rows = zip(source_names(paths), paths, _each(kinds, len(paths)), _each(shares, len(paths)), frames, strict=True)
    return [_asked(name, path, kind, check_ratios(share), frame) for name, path, kind, share, frame in rows]


def _asked(name: str, path: Path, kind: str, ratios: tuple[float, float, float], frame: pd.DataFrame | None) -> Asked:
    if frame is None:
        settled, found = settle_format(path, kind)
        return Asked(name, path, settled, ratios, recognised="" if found is None else str(found))
    if kind not in (AUTO, "csv"):
        raise UserError(
            f"a DataFrame is read as format csv; got {kind!r}.\nLeave format out, or give the path of a file."
        )
    return Asked(name, path, "csv", ratios, frame)


def source_options(asked: Sequence[Asked]) -> dict[str, Any]:
    """What a prepared folder keeps of its sources, by which the same command is known again."""
    if len(asked) == 1:
        return {"format": asked[0].format}
    return {"sources": [one.name for one in asked], "format": [one.format for one in asked]}


def require_same_kind(asked: Sequence[Asked], found: Sequence[SourceRows]) -> bool:
    """Whether the sources have genres: all of them, or none.

    Raises:
        UserError: some have, and some are pictures alone.
    """
    without = [one.name for one, rows in zip(asked, found, strict=True) if not rows.labelled]
    if without and len(without) < len(asked):
        raise UserError(
            f"sources of one data set all have genres, or none has; without are: {', '.join(without)}.\nPrepare them "
            "with another --out, or give a table with their genres: --format csv"
        )
    return not without


def source_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each source: its folder's name or its file's stem; ``-2`` and so on where it is taken.

    >>> source_names([Path("ccu"), Path("more/posters.csv"), Path("new/Posters.csv")])
    ['ccu', 'posters', 'Posters-2']
    """
    names: list[str] = []
    taken: set[str] = set()  # without case, as some file systems compare
    for path in paths:
        whole = path.resolve()
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", whole.name if whole.is_dir() else whole.stem).strip(".-")
        # The name may stand before ids, which must not take another film's number from it.
        stem = stem if stem and imdb_id(stem) is None else "source"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def common_root(roots: Sequence[Path]) -> Path:
    """The folder that all sources lie in, to which the paths of the manifest are relative.

    Raises:
        UserError: they have none but that of the whole system, or not even that.
    """
    try:
        root = Path(os.path.commonpath(roots))
    except ValueError:  # on two drives
        root = None
    if root is None or root == Path(root.anchor):
        raise UserError(
            f"the posters of these sources lie in no folder of their own together: {', '.join(map(str, roots))}.\n"
            "Move the sources below one folder; downloaded posters go there with --posters FOLDER."
        )
    return root


def require_common_root(found: Sequence[SourceRows], folders: Sequence[Path]) -> None:
    """Refuse sources that cannot be one data set before their posters are downloaded, see `common_root`.

    Args:
        found: what was read.
        folders: for each source that into which its posters are downloaded or unpacked, if they are.
    """
    fetched = [rows.unpack is not None or any(row.url is not None for row in rows.rows) for rows in found]
    common_root(
        [folder.resolve() if far else rows.root for rows, folder, far in zip(found, folders, fetched, strict=True)]
    )


@contextmanager
def of_source(name: str | None) -> Iterator[None]:
    """Say in an error which of several sources it is of; None: there is one alone."""
    try:
        yield
    except UserError as error:
        raise error if name is None else UserError(f"source {name}: {error}") from None


def _each(given: Sequence[Value], count: int) -> list[Value]:
    return list(given) * count if len(given) == 1 else list(given)
