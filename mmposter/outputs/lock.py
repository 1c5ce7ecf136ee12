"""One writer at a time: a lock on an output, which ends with the process that holds it, however that ends."""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mmposter.errors import UserError
from mmposter.files.atomic import short_name
from mmposter.files.disk import naming
from mmposter.progress import warn

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".mmposter.lock"
"""The lock of a folder, in it. That of a file NAME is ``.NAME.lock`` beside it. Both go when the writer has ended."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_TAKEN = {errno.EAGAIN, errno.EACCES}
_MOST = 4096  # bytes that are read of a lock, which may be a stranger's file


@dataclass
class _Held:
    descriptor: int
    thread: int
    depth: int = 1


_held: dict[str, _Held] = {}
_guard = threading.Lock()


@contextmanager
def one_writer(output: Path) -> Iterator[None]:
    """Be the only process that writes `output`, for as long as the block lasts.

    The block may be entered again inside itself, by the same thread. A killed process leaves its lock's file behind,
    and the next writer takes it over. Processes that this one forks do not hold the lock.

    Args:
        output: a folder that is there, or a file, there or not. The file's folder is made; if it was made here and is
            empty at the end, it goes again.

    Raises:
        UserError: another process, or another thread, is writing it.
        OSError: the place cannot be written.
    """
    path = lock_file(output)
    with made_folder(path.parent):
        key = os.path.realpath(path)
        _enter(output, path, key)
        try:
            yield
        finally:
            _leave(path, key)


def lock_file(output: Path) -> Path:
    """Where the lock of an output lies."""
    if output.is_dir():
        return output / LOCK
    return output.with_name(f".{short_name(output)}.lock")


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; at the end the ones that were not there go again, if nothing is in them."""
    missing = []
    place = folder
    with naming(folder):
        while not place.exists() and place != place.parent:
            missing.append(place)
            place = place.parent
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in missing:
            with suppress(OSError):  # not empty, as it should be
                place.rmdir()


def is_being_written(path: Path) -> bool:
    """Whether another process holds the lock whose file is `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except OSError as error:
        return error.errno in _TAKEN
    finally:
        os.close(descriptor)
    return False


def _enter(output: Path, path: Path, key: str) -> None:
    with _guard:
        held = _held.get(key)
        if held is None:
            descriptor = _acquire(output, path)
            if descriptor is not None:
                _held[key] = _Held(descriptor, threading.get_ident())
        elif held.thread == threading.get_ident():
            held.depth += 1
        else:
            raise _taken(output, "another thread of this process")


def _leave(path: Path, key: str) -> None:
    with _guard:
        held = _held.get(key)
        if held is None:  # no locks here, or a forked process, which holds none
            return
        held.depth -= 1
        if held.depth:
            return
        del _held[key]
        if sys.platform == "win32":  # which removes no file that is open
            os.close(held.descriptor)
            path.unlink(missing_ok=True)
            return
        # Removed while it is held: whoever has opened it meanwhile sees that it is no longer the file of this name.
        with suppress(OSError):
            path.unlink()
        os.close(held.descriptor)


def _acquire(output: Path, path: Path) -> int | None:
    """The descriptor that holds the lock; None on a file system without locks."""
    while True:
        descriptor = _open(path)
        try:
            _lock(descriptor)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if error.errno in _TAKEN:
                raise _taken(output, holder) from None
            if error.errno not in _NO_LOCKS:
                raise
            with suppress(OSError):
                path.unlink()
            warn(f"the file system of {output} has no locks: make sure that no other command writes there meanwhile")
            return None
        if _is(descriptor, path):
            with suppress(OSError):  # a full disk stops the output itself, and says so then
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _about_us())
            return descriptor
        os.close(descriptor)  # its holder ended, and removed it, between our two steps


def _open(path: Path) -> int:
    flags = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | flags, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)  # another user's: it can be held, though not written


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far behind the text, which others must be able to read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _about_us() -> bytes:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else ""
    about = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "command": command[:500],
    }
    return json.dumps(about).encode()


def _holder(descriptor: int) -> str:
    """The process that holds a lock, in words."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        about = json.loads(os.read(descriptor, _MOST))
        pid, host, since, command = (str(about[key]) for key in ("pid", "host", "since", "command"))
    except (OSError, ValueError, KeyError, TypeError):  # it has not said yet who it is
        return "another process"
    words = f"process {pid} on {host}, since {since}: {command}"
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _taken(output: Path, holder: str) -> UserError:
    return UserError(
        f"{output} is being written by {holder}.\nOne writer at a time is allowed: wait until it has ended, stop it, "
        "or give another --out"
    )


def _forget() -> None:
    """In a forked process: close the locks of the parent, so that they end with the parent."""
    global _guard
    _guard = threading.Lock()
    for held in _held.values():
        with suppress(OSError):
            os.close(held.descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
