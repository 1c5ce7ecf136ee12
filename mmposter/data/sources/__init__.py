"""Source readers by format name. A new format is one file here and one line in `_FORMATS`."""

from __future__ import annotations

from pathlib import Path

from mmposter.data.sources.base import Issue, PosterRow, SourceFormat, SourceRows
from mmposter.data.sources.ccu import looks_like_ccu, read_ccu
from mmposter.data.sources.csv_table import looks_like_csv, read_csv
from mmposter.data.sources.folder import read_folder
from mmposter.data.sources.imagefolder import looks_like_imagefolder, read_imagefolder
from mmposter.data.sources.kaggle import looks_like_kaggle, read_kaggle
from mmposter.data.sources.mmimdb import looks_like_mmimdb, read_mmimdb
from mmposter.data.sources.onehot import looks_like_onehot, read_onehot
from mmposter.errors import UserError

__all__ = ["Issue", "PosterRow", "SourceFormat", "SourceRows", "format_help", "read_source", "source_formats"]

_FORMATS: dict[str, SourceFormat] = {
    "csv": SourceFormat(read_csv, looks_like_csv),
    "folder": SourceFormat(read_folder),
    "ccu": SourceFormat(read_ccu, looks_like_ccu),
    "kaggle": SourceFormat(read_kaggle, looks_like_kaggle),
    "onehot": SourceFormat(read_onehot, looks_like_onehot),
    "mmimdb": SourceFormat(read_mmimdb, looks_like_mmimdb),
    "imagefolder": SourceFormat(read_imagefolder, looks_like_imagefolder),
}


def source_formats() -> list[str]:
    """Names of the formats that `read_source` knows."""
    return list(_FORMATS)


def format_help() -> dict[str, str]:
    """What each format is, by name: the first line of its reader's docstring."""
    return {name: (format.read.__doc__ or "").strip().partition("\n")[0] for name, format in _FORMATS.items()}


def read_source(source: Path, format: str) -> SourceRows:
    """Read `source` with the reader called `format`.

    Raises:
        UserError: unknown format, or `source` is not of that format; it says what `source` looks like.
    """
    if format not in _FORMATS:
        raise UserError(
            f"--format {format!r} is unknown. Known: {', '.join(_FORMATS)}.\n"
            + (_looks(source) or "Type for example: mmposter prepare posters.csv --out data --format csv")
        )
    if not source.exists():
        raise UserError(f"the source {source} does not exist.\nGive the folder or file that holds the posters.")
    try:
        return _FORMATS[format].read(source)
    except UserError as error:
        hint = _looks(source, other_than=format)
        raise UserError(f"{error}\n{hint}") if hint else error from None


def _looks(source: Path, other_than: str = "") -> str:
    """A sentence on what `source` looks like; empty where nobody knows it, or where it looks as it should."""
    names = []
    for name, format in _FORMATS.items():
        try:
            if format.looks is not None and format.looks(source):
                names.append(name)
        except OSError:  # a folder that may not be listed: the reader's own error says so
            continue
    if not names or other_than in names:
        return ""
    return f"What {source} holds looks like --format {' or '.join(names)}."
