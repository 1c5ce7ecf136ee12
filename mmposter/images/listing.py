"""Which posters a user means: files, folders, globs, links and lists of them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mmposter.images.formats import picture_suffixes
from mmposter.images.links import is_link
from mmposter.objects import is_object, list_objects
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.images.reading import ImageInput

_NAMED = 3  # files that a message names
_ELSE = re.compile(r"[~*?\[\]\0]|//|/$|^\./|/\./|/\.$|^\.$")
"""What a path has that stands for something else, or that `Path` writes otherwise."""


def list_posters(
    arguments: Iterable[str], passed_over: list[Path], known: Container[str | None] = frozenset()
) -> list[str]:
    """Expand arguments to paths and links, in order, each once.

    A folder stands for the pictures below it, a pattern for the files it matches; anything else, a pattern without a
    match too, is taken as a file's path even if there is none, so that a misspelt name is reported like any other
    poster that cannot be read. A link stays as it is; but one into an object store that is not called as a picture is
    stands for the pictures below it.

    Args:
        passed_over: gets the files of folders that are not named as pictures are.
        known: posters that were listed before, which are not looked at again: of a million this takes seconds.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        text = argument.strip()
        if not text:
            continue
        if text in known:
            found[text] = None
            continue
        if is_object(text):
            files = _objects(text)
        elif is_link(text) or (_is_plain(text) and not os.path.isdir(text)):
            files = [text]
        else:
            # os.path, because pathlib raises where a line of a list is no possible file: on ~nobody, or on a long
            # sentence.
            path = Path(os.path.expanduser(text))
            expanded = _expanded(path, passed_over)
            files = [str(path)] if expanded is None else expanded
        found |= dict.fromkeys(files)
    return list(found)


def _is_plain(text: str) -> bool:
    """Whether a path is written as `Path` would write it, and stands for nothing but a file."""
    return not _ELSE.search(text)


def each_poster(posters: Iterable[ImageInput]) -> Iterator[ImageInput]:
    """Posters one by one: in place of a folder the pictures below it, and of a pattern the files it matches.

    All else stays as it is: a path that leads nowhere, and a folder without a picture, so that it is named like any
    other poster that cannot be used.
    """
    for poster in posters:
        if is_object(poster):
            yield from _objects(poster)
        elif isinstance(poster, str | Path) and not is_link(poster):
            files: Sequence[ImageInput] = _expanded(Path(os.path.expanduser(poster)), []) or [poster]
            yield from files
        else:
            yield poster


def _expanded(path: Path, passed_over: list[Path]) -> list[str] | None:
    """The files that a folder or a pattern stands for; None for anything else."""
    if "\0" in str(path):  # no file has such a name, and glob would raise
        return None
    if os.path.isdir(path):
        pictures, others = look_through(path)
        passed_over += others
        return [str(file) for file in pictures]
    if glob.has_magic(str(path)) and not os.path.exists(path):
        return [match for match in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(match)] or None
    return None


def _objects(link: str) -> list[str]:
    """The pictures below a folder of an object store; a link that is called as a picture is, is one."""
    if _is_picture(link):
        return [link]
    return [found.link for found in list_objects(link) if _is_picture(found.link)] or [link]


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in picture_suffixes()


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
