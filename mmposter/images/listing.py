"""Which posters a user means: files, folders, globs and lists of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def list_posters(arguments: Iterable[str]) -> list[str]:
    """Expand arguments to paths, in order, each once.

    A folder stands for the pictures below it, a pattern for the files it matches; anything else, a pattern without a
    match too, is taken as a file's path even if there is none, so that a misspelt name is reported like any other
    poster that cannot be read.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        text = argument.strip()
        if not text:
            continue
        # os.path, because pathlib raises where a line of a list is no possible file: on ~nobody, or on a long sentence.
        path = Path(os.path.expanduser(text))
        if os.path.isdir(path):
            files = [str(file) for file in image_files(path)]
        elif glob.has_magic(text) and not os.path.exists(path):
            files = [match for match in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(match)]
            files = files or [str(path)]
        else:
            files = [str(path)]
        found |= dict.fromkeys(files)
    return list(found)


def image_files(folder: Path) -> list[Path]:
    """All files below `folder` that are named like pictures, sorted, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
