"""The format numbers of our files: a newer one is refused in words, not guessed at."""

from __future__ import annotations

from pathlib import Path

from mmposter.errors import UserError


def require_format(file: Path, found: int, newest: int) -> None:
    """Refuse a file of a later mmposter.

    Args:
        file: for the message.
        found: the number in it.
        newest: the one that is written here.

    Raises:
        UserError: `found` is larger.
    """
    if found > newest:
        raise UserError(
            f"{file} has format {found}, this mmposter reads up to {newest}; run: pip install --upgrade mmposter"
        )
