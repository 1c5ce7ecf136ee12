"""The format numbers of our files: a newer one is refused in words, not guessed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmposter.errors import UserError
from mmposter.files.strict_json import shown


def require_format(file: Path, found: Any, newest: int) -> None:
    """Refuse a file of a later mmposter, or one whose format is no number.

    Raises:
        UserError: `found` is larger, or none that a mmposter has written.
    """
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise UserError(f"{file} is damaged: its format must be a number from 1 to {newest}, got {shown(found)}")
    if found > newest:
        raise UserError(
            f"{file} has format {found}, this mmposter reads up to {newest}; run: pip install --upgrade mmposter"
        )
