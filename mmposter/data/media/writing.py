"""Tags of ours in NFO files on disk: a backup first, then the file in one step, or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmposter.data.media.nfo import LIMIT, NfoError, decode, read_bytes
from mmposter.data.media.tags import PREFIX, with_tags
from mmposter.files.atomic import atomic_path

BACKUP = ".bak-mmposter"
"""Behind the name of an NFO file: its content before we first changed it."""

# Errors of one file; a full or broken disk stops all.
_OF_ONE_FILE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ETXTBSY, errno.EBUSY, errno.ENAMETOOLONG}


def tag_nfo(nfo: Path, genres: Sequence[str], root: Path, *, write: bool) -> bool:
    """Make these genres our tags in an NFO file, in place of those of before; nothing else of it changes.

    Its content of before is kept beside it as ``NAME.nfo.bak-mmposter``, unless a backup is there already.

    Args:
        genres: none to take out our tags.
        root: the library, out of which no link may lead.
        write: False to see what would happen.

    Returns:
        Whether the file changes.

    Raises:
        NfoError: it must not be changed, or cannot be; it is as it was.
        OSError: the disk is full, or fails.
    """
    facts, before, after = _look(nfo, genres, root)
    if before == after:
        return False
    if write:
        backup = nfo.with_name(nfo.name + BACKUP)
        with _of_one_file():
            fresh = not os.path.lexists(backup)
            if fresh:
                with atomic_path(backup, like=nfo) as temporary:
                    temporary.write_bytes(before)
            try:
                _replace(nfo, after, facts)
            except BaseException:
                if fresh:  # the file is as it was, and needs none
                    backup.unlink(missing_ok=True)
                raise
    return True


def restore_nfo(nfo: Path, root: Path, *, write: bool) -> tuple[bool, bool]:
    """Take our tags out of an NFO file; its backup goes with them where it is the same as what is left.

    Where somebody has changed the file since, that stays, and so does the backup.

    Args:
        root: as for `tag_nfo`.
        write: as for `tag_nfo`.

    Returns:
        Whether the file changes; and whether a backup stays that is not what the file is then.

    Raises:
        NfoError: as `tag_nfo`.
        OSError: as `tag_nfo`.
    """
    facts, before, after = _look(nfo, (), root)
    backup = nfo.with_name(nfo.name + BACKUP)
    there = os.path.lexists(backup)
    same = there and not backup.is_symlink() and read_bytes(backup) == after
    if write:
        with _of_one_file():
            if before != after:
                _replace(nfo, after, facts)
            if same:
                backup.unlink()
    return before != after, there and not same


def _look(nfo: Path, genres: Sequence[str], root: Path) -> tuple[os.stat_result, bytes, bytes]:
    """The facts of a file, its bytes, and those with these genres as our tags; nothing is written."""
    with _of_one_file():
        facts = nfo.stat()  # before it is read: what changes it after that is seen
    before = read_bytes(nfo)
    text = decode(before)
    if not genres and PREFIX not in text.text:
        return facts, before, before
    if nfo.is_symlink():
        raise NfoError("it is a link; writing would put a file in its place")
    if not Path(os.path.realpath(nfo)).is_relative_to(os.path.realpath(root)):
        raise NfoError("it lies outside the library")
    # By its mode, too: root may write everything, and who takes the right away means it.
    if not facts.st_mode & 0o222 or not os.access(nfo, os.W_OK):
        raise NfoError("it is read-only")
    if not text.certain or text.encode(text.text) != before:
        raise NfoError("its encoding is not the one that it declares")
    after = text.encode(with_tags(text.text, genres))
    if len(after) > LIMIT:
        raise NfoError(f"with our tags it would have more than {LIMIT:,} bytes")
    return facts, before, after


def _replace(nfo: Path, content: bytes, facts: os.stat_result) -> None:
    with atomic_path(nfo, like=nfo) as temporary:
        temporary.write_bytes(content)
        now = nfo.stat()
        if (now.st_mtime_ns, now.st_size) != (facts.st_mtime_ns, facts.st_size):
            raise NfoError("it was changed by another program meanwhile; run the command again")


@contextmanager
def _of_one_file() -> Iterator[None]:
    """Errors that are of this file alone as such; those of the disk stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_ONE_FILE:
            raise
        raise NfoError(f"it cannot be written ({error.strerror or error})") from None
