"""Files that are there whole or not at all, also after SIGKILL."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmposter.errors import UserError
from mmposter.files.disk import naming
from mmposter.files.spreadsheets import table_text

_LONGEST = 200  # bytes of a name that leave room for what a temporary one adds; file systems take 255


@contextmanager
def atomic_path(target: Path, *, like: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success move it there in one step, on failure remove it.

    The move is atomic because both lie in one folder, hence on one file system. The content is flushed to disk
    first, so that a crash never leaves a name without its bytes.

    Args:
        like: a file whose permissions `target` gets, and whose owner where the system allows it.

    Raises:
        UserError: `target` is a device, a pipe or a socket; the move would put a file in its place.
        OSError: the folder or the file cannot be written. It names `target`, also where a library wrapped it.
    """
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise UserError(f"{target} is no file, but a device, a pipe or a socket; results are written to files")
    with naming(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with naming(target):
        try:
            handle, name = tempfile.mkstemp(prefix=f".{short_name(target)}.", suffix=".tmp", dir=target.parent)
        except OSError as error:
            error.filename = str(target)
            raise
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(target, temporary):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            _set_permissions(temporary, like)
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):  # what went wrong before says more
            temporary.unlink(missing_ok=True)
        raise


def _set_permissions(file: Path, like: Path | None) -> None:
    if like is None:
        # mkstemp makes files that only their owner may read; a result is for everyone the umask allows.
        file.chmod(0o666 & ~current_umask())
        return
    facts = like.stat()
    if hasattr(os, "chown"):
        with suppress(OSError):  # another user's: who may write here may not give away what they write
            os.chown(file, facts.st_uid, facts.st_gid)
    file.chmod(stat.S_IMODE(facts.st_mode))


def current_umask() -> int:
    """The permissions that this process takes from its new files."""
    umask = os.umask(0)  # it can only be asked for by setting it
    os.umask(umask)
    return umask


def short_name(path: Path) -> str:
    """The name of a file, cut so that a temporary one, or that of a lock, can be made of it."""
    return os.fsdecode(os.fsencode(path.name)[:_LONGEST])


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 `text` to `target` atomically.

    What is no UTF-8 in a file's name reaches us as lone surrogates, which cannot be written: their codes are, such as
    ``\\udcff``, as JSON has them.
    """
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON to `target` atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(target: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows`, one or more, as a table with a header to `target` atomically; what a row lacks is an empty cell."""
    header = list(dict.fromkeys(name for row in reversed(rows) for name in row))  # in the order of the newest
    write_text(target, table_text(header, ([row.get(name) for name in header] for row in rows)))
