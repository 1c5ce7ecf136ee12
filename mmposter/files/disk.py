"""Errors of disks, folders and paths: found in whatever a library raises, given their path, said in plain words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = "What was finished is kept: the same command goes on (train, distill, ablate: with --resume)."

# What each means, and what helps. These say enough even where the system names no file.
_ANYWHERE = {
    errno.ENOSPC: ("the disk is full", "Free some space, or choose a place on another disk"),
    errno.EDQUOT: ("your share of the disk (quota) is used up", "Remove files of yours, or choose another disk"),
    errno.EROFS: ("the file system is read-only", "Choose another place"),
    errno.EFBIG: (
        "the file would be larger than is allowed here",
        "Raise the limit (ulimit -f), or choose another file system",
    ),
    errno.EIO: ("the disk, or the network that it is behind, fails", "Check the disk, or choose another one"),
    errno.EMFILE: ("too many files are open at once", "Raise the limit (ulimit -n), or give fewer --workers"),
    errno.ENFILE: ("too many files are open on this machine", "End other programs, or give fewer --workers"),
}
# These are errors of a path only where there is one; without, they may be anything, such as a network's.
_OF_A_PATH = {
    errno.EACCES: ("permission is denied", "Choose another place, or ask the owner of the folder"),
    errno.EPERM: ("it is not permitted", "Choose another place, or ask the owner of the folder"),
    errno.ENOENT: ("there is no such file or folder, and none can be made there", "Check the path"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "Choose another path"),
    errno.EEXIST: ("a file stands where a folder is needed", "Choose another path"),
    errno.EISDIR: ("a folder stands where a file is needed", "Choose another path"),
    errno.ENOTEMPTY: ("other files are in the folder", "Choose another path"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter one"),
    errno.ELOOP: ("its links lead in a circle", "Mend the links, or choose another path"),
    errno.EINVAL: ("the file system takes no such name, or not this operation", "Choose another path"),
    errno.ENODEV: ("the device is not there", "Choose another place"),
    errno.ENXIO: ("the device is not there", "Choose another place"),
    errno.EBUSY: ("it is in use", "Wait, or choose another path"),
    errno.ETXTBSY: ("it is in use", "Wait, or choose another path"),
    errno.EOPNOTSUPP: ("the file system cannot do that", "Choose another place"),
    errno.ETIMEDOUT: ("the file system does not answer", "Try again, or choose another place"),
    errno.ESTALE: ("the folder was removed or moved meanwhile", "Try again"),
}
_KNOWN = _ANYWHERE | _OF_A_PATH
# How libraries of other languages report the system's error: Rust (safetensors), Arrow, and Python's own text.
_REPORTED = re.compile(r"(?:\(os error |\[[Ee]rrno )(\d+)[)\]]")


def disk_error(error: BaseException | None) -> OSError | None:
    """The error of a disk or a path that `error` is, wraps or reports; None where it is of another kind.

    >>> disk_error(RuntimeError("I/O error: No space left on device (os error 28)")).errno
    28
    >>> disk_error(ValueError("shapes differ")) is None
    True
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in _ANYWHERE or (error.errno in _OF_A_PATH and error_path(error) is not None):
                return error
        elif (found := _REPORTED.search(str(error))) is not None and (number := int(found[1])) in _ANYWHERE:
            return OSError(number, os.strerror(number))
        error = error.__cause__
    return None


@contextmanager
def naming(path: Path, *aliases: Path) -> Iterator[None]:
    """Give a path to errors of the disk that have none, such as those of a write; the error stays an `OSError`.

    Args:
        aliases: other names for it, which a person would not know: a temporary file's.

    Raises:
        OSError: with `path` as its file name.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_A_PATH and _is_one_of(error, aliases):
            error.filename, error.filename2 = str(path), None
            raise
        found = disk_error(error)
        if found is None or not (error_path(found) is None or _is_one_of(found, aliases)):
            raise
        if found is error:
            found.filename, found.filename2 = str(path), None
            raise
        assert found.errno is not None
        raise OSError(found.errno, os.strerror(found.errno), str(path)) from error


def error_path(error: OSError) -> str | None:
    """The file that an error names; where it names two, the one that was to be made."""
    for name in (error.filename2, error.filename):
        if isinstance(name, str | bytes | os.PathLike):
            return os.fsdecode(name)
    return None


def plain_words(error: BaseException) -> str | None:
    """What a person should read of an error of the disk: path, reason, what to do; None for errors of other kinds."""
    found = disk_error(error)
    if found is None or found.errno is None:
        return None
    path = error_path(found)
    if path is None:
        path = "standard output (or a file that the system does not name)"  # our own files are all named
    reason, remedy = _KNOWN[found.errno]
    if found.errno in (errno.ENOTDIR, errno.EEXIST) and (file := _file_in_the_way(Path(path))) is not None:
        reason = f"{file} is a file, and a folder is needed there"
    return f"{path} cannot be written or read: {reason}.\n{remedy}. {KEPT}"


def _is_one_of(error: OSError, paths: tuple[Path, ...]) -> bool:
    return error.filename is not None and any(error.filename == str(path) for path in paths)


def _file_in_the_way(path: Path) -> Path | None:
    for place in (path, *path.parents):
        try:
            if place.exists():
                return None if place.is_dir() else place
        except OSError:
            continue
    return None
