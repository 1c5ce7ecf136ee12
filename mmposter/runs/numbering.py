"""Where a run goes that nobody gave a folder: to the first free one of its name, or on in the one that was stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from mmposter.errors import UserError
from mmposter.outputs import LOCK, is_being_written, one_writer
from mmposter.progress import say
from mmposter.runs.listing import MODEL, is_finished
from mmposter.visible import visible


@contextmanager
def run_folder(usual: Path, *, resume: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """The folder of a run whose usual one is `usual`: that, or with ``-2``, ``-3`` and so on where it is taken.

    A new folder is this process's own from here on; it goes again at the end if nothing was written into it.

    Args:
        usual: where the first run of its name lies.
        resume: go on in the last one that is unfinished and that no other process is writing; of finished ones alone
            the last. Without any it is a new one.
        overwrite: it is `usual`, whatever is there.

    Raises:
        OSError: it cannot be made.
    """
    there = _last_of(usual) if resume else None
    if overwrite or there is not None:
        yield usual if there is None or overwrite else there
        return
    usual.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = next(folder for folder in _numbered(usual) if _take(folder, stack))
        if folder != usual:
            say(visible(f"run: {folder}, as {usual} is there already"))
        yield folder


def _numbered(usual: Path) -> Iterator[Path]:
    yield usual
    for number in count(2):
        yield usual.with_name(f"{usual.name}-{number}")


def _take(folder: Path, stack: ExitStack) -> bool:
    """Make a folder, or take one that a killed process has left empty; False where it is another's."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not _is_empty(folder):
            return False
    with ExitStack() as own:
        try:
            own.enter_context(one_writer(folder))
        except UserError:  # another process was faster
            return False
        if not _is_empty(folder):
            return False
        stack.callback(_remove_if_empty, folder)  # called last, when the lock has gone
        stack.push(own.pop_all())
    return True


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and all(path.name == LOCK for path in folder.iterdir())


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # the run is in it
        folder.rmdir()


def _last_of(usual: Path) -> Path | None:
    """The run to go on with; None where there is none of the name."""
    name = re.compile(rf"{re.escape(usual.name)}(?:-([1-9][0-9]*))?")
    numbers: dict[int, Path] = {}
    for model in usual.parent.glob(f"*/{MODEL}"):
        if match := name.fullmatch(model.parent.name):
            numbers[int(match[1] or 1)] = model.parent
    runs = [numbers[number] for number in sorted(numbers)]
    open_ones = [run for run in runs if not is_finished(run)]
    free = [run for run in open_ones if not is_being_written(run / LOCK)]
    return next(iter([*free[-1:], *open_ones[-1:], *runs[-1:]]), None)
