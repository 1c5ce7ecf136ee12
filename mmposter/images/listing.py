"""Which posters a user means: files, folders, globs and lists of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmposter.images.formats import picture_suffixes
from mmposter.visible import visible

_NAMED = 3  # files that a message names


def list_posters(arguments: Iterable[str], passed_over: list[Path]) -> list[str]:
    """Expand arguments to paths, in order, each once.

    A folder stands for the pictures below it, a pattern for the files it matches; anything else, a pattern without a
    match too, is taken as a file's path even if there is none, so that a misspelt name is reported like any other
    poster that cannot be read.

    Args:
        passed_over: gets the files of folders that are not named as pictures are.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        text = argument.strip()
        if not text:
            continue
        # os.path, because pathlib raises where a line of a list is no possible file: on ~nobody, or on a long sentence.
        path = Path(os.path.expanduser(text))
        if os.path.isdir(path):
            pictures, others = look_through(path)
            files = [str(file) for file in pictures]
            passed_over += others
        elif glob.has_magic(text) and not os.path.exists(path):
            files = [match for match in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(match)]
            files = files or [str(path)]
        else:
            files = [str(path)]
        found |= dict.fromkeys(files)
    return list(found)


def image_files(folder: Path) -> list[Path]:
    """All files below `folder` that are named like pictures, sorted, hidden ones left out."""
    return look_through(folder)[0]


def look_through(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files below `folder` that are named as pictures are, and the others; sorted, hidden ones left out."""
    pictures, others = [], []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix.lower() in picture_suffixes():
            pictures.append(path)
        elif not any(part.startswith(".") for part in path.relative_to(folder).parts):
            others.append(path)
    return pictures, others


def passed_over_text(files: Sequence[Path | str]) -> str:
    """What to say of files that a folder holds and nobody looks at: how many, and the first of them."""
    names = ", ".join(visible(Path(file).name) for file in files[:_NAMED]) + ", ..." * (len(files) > _NAMED)
    count = "1 file was" if len(files) == 1 else f"{len(files)} files were"
    return f"{count} passed over: {names}; no pictures by the name (read are {', '.join(picture_suffixes())})"
