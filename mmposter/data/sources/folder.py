"""Format `folder`: pictures without labels, for extraction and prediction."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from mmposter.data.sources.base import PosterRow, SourceRows, pictures_below, register_source
from mmposter.errors import UserError
from mmposter.images.formats import picture_suffixes

_LOOKED_AT = 10_000  # files


def looks_like_folder(source: Path) -> str:
    """A folder with a picture in it, or below."""
    if not source.is_dir():
        return ""
    files = islice(source.rglob("*"), _LOOKED_AT)
    found = any(path.suffix.lower() in picture_suffixes() and not path.name.startswith(".") for path in files)
    return "its pictures" if found else ""


@register_source("folder", looks_like_folder, last=True)
def read_folder(source: Path) -> SourceRows:
    """Pictures without genres: every picture below the folder.

    The id is the path below the folder, so that names may repeat between subfolders.

    Raises:
        UserError: `source` is no folder, or holds no picture.
    """
    if not source.is_dir():
        raise UserError(f"format folder needs a folder of pictures; {source} is none.\nFor a table use --format csv.")
    root = source.resolve()
    found = SourceRows(root=root, labelled=False)
    files = pictures_below(root, found)
    if not files:
        raise UserError(
            f"there is no picture below {source} (looked for {', '.join(picture_suffixes())}).\n"
            "Give the folder that holds the posters."
        )
    found.rows = [PosterRow(id=path.relative_to(root).as_posix(), path=path) for path in files]
    return found
