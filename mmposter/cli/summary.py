"""What a command prints of its result: as much of it as ``--verbose`` and ``--quiet`` ask for."""

from __future__ import annotations

from pathlib import Path

from mmposter.cli.answers import answer_path
from mmposter.document.blocks import TableBlock
from mmposter.document.terminal import print_all
from mmposter.progress import console, make_console, say
from mmposter.verbosity import Verbosity, verbosity

Thing = TableBlock | str


class Summary:
    """The one place that decides what of a result is shown.

    Args:
        stderr: print on standard error, where standard output holds the path of what was made.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        self._console = console if stderr else make_console()

    def headline(self, *things: Thing) -> None:
        """What everybody should see; not with ``--quiet``."""
        self._show(things, verbosity() is not Verbosity.QUIET)

    def brief(self, *things: Thing) -> None:
        """What stands for the details where these are not shown."""
        self._show(things, verbosity() is Verbosity.DEFAULT)

    def details(self, *things: Thing) -> None:
        """What ``--verbose`` shows."""
        self._show(things, verbosity() is Verbosity.VERBOSE)

    def answer(self, *things: Thing) -> None:
        """What a person asked for; nothing hides it."""
        self._show(things, True)

    def file(self, what: str, path: Path) -> None:
        """Say where a file lies, of a command whose standard output holds numbers; with ``--quiet`` the path alone."""
        if verbosity() is Verbosity.QUIET:
            answer_path(path)
        else:
            say(f"{what}: {path}")

    def _show(self, things: tuple[Thing, ...], wanted: bool) -> None:
        if wanted:
            print_all(self._console, things)
