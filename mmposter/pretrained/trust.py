"""The person's word that a checkpoint may run code: given for one command, by nobody but the person.

No file says it: a run, a recipe or an environment that came from a stranger would say it of the stranger's own files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_given = 0
_command = False


@contextmanager
def trusting() -> Iterator[None]:
    """While this lasts, checkpoints that need it are unpickled, and may run code of their maker's.

    Everything that is built inside keeps the word, such as a `PosterClassifier` that is used later.
    """
    global _given
    _given += 1
    try:
        yield
    finally:
        _given -= 1


def set_trust(given: bool) -> None:
    """``--trust`` of the command line, from a command's beginning to its end."""
    global _command
    _command = given


def is_trusted() -> bool:
    """Whether the person has given the word."""
    return _command or _given > 0
