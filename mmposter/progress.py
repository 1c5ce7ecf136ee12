"""Progress that a person can watch, and that a log file can hold."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.text import Text

from mmposter.visible import visible, visible_html, visible_lines

PLAIN_WIDTH = 120


class PlainConsole(Console):
    """A console on which text is text: nothing in a file's name steers the terminal, is markup or an emoji.

    What has a style is a `rich.text.Text`. Line feeds and tabs of a string are meant; a name in it that may hold some
    goes through `mmposter.visible.visible` first.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """A string as rich text, before it is measured: a column is as wide as what it shows."""
        return super().render_str(visible_lines(text), **how)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """All that is shown comes through here, the cells of a table too."""
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else visible_lines(segment.text)
            yield segment if shown == segment.text else Segment(shown, segment.style)


def make_console(*, stderr: bool = False) -> PlainConsole:
    """A console as wide as its terminal; in a file or a pipe wide enough that no table cuts its names."""
    found = PlainConsole(stderr=stderr)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return PlainConsole(stderr=stderr, width=PLAIN_WIDTH)


# Everything that is not a result goes to standard error, so that `mmposter ... --json | jq` and pipes stay clean.
console = make_console(stderr=True)


def say(text: str, *, style: str | None = None) -> None:
    """A line for people, which is not parted where the terminal ends."""
    console.print(text, style=style, soft_wrap=True)


PLAIN_EVERY_S = 10.0
NOTEBOOK_EVERY_S = 0.5
# Rich guesses the time left from the units of the last half minute; a part of 32 posters may take longer than that.
_RATE_OVER_S = 300.0


class _NotebookLine:
    """One line in the output of a notebook's cell, written anew in its place.

    Rich's own bar needs ipywidgets there, and without them every line is an output of its own.
    """

    def __init__(self) -> None:
        # Only what runs a notebook has it; by name, as mmposter does not depend on it.
        self._display: Any = import_module("IPython.display").display
        self._handle: Any = None

    def show(self, text: str, done: int, total: int) -> None:
        """Show a line behind a bar that is drawn by the browser."""
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        data = {"text/plain": text, "text/html": f"{bar} {visible_html(text)}"}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class Ticker:
    """Counts finished units of one task; made by `progress`, not by hand."""

    def __init__(
        self,
        title: str,
        total: int,
        bar: Progress | None,
        *,
        done: int = 0,
        quiet: bool = False,
        line: _NotebookLine | None = None,
    ) -> None:
        self.title, self.total, self.done = title, total, done
        self._earlier, self._bar, self._quiet, self._line = done, bar, quiet, line
        self._task = bar.add_task(title, total=total, completed=done) if bar else None
        self._start = self._last = time.monotonic()
        self._note = ""
        self.show_line()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more finished units; `note` is shown behind the bar."""
        self.done, self._note = self.done + count, note
        if self._quiet:
            return
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, description=visible(f"{self.title} {note}".strip()))
            return
        now = time.monotonic()
        every = PLAIN_EVERY_S if self._line is None else NOTEBOOK_EVERY_S
        if now - self._last >= every or self.done >= self.total:
            self._last = now
            if self._line is not None:
                self.show_line()
            else:
                console.print(self._text(), soft_wrap=True)

    def show_line(self) -> None:
        """Show how far it is in a notebook; elsewhere nothing."""
        if self._line is not None:
            self._line.show(self._text(), self.done, self.total)

    def _text(self) -> str:
        rate = (self.done - self._earlier) / max(time.monotonic() - self._start, 1e-9)
        left = (self.total - self.done) / rate if rate else 0.0
        speed = f" ({rate:.1f}/s, {left:.0f} s left)" if rate else ""
        return visible(f"{self.title}: {self.done}/{self.total}{speed} {self._note}".rstrip())


class _Rate(ProgressColumn):
    """Finished units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


@contextmanager
def progress(title: str, total: int, *, done: int = 0, quiet: bool = False) -> Iterator[Ticker]:
    """Show the progress of `total` units.

    On a terminal it is a bar, in a notebook one line that is written anew in its place, elsewhere a line every ten
    seconds.

    Args:
        title: what is being done, in a few words.
        total: how many units there are.
        done: how many of them an earlier, stopped run has finished.
        quiet: count, but show nothing (library use).
    """
    if console.is_jupyter and not quiet:
        ticker = Ticker(title, total, None, done=done, line=_NotebookLine())
        try:
            yield ticker
        finally:
            ticker.show_line()  # what came since the last one, also of what was stopped
        return
    if quiet or not console.is_terminal:
        yield Ticker(title, total, None, done=done, quiet=quiet)
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=_RATE_OVER_S,
    )
    with bar:
        yield Ticker(title, total, bar, done=done)
