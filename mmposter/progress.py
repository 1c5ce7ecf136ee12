"""Progress that a person can watch, and that a log file can hold."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
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
from rich.text import Text

PLAIN_WIDTH = 120


def make_console(*, stderr: bool = False) -> Console:
    """A console as wide as its terminal; in a file or a pipe wide enough that no table cuts its names."""
    found = Console(stderr=stderr)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(stderr=stderr, width=PLAIN_WIDTH)


# Everything that is not a result goes to standard error, so that `mmposter ... --json | jq` and pipes stay clean.
console = make_console(stderr=True)

PLAIN_EVERY_S = 10.0
# Rich guesses the time left from the units of the last half minute; a part of 32 posters may take longer than that.
_RATE_OVER_S = 300.0


class Ticker:
    """Counts finished units of one task; made by `progress`, not by hand."""

    def __init__(self, title: str, total: int, bar: Progress | None, *, done: int = 0, quiet: bool = False) -> None:
        self.title, self.total, self.done = title, total, done
        self._earlier, self._bar, self._quiet = done, bar, quiet
        self._task = bar.add_task(title, total=total, completed=done) if bar else None
        self._start = self._last = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more finished units; `note` is shown behind the bar."""
        self.done += count
        if self._quiet:
            return
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, description=f"{self.title} {note}".strip())
            return
        now = time.monotonic()
        if now - self._last >= PLAIN_EVERY_S or self.done >= self.total:
            self._last = now
            rate = (self.done - self._earlier) / max(now - self._start, 1e-9)
            left = (self.total - self.done) / rate if rate else 0.0
            console.print(
                f"{self.title}: {self.done}/{self.total} ({rate:.1f}/s, {left:.0f} s left) {note}".rstrip(),
                highlight=False,
                soft_wrap=True,
            )


class _Rate(ProgressColumn):
    """Finished units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


@contextmanager
def progress(title: str, total: int, *, done: int = 0, quiet: bool = False) -> Iterator[Ticker]:
    """Show the progress of `total` units: a bar on a terminal, a line every ten seconds elsewhere.

    Args:
        title: what is being done, in a few words.
        total: how many units there are.
        done: how many of them an earlier, stopped run has finished.
        quiet: count, but show nothing (library use).
    """
    if quiet or not console.is_terminal:
        yield Ticker(title, total, None, done=done, quiet=quiet)
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
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
