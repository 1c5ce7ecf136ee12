"""Ctrl-C at the end of a step: what a training keeps is then whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether Ctrl-C was pressed, or the process was asked to end."""

    pressed = False


@contextmanager
def late_interrupt() -> Iterator[Interrupt]:
    """Note the first Ctrl-C of the block; a second one interrupts at once, as does any outside the main thread.

    A SIGTERM is noted too, where it would have interrupted the block (see `mmposter.cli.stop`).
    """
    state = Interrupt()
    if threading.current_thread() is not threading.main_thread():  # Python gives signals to that one alone
        yield state
        return
    before: dict[signal.Signals, Callable[[int, FrameType | None], Any]] = {}
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):
            before[number] = handler

    def note(signum: int, frame: FrameType | None) -> None:
        state.pressed = True
        _restore()

    def _restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield state
    finally:
        _restore()


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait until the block, which must be short, has ended: then it interrupts as ever."""
    with late_interrupt() as interrupt:
        yield
    if interrupt.pressed:
        raise KeyboardInterrupt
