"""Source readers by format name. A new format is one file here and one line in `_READERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmposter.data.sources.base import Issue, PosterRow, SourceRows
from mmposter.data.sources.ccu import read_ccu
from mmposter.data.sources.csv_table import read_csv
from mmposter.data.sources.folder import read_folder
from mmposter.errors import UserError

__all__ = ["Issue", "PosterRow", "SourceRows", "read_source", "source_formats"]

_READERS: dict[str, Callable[[Path], SourceRows]] = {
    "ccu": read_ccu,
    "csv": read_csv,
    "folder": read_folder,
}


def source_formats() -> list[str]:
    """Names of the formats that `read_source` knows."""
    return list(_READERS)


def read_source(source: Path, format: str) -> SourceRows:
    """Read `source` with the reader called `format`.

    Raises:
        UserError: unknown format, or `source` is not of that format.
    """
    if format not in _READERS:
        raise UserError(
            f"--format {format!r} is unknown. Known: {', '.join(_READERS)}.\n"
            "Type for example: mmposter prepare posters.csv --out data --format csv"
        )
    if not source.exists():
        raise UserError(f"the source {source} does not exist.\nGive the folder or file that holds the posters.")
    return _READERS[format](source)
