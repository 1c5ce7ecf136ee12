"""Command lines that a person may copy into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

_places: dict[Path, str] = {}


def name_place(path: Path, name: str) -> None:
    """From now on a path at or below `path` is called by `name`, such as the link of which it is a copy."""
    _places[path] = name


def called(word: object) -> str:
    """What a person calls a path, or any other word of a command line."""
    if isinstance(word, Path):
        for path, name in _places.items():
            if word.is_relative_to(path):
                return "/".join((name, *word.relative_to(path).parts))
    return str(word)


def with_names(text: str) -> str:
    """A text in which paths that have a name are called by it."""
    for path, name in _places.items():
        text = text.replace(str(path), name)
    return text


def command_line(*words: object) -> str:
    """Words as one command line of a POSIX shell: a path with a space or a quotation mark is quoted.

    >>> print(command_line("mmposter", "evaluate", "my run", "data"))
    mmposter evaluate 'my run' data
    >>> print(command_line("pip", "install", "mmposter[lite]"))
    pip install 'mmposter[lite]'
    """
    return shlex.join(called(word) for word in words)
