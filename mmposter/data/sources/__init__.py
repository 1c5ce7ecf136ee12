"""Source readers by format name. A new format is one file here, imported below, or one of a plugin."""

from __future__ import annotations

from pathlib import Path

from mmposter.branches.plugins import load_named
from mmposter.branches.settings import FROM_OUTSIDE
from mmposter.data.sources import ccu, csv_table, folder, imagefolder, kaggle, mmimdb, nfo, onehot, parquet  # noqa: F401
from mmposter.data.sources.base import AUTO, FORMATS, Issue, PosterRow, SourceRows, register_source
from mmposter.errors import UserError
from mmposter.suggest import did_you_mean

__all__ = [
    "AUTO",
    "Issue",
    "PosterRow",
    "SourceRows",
    "format_help",
    "read_source",
    "register_source",
    "require_source",
    "source_formats",
]


def source_formats() -> list[str]:
    """Names of the formats that `read_source` knows, sorted."""
    return sorted(FORMATS)


def format_help() -> dict[str, str]:
    """What each format is, by name: the first line of its reader's docstring."""
    return {name: (FORMATS[name].read.__doc__ or "").strip().partition("\n")[0] for name in source_formats()}


def require_source(source: Path) -> None:
    """Refuse a source that is not there (UserError: what to give)."""
    if not source.exists():
        raise UserError(f"the source {source} does not exist.\nGive the folder or file that holds the posters.")


def read_source(source: Path, format: str) -> SourceRows:
    """Read `source` with the reader called `format`.

    Raises:
        UserError: unknown format, or `source` is not of that format; it says what `source` looks like.
    """
    load_named()
    if format not in FORMATS:
        meant = did_you_mean(format, source_formats())
        raise UserError(
            f"--format {format!r} is unknown{meant}. Known: {', '.join(source_formats())}. {FROM_OUTSIDE}\n"
            + (_looks(source) or "Type for example: mmposter prepare posters.csv --out data --format csv")
        )
    require_source(source)
    try:
        return FORMATS[format].read(source)
    except UserError as error:
        hint = _looks(source, other_than=format)
        raise UserError(f"{error}\n{hint}") if hint else error from None


def _looks(source: Path, other_than: str = "") -> str:
    """A sentence on what `source` looks like; empty where nobody knows it, or where it looks as it should."""
    names = [name for name, format in FORMATS.items() if not format.last and format.seen_by(source)]
    if not names or other_than in names:
        return ""
    return f"What {source} holds looks like --format {' or '.join(names)}."
