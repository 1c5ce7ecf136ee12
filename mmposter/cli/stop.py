"""Ctrl-C and SIGTERM end a command within two seconds, whatever it is in the middle of.

Python itself acts on a signal between two steps of its own. One batch of text reading, or a thread that is waited for
at the end, can make that ten seconds. So a thread hears of the signal at once, and ends the process when the ordinary
way takes too long. Nothing is lost that a SIGKILL would not lose: a file is there whole or not at all, and a list
grows by whole lines.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import Any, NoReturn, TypeVar

from mmposter.engines import launched
from mmposter.files.disk import KEPT

Command = TypeVar("Command", bound=Callable[..., Any])

GRACE_S = 1.5
"""Seconds for the ordinary way to end: to save what is whole, and to see the workers out."""

_ONE_PRESS_S = 0.3  # a terminal and a wrapper such as `timeout` may send one Ctrl-C twice
_SHOW_CURSOR = b"\x1b[?25h"
_TEXT = f"stopped. {KEPT}"

INTERRUPTED = 128 + signal.SIGINT
_CODES = {int(number): 128 + number for number in (signal.SIGINT, signal.SIGTERM)}


@dataclass
class _State:
    """Of the command that runs: which signal came, and whether it has been spoken of."""

    code: int = INTERRUPTED
    came: bool = False
    said: bool = False
    socket: socket.socket | None = None  # open while signals are heard; Python would close one that nobody holds


_state = _State()


def leave() -> NoReturn:
    """Say, on standard error, that the command was stopped and what is kept; end with 130, or 143 after SIGTERM."""
    if not _state.said:
        _state.said = True
        if not launched.follows():
            print(_TEXT, file=sys.stderr)
    if _state.came:
        # Python would wait for every thread first, and take models of gigabytes apart.
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(_state.code)
    sys.exit(INTERRUPTED)


def ends_in_time(command: Command) -> Command:
    """A command that a signal ends in time; it has the same arguments and help."""

    @wraps(command)
    def watched(*args: Any, **kwargs: Any) -> Any:
        with _watch():
            return command(*args, **kwargs)

    return watched  # type: ignore[return-value]


@contextmanager
def _watch() -> Iterator[None]:
    """Hear of signals in a thread while the block runs; if one came, also until the process has ended."""
    if threading.current_thread() is not threading.main_thread():  # Python gives signals to that one alone
        yield
        return
    vars(_state).update(vars(_State()))
    here, there = socket.socketpair()
    there.setblocking(False)
    _state.socket = there
    wakeup = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as in a script's background, or under nohup
            signal.signal(number, _interrupt)
    threading.Thread(target=_listen, args=(here,), name="signals", daemon=True).start()
    try:
        yield
    finally:
        if not _state.came:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            _state.socket = None
            there.close()  # which ends the thread


def _in_a_fork() -> None:
    """A data loader's process hears its own signals: ours would hear of them too, and end."""
    if _state.socket is not None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _state.came, _state.code = True, _CODES[signum]
    raise KeyboardInterrupt


def _listen(here: socket.socket) -> None:
    with here:
        while (number := _next(here, None)) not in _CODES:
            if number is None:
                return
        _state.came, _state.code = True, _CODES[number]
        pressed = time.monotonic()
        while (left := pressed + GRACE_S - time.monotonic()) > 0:
            number = _next(here, left)
            if number in _CODES and time.monotonic() - pressed > _ONE_PRESS_S:
                break
    _end()


def _next(here: socket.socket, seconds: float | None) -> int | None:
    """The number of the next signal; None when there is none in time, or none any more."""
    here.settimeout(seconds)
    with suppress(TimeoutError):
        data = here.recv(1)
        return data[0] if data else None
    return None


def _end() -> None:
    # The stream's own lock may be held by what does not end.
    with suppress(OSError):
        if not _state.said:
            _state.said = True
            if not launched.follows():
                os.write(2, f"{_TEXT}\n".encode())
        if os.isatty(2):
            os.write(2, _SHOW_CURSOR)  # a progress bar hides it
    os._exit(_state.code)
