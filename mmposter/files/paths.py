"""Texts that may be paths: whoever asks gets an answer, whatever the text is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

# On any system, whether it is there or not.
_PATH = re.compile(r"(?:[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\])")


def is_a_path(text: str) -> bool:
    """Whether a text that may be a name begins as a path does, of this machine or of another one.

    >>> is_a_path("/data/mine.pt"), is_a_path("ORG/NAME"), is_a_path("yolo11n.pt")
    (True, False, False)
    """
    return _PATH.match(text) is not None


def last_part(text: str) -> str:
    """The name of the file that a path of any system ends with.

    >>> last_part("C:\\\\models\\\\mine.pt"), last_part("/data/mine.pt")
    ('mine.pt', 'mine.pt')
    """
    return re.split(r"[/\\]", text)[-1]


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
