"""Which format a source has, where nobody says it: each format declares how it is recognised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmposter.branches.plugins import load_named
from mmposter.data.sources import require_source, source_formats
from mmposter.data.sources.base import AUTO, FORMATS
from mmposter.data.sources.tables import table_header
from mmposter.errors import UserError
from mmposter.visible import visible

_TABLES = (".csv", ".tsv", ".txt", ".xlsx")
_LOOKED_AT = 1000  # entries of a folder that a message counts
_NAMED = 8


@dataclass(frozen=True)
class Recognised:
    """The format of a source, and by what it was recognised, in words."""

    name: str
    by: str

    def __str__(self) -> str:
        return f"format: {self.name}, found by {self.by}"


def recognise(source: Path) -> Recognised:
    """The format of `source`.

    Raises:
        UserError: it is not there; no format is recognised, or several are: what was seen, and what to type.
    """
    load_named()
    require_source(source)
    seen = {name: by for name, format in FORMATS.items() if (by := format.seen_by(source))}
    sure = {name: by for name, by in seen.items() if not FORMATS[name].last}
    tables = [] if sure or not source.is_dir() else _tables_in(source)
    if tables:
        table, found = tables[0]
        pictures = f"; or for its pictures, without genres: --format {next(iter(seen))}" if seen else ""
        raise UserError(
            f"{source} is a folder with the table {visible(table.name)}, which looks like format {found.name} "
            f"(by {found.by}).\nGive the table as the source: {table}{pictures}"
        )
    fitting = sure or seen
    if len(fitting) == 1:
        return Recognised(*next(iter(fitting.items())))
    known = f"Known formats: {', '.join(source_formats())}."
    if not fitting:
        raise UserError(
            f"no format is recognised in {source}: {_holds(source)}.\nSay how it is to be read, such as --format csv. "
            f"{known}"
        )
    looks = "; ".join(f"{name} (by {by})" for name, by in fitting.items())
    raise UserError(
        f"{source} looks like several formats: {looks}.\nSay which it is: --format {' or --format '.join(fitting)}"
    )


def settle_format(source: Path, format: str) -> tuple[str, Recognised | None]:
    """The name of a format as it was given, or the recognised one for `AUTO`, with what it was recognised by.

    Raises:
        UserError: as `recognise`.
    """
    if format != AUTO:
        return format, None
    found = recognise(source)
    return found.name, found


def _tables_in(folder: Path) -> list[tuple[Path, Recognised]]:
    """The tables directly in a folder that a format would recognise, each with it."""
    found = []
    for path in sorted(islice(folder.iterdir(), _LOOKED_AT)):
        if path.suffix.lower() in _TABLES and path.is_file():
            found += [
                (path, Recognised(name, by))
                for name, format in FORMATS.items()
                if not format.last and (by := format.seen_by(path))
            ]
    return found


def _holds(source: Path) -> str:
    """What is seen there, in words."""
    if source.is_file():
        columns = table_header(source) if source.suffix.lower() in _TABLES else []
        if not columns:
            return f"it is a file {visible(source.name)}, and no table or Parquet file that can be read"
        shown = ", ".join(visible(name[:60]) for name in columns[:_NAMED]) + ", ..." * (len(columns) > _NAMED)
        return f"it is a table with the columns {shown}"
    endings: Counter[str] = Counter()
    for path in islice(source.iterdir(), _LOOKED_AT):
        endings["folders" if path.is_dir() else path.suffix.lower() or "files without an ending"] += 1
    if not endings:
        return "it is an empty folder"
    return "it holds " + ", ".join(f"{count} {visible(ending)}" for ending, count in endings.most_common(_NAMED))
