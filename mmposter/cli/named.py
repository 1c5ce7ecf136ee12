"""The posters that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmposter.errors import UserError
from mmposter.progress import say


def posters_of(paths: Sequence[str]) -> list[str]:
    """The posters that a person named; what else lies in their folders is said.

    Raises:
        UserError: there is none.
    """
    from mmposter.images.listing import list_posters, passed_over_text

    others: list[Path] = []
    posters = list_posters(paths, others)
    passed = f"{passed_over_text(others)}\n" if others else ""
    if not posters:
        raise UserError(f"no poster to look at; {passed}Give files, folders, globs or links")
    if passed:
        say(passed.rstrip())
    return posters
