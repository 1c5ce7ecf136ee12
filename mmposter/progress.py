"""Progress that a person can watch, and that a log file can hold; and lines beside it.

What is said of speed comes from the work that this run has finished, and from nothing else: not from what an earlier
run had finished, and not from the time that models take to load.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.text import Text

from mmposter.pace import Pace
from mmposter.verbosity import Verbosity, verbosity
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
    """A line for people, which is not parted where the terminal ends; not with ``--quiet``."""
    if verbosity() > Verbosity.QUIET:
        console.print(text, style=style, soft_wrap=True)


def warn(text: str) -> None:
    """A line that a person may have to act on: shown with ``--quiet``, too."""
    console.print(text, style="yellow", soft_wrap=True)


_clock: Callable[[], float] = time.monotonic
PLAIN_FIRST_S, PLAIN_EVERY_S = 1.0, 10.0
NOTEBOOK_EVERY_S = 0.5
LOADING = "loading models"
_TOLD_FROM_S = 2.0  # a stage that took less is not worth a line in a log
_BAR_WIDTHS = (8, 40)  # the least and the most
_BESIDE_BAR = 62  # letters of what stands beside a bar, with a note of usual length


class _NotebookLine:
    """One line in the output of a notebook's cell, written anew in its place.

    Rich's own bar needs ipywidgets there, and without them every line is an output of its own.
    """

    def __init__(self) -> None:
        # Only what runs a notebook has it; by name, as mmposter does not depend on it.
        self._display: Any = import_module("IPython.display").display
        self._handle: Any = None

    def show(self, text: str, done: float, total: int) -> None:
        """Show a line behind a bar that is drawn by the browser."""
        bar = f'<progress value="{done:g}" max="{max(total, 1)}"></progress>'
        data = {"text/plain": text, "text/html": f"{bar} {visible_html(text)}"}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class Ticker:
    """Counts finished units of one task; made by `progress`, not by hand.

    Attributes:
        done: units that are finished, those of earlier runs included.
        part_done: how many units the work on the part in hand is worth so far; the bar shows it, no number does.
    """

    def __init__(
        self,
        title: str,
        total: int,
        bar: Progress | None,
        *,
        done: int = 0,
        unit: str = "poster",
        quiet: bool = False,
        line: _NotebookLine | None = None,
    ) -> None:
        self.title, self.total, self.done, self.part_done = title, total, done, 0.0
        self._earlier = done
        self.pace = Pace(unit, _clock)
        self._bar, self._quiet, self._line = bar, quiet, line
        self._note, self._step, self._began, self._shown = "", "", _clock(), _clock()
        self._told = 0  # lines
        self._part, self._steps, self._at = 0, 1, -1
        self._step_name, self._step_count, self._step_done = "", 0, 0
        self._task = bar.add_task(title, total=total, completed=done, ticker=self) if bar else None
        if line is not None:
            self._show(always=True)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units that this run has finished; `note` is shown behind the title."""
        self.pace.finish(count)
        self._count(count, note)

    def skip(self, count: int = 1, note: str = "") -> None:
        """Count units that were finished before: they say nothing of how long the others take."""
        self._count(count, note)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While models load nothing is computed: the clock of the work stands still."""
        began, self._step = _clock(), LOADING
        plain = self._bar is None and self._line is None
        if not plain:
            self._show()
        try:
            with self.pace.paused():
                yield
        finally:
            self._step = ""
        if plain and not self._quiet:
            _tell_stage(LOADING, began)
        elif not plain:
            self._show()

    def begin_part(self, units: int, steps: int) -> None:
        """Begin with some units that go through several steps together, such as a batch through extractors."""
        self._part, self._steps, self._at = units, max(steps, 1), -1

    def begin_step(self, name: str, count: int) -> None:
        """Begin with the next step of the part, which looks at `count` of its units one by one, or at all at once."""
        self._at, self._step_name, self._step_count, self._step_done = self._at + 1, name, count, 0
        self._show_part()

    def step_on(self, count: int = 1) -> None:
        """Count units that the step in hand has looked at."""
        self._step_done += count
        self._show_part()

    def text(self) -> str:
        """The line of a log: ``extract: 32/120 (1.6/s, 55 s left)``."""
        speed = "" if self._step == LOADING else self.pace.text(self.total - self.done)
        behind = " ".join(part for part in (f"({speed})" if speed else "", self._note, self._step) if part)
        return visible(f"{self.title}: {self.done}/{self.total} {behind}".rstrip())

    def show_line(self) -> None:
        """Show how far it is in a notebook; elsewhere nothing."""
        if self._line is not None:
            self._show(always=True)

    def _count(self, count: int, note: str) -> None:
        self.done, self._note, self._step, self.part_done = self.done + count, note, "", 0.0
        self._part = 0
        self._show()

    def _show_part(self) -> None:
        if not self._part:
            return
        share = min(self._step_done / self._step_count, 1.0) if self._step_count else 1.0
        self.part_done = min(self._part * (self._at + share) / self._steps, float(self._part))
        self._step = (
            f"{self._step_name} {self._step_done} of {self._step_count}" if self._step_done else self._step_name
        )
        self._show()

    def _show(self, *, always: bool = False) -> None:
        if self._quiet:
            return
        if self._bar is not None and self._task is not None:
            behind = " ".join(part for part in (self.title, self._note, self._step) if part)
            self._bar.update(self._task, completed=self.done + self.part_done, description=visible(behind))
            return
        now = _clock()
        every = PLAIN_EVERY_S if self._line is None else NOTEBOOK_EVERY_S
        # A log that says nothing for ten seconds may have stopped, so its first line comes with the first unit; but a
        # log need not tell of what takes no time.
        first = not self._told and self.done > self._earlier and now - self._began >= PLAIN_FIRST_S
        if not (always or first or now - self._shown >= every or self.done >= self.total):
            return
        self._told += 1
        self._shown = now
        if self._line is not None:
            self._line.show(self.text(), self.done + self.part_done, self.total)
        else:
            console.print(self.text(), soft_wrap=True)


class _Count(ProgressColumn):
    """Finished units of all."""

    def render(self, task: Task) -> Text:
        ticker: Ticker = task.fields["ticker"]
        return Text(f"{ticker.done}/{ticker.total}", style="progress.download")


class _Speed(ProgressColumn):
    """How fast it is, and how long it still takes; nothing before that can be said."""

    def render(self, task: Task) -> Text:
        ticker: Ticker = task.fields["ticker"]
        return Text(ticker.pace.text(ticker.total - ticker.done), style="progress.data.speed")


_tickers: list[Ticker] = []
_bars: list[Progress] = []


@contextmanager
def progress(title: str, total: int, *, done: int = 0, unit: str = "poster", quiet: bool = False) -> Iterator[Ticker]:
    """Show the progress of `total` units.

    On a terminal it is a bar, in a notebook one line that is written anew in its place, elsewhere a line after a second
    and then every ten seconds.

    Args:
        title: what is being done, in a few words.
        total: how many units there are.
        done: how many of them an earlier, stopped run has finished.
        unit: what one of them is called, for a speed such as ``2.4 s/poster``.
        quiet: count, but show nothing (library use); so does ``--quiet``.
    """
    quiet = quiet or verbosity() is Verbosity.QUIET
    if quiet or (not console.is_terminal and not console.is_jupyter):
        with _in_sight(Ticker(title, total, None, done=done, unit=unit, quiet=quiet)) as ticker:
            yield ticker
        return
    if console.is_jupyter:
        with _in_sight(Ticker(title, total, None, done=done, unit=unit, line=_NotebookLine())) as ticker:
            try:
                yield ticker
            finally:
                ticker.show_line()  # what came since the last one, also of what was stopped
        return
    least, most = _BAR_WIDTHS
    width = min(max(console.width - _BESIDE_BAR, least), most)
    columns = (BarColumn(bar_width=width), _Count(), _Speed(), TimeElapsedColumn())
    with _drawn(*columns) as bar, _in_sight(Ticker(title, total, bar, done=done, unit=unit)) as ticker:
        yield ticker


@contextmanager
def stage(title: str) -> Iterator[None]:
    """Show that something goes on of which nobody knows how long it takes, such as loading models."""
    if verbosity() is Verbosity.QUIET or console.is_jupyter or _bars or _tickers:
        yield
    elif console.is_terminal:
        with _drawn(TimeElapsedColumn(), transient=True) as bar:
            bar.add_task(title, total=None)
            yield
    else:
        began = _clock()
        yield
        _tell_stage(title, began)


def _tell_stage(title: str, began: float) -> None:
    if (seconds := _clock() - began) >= _TOLD_FROM_S:
        say(f"{title}: {seconds:.0f} s")


@contextmanager
def loading_models() -> Iterator[None]:
    """While models load inside a task that has a `progress`, show that; the time is none of its work."""
    if not _tickers:
        yield
        return
    with _tickers[-1].loading():
        yield


@contextmanager
def set_aside() -> Iterator[None]:
    """Take away the bar in sight while something else draws on the terminal, such as a download."""
    if not _bars:
        yield
        return
    _bars[-1].stop()
    try:
        yield
    finally:
        _bars[-1].start()


def begin_part(units: int, steps: int) -> None:
    """`Ticker.begin_part` of the progress in sight, if there is one; the next two are alike."""
    if _tickers:
        _tickers[-1].begin_part(units, steps)


def begin_step(name: str, count: int) -> None:
    """`Ticker.begin_step` of the progress in sight."""
    if _tickers:
        _tickers[-1].begin_step(name, count)


def step_on(count: int = 1) -> None:
    """`Ticker.step_on` of the progress in sight."""
    if _tickers:
        _tickers[-1].step_on(count)


@contextmanager
def _in_sight(ticker: Ticker) -> Iterator[Ticker]:
    _tickers.append(ticker)
    try:
        yield ticker
    finally:
        _tickers.remove(ticker)


@contextmanager
def _drawn(*columns: ProgressColumn, transient: bool = False) -> Iterator[Progress]:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        transient=transient,
        # Rich would print what goes to standard output on its own console, which is standard error: not into a pipe.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )
    with bar:
        _bars.append(bar)
        try:
            yield bar
        finally:
            _bars.remove(bar)
