"""A process that must not outlive the one that started it, however that one ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait

_PR_SET_PDEATHSIG = 1


def end_with_the_parent(*, at_once: bool) -> None:
    """From here on this process ends when its parent does; a parent that was killed cannot tell us.

    A thread waits for the end of the parent. On Linux the kernel also kills us, in the middle of a long computation
    too, where no thread of ours would be let run.

    Args:
        at_once: let the kernel do it. It counts the end of the *thread* that started us as the parent's, so it must be
            the parent's main thread (see `lasts`).
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()
    if at_once and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it ended before that
            os._exit(1)


def end_with_the_launcher() -> None:
    """From here on, on Linux, SIGTERM comes to this process when torchrun, which started it, is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def lasts() -> bool:
    """Whether the current thread is there as long as its process: what it starts can be tied to it."""
    return threading.current_thread() is threading.main_thread()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
