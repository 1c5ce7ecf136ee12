"""Texts that may be paths: whoever asks gets an answer, whatever the text is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def file_here(name: str | Path) -> Path | None:
    """The file that a text names, if there is one."""
    return _here(name, Path.is_file)


def folder_here(name: str | Path) -> Path | None:
    """The folder that a text names, if there is one."""
    return _here(name, Path.is_dir)


def _here(name: str | Path, is_there: Callable[[Path], bool]) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if str(name) and is_there(path) else None
    except (OSError, RuntimeError, ValueError):  # longer than a path can be; the home of an unknown user; a zero byte
        return None
