"""What else than a prepared folder counts as data: packs, which stand above this room and are said to it from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_opener: Callable[[str | Path], Path] = Path


def set_opener(opener: Callable[[str | Path], Path]) -> None:
    """From now on `opener` says which prepared folder somebody means; it gives back what is one already."""
    global _opener
    _opener = opener


def find_folder(data: str | Path) -> Path:
    """The prepared folder that somebody means.

    Args:
        data: a folder, or what the opener takes.

    Raises:
        UserError: it cannot be made a folder.
    """
    return _opener(data)
