"""The bytes of a plain file, never more than was said before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mmposter.errors import UserError

MEGABYTE = 1_000_000


def read_plain(path: str | Path, *, limit: int, mend: str) -> bytes:
    """The content of a plain file of at most `limit` bytes.

    Args:
        mend: what to do about another one, for the message.

    Raises:
        UserError: it is no plain file, cannot be read, or is larger.
    """
    try:
        # A pipe would never end, and opening one would wait for its other side.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise UserError(f"{path} is no plain file; {mend}")
            content = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {mend}") from error
    except ValueError as error:  # a path that holds a zero byte
        raise UserError(f"{str(path)!r} cannot be read ({error}); {mend}") from error
    if len(content) > limit:
        raise UserError(
            f"{path} is too large to be what it is called: it has more than {limit / MEGABYTE:g} MB; {mend}"
        )
    return content
