"""Ctrl-C at the end of a step: what a training keeps is then whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed."""

    pressed = False


@contextmanager
def late_interrupt() -> Iterator[Interrupt]:
    """Note the first Ctrl-C of the block; a second one interrupts at once, as does any outside the main thread."""
    state = Interrupt()
    if threading.current_thread() is not threading.main_thread():  # Python gives signals to that one alone
        yield state
        return
    before = signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: FrameType | None) -> None:
        state.pressed = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)
