"""A folder that a command writes: what in it is ours, what is others', and who may write there now."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from mmposter.errors import UserError
from mmposter.files.disk import naming
from mmposter.objects import link_of
from mmposter.outputs.lock import LOCK, is_being_written, made_folder, one_writer

_TEMPORARY = re.compile(r"(^|/)\.([^/]+)\.[a-z0-9_]{8}\.tmp\Z")  # of a killed process, see `files.atomic`
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # of desktops, and nobody's work: never removed, never refused
_READ = 1 << 16  # bytes of a file's beginning, and of its end, that tell whose it is
_NAMED = 5  # files of others that a message names


@dataclass(frozen=True)
class Kind:
    """What a command writes into a folder."""

    title: str  # with its article, such as `a run`
    # files that say that one is there, each with words that a file of ours holds (of JSON: its keys). One is written
    # before all others.
    marks: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]  # patterns of all files, relative; `*` stands for any part of one name
    left: tuple[str, ...] = field(default=())  # patterns of files that belong to it too, and are never removed

    def is_in(self, folder: Path) -> bool:
        """Whether a result of this kind, finished or not, is in `folder`."""
        return any(_is_ours(folder / name, words) for name, words in self.marks.items())

    def under(self, folder: str) -> tuple[str, ...]:
        """`names` as they are seen from further up."""
        return tuple(f"{folder}/{name}" for name in self.names)


@contextmanager
def claim(folder: Path, kind: Kind, *, go_on: bool = False, overwrite: bool = False) -> Iterator[bool]:
    """Make `folder` a place to write a result to, and be its one writer for as long as the block lasts.

    Args:
        folder: made if it is not there; if nothing was written into it, it goes again.
        go_on: a result that is there is gone on with, or replaced file by file.
        overwrite: a result that is there is removed first, and nothing else: no file that a command of ours does not
            write, nothing behind a link.

    Yields:
        Whether a result is there, that is to be gone on with.

    Raises:
        UserError: `folder` is a file; another process is writing it; a result is there and neither `go_on` nor
            `overwrite` is given; files of others would be replaced or stand in the way.
        OSError: it cannot be written.
    """
    _refuse_link(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; it must be a folder.\nGive another path.")
    with made_folder(folder), one_writer(folder):
        there = kind.is_in(folder)
        if there and overwrite:
            remove_ours(folder, kind)
        elif there and not go_on:
            raise UserError(f"{folder} holds {kind.title} already; go on with --resume, or replace it with --overwrite")
        elif not there:
            _refuse_to_replace(folder, kind)
        yield there and not overwrite


@contextmanager
def claim_file(file: Path, *, overwrite: bool = False) -> Iterator[None]:
    """Be the one writer of a file for as long as the block lasts.

    Args:
        overwrite: it may be there, and will be replaced.

    Raises:
        UserError: it is there already, is a folder, or another process is writing it.
        OSError: it cannot be written.
    """
    _refuse_link(file)
    if file.is_dir():
        raise UserError(f"--out {file} is a folder; name a file in it, such as {file / 'genres'}{file.suffix}")
    with one_writer(file):
        refuse_file(file, overwrite=overwrite)
        yield


def _refuse_link(place: Path) -> None:
    """Commands have made a path of it; in Python, one that is left would be a folder called ``s3:``."""
    if (link := link_of(place)) is not None:
        raise UserError(
            f"{link} is in an object store, which is written through a copy.\n"
            f"Write to mmposter.mirrors.local_copy({link!r}), then call mmposter.mirrors.send_all()"
        )


def refuse_file(file: Path, *, overwrite: bool) -> None:
    """Refuse a file that is there (UserError: it is there, and `overwrite` is not given)."""
    if os.path.lexists(file) and not overwrite:
        raise UserError(f"{file} is there already; replace it with --overwrite, or give another --out")


def remove_ours(folder: Path, kind: Kind, *, refuse: bool = True) -> None:
    """Remove a result from `folder`, which stays.

    Args:
        refuse: remove nothing where other files lie there; else they are left where they are.

    Raises:
        UserError: other files lie there, which are named.
        OSError: a file cannot be removed.
    """
    ours, others = _sorted_out(folder, kind)
    if others and refuse:
        raise UserError(
            f"{folder} holds files that are not of {kind.title}: {_some(others)}.\nNothing was removed. Move them to "
            "another folder, or give another --out"
        )
    written = [name for name in ours if name.rpartition("/")[2] == LOCK and name != LOCK]
    if busy := [name for name in written if is_being_written(folder / name)]:
        raise UserError(f"{(folder / busy[0]).parent} is being written by another process.\nWait until it has ended")
    # The marks last: while one is there, the same command finds the rest, wherever it was stopped.
    for name in sorted(ours, key=lambda name: (name in kind.marks, name)):
        if name != LOCK and not _matches(name, kind.left):
            with naming(folder / name):
                (folder / name).unlink(missing_ok=True)
    for place in sorted({parent for name in ours for parent in Path(name).parents}, reverse=True):
        if place != Path():
            with suppress(OSError):  # others' files are in it
                (folder / place).rmdir()


def remove_folder(folder: Path, kind: Kind) -> None:
    """Remove a result, and its folder with it unless other files lie there: these are left where they are.

    Raises:
        OSError: a file cannot be removed.
    """
    remove_ours(folder, kind, refuse=False)
    with suppress(OSError):  # not empty
        folder.rmdir()


def _refuse_to_replace(folder: Path, kind: Kind) -> None:
    ours, _ = _sorted_out(folder, kind)
    taken = [name for name in ours if _matches(name, kind.names)]
    if taken:
        raise UserError(
            f"{folder} holds no result of mmposter, and {kind.title} would replace files there: {_some(taken)}.\n"
            "Give another --out, or move them to another folder"
        )


def _sorted_out(folder: Path, kind: Kind) -> tuple[list[str], list[str]]:
    """The files of this kind in `folder`, and those that are not (a folder that holds none of ours as ``NAME/``).

    Links are never ours, since we make none, and are not followed.
    """
    patterns = [*kind.names, *kind.left]
    ours: list[str] = []
    others: list[str] = []

    def look(place: Path, above: str) -> None:
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = above + entry.name
                meant = _TEMPORARY.sub(r"\1\2", name)
                if entry.is_dir(follow_symlinks=False):
                    if _matches(name, patterns, leads_on=True):
                        look(Path(entry.path), f"{name}/")
                    else:
                        others.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False) and (entry.name == LOCK or _matches(meant, patterns)):
                    ours.append(name)
                elif entry.name not in _LITTER:
                    others.append(f"{name} (a link)" if entry.is_symlink() else name)

    look(folder, "")
    return ours, others


def _matches(name: str, patterns: Sequence[str], *, leads_on: bool = False) -> bool:
    """Whether a pattern is that of the file `name`; with `leads_on`, that of a file in the folder `name`."""
    parts = name.split("/")
    for wanted in (pattern.split("/") for pattern in patterns):
        fits = len(parts) < len(wanted) if leads_on else len(parts) == len(wanted)
        if fits and all(map(fnmatchcase, parts, wanted)):
            return True
    return False


def _is_ours(file: Path, words: tuple[str, ...]) -> bool:
    """Whether a mark is there, and of us; damaged JSON counts as ours, so that it can be replaced."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        data = stream.read(_READ)
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(len(data), size - _READ))
        data += stream.read(_READ)
    if file.suffix == ".json" and size <= 2 * _READ:
        try:
            values = json.loads(data)
        except ValueError:
            return True
        return isinstance(values, dict | list) and all(f'"{word}"'.encode() in data for word in words)
    return all(word.encode() in data for word in words)


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
