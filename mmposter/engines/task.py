"""What an engine runs: a task that reads parts ahead, computes them in order and makes each result safe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from itertools import islice
from typing import Generic, TypeVar

from mmposter.progress import loading_models

Part = TypeVar("Part")
Loading = TypeVar("Loading")
Result = TypeVar("Result")

AHEAD = 1
"""Parts that are read while another is computed: one keeps a model busy, and more would only hold more pictures."""


class Task(ABC, Generic[Part, Loading, Result]):
    """Work on parts, in this process or in others: a task is picklable until it is started.

    A part goes through three hands: `load` reads it in the background, `compute` runs the models on the thread that
    calls it, and what must still be written ends with the future that `compute` returns.
    """

    device: str
    """``cpu``, ``cuda`` or ``mps``; where several GPUs are there, an engine shows each worker one of them."""

    @abstractmethod
    def start(self, threads: int) -> None:
        """Load the models; `threads` may read ahead. A task that was stopped may be started again."""

    @abstractmethod
    def load(self, part: Part) -> Loading:
        """Begin to read a part, without waiting for it."""

    @abstractmethod
    def compute(self, loading: Loading) -> Future[Result]:
        """Run the models on a part."""

    @abstractmethod
    def stop(self) -> None:
        """Finish what is being written, forget what was read ahead."""


def finished(result: Result) -> Future[Result]:
    """A future that has ended, for a task that has nothing to write."""
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def flow(task: Task[Part, Loading, Result], parts: Iterable[Part]) -> Generator[Result]:
    """Results of a started task in the order of the parts, in this thread.

    Beside the part that is computed, at most `AHEAD` parts are read and one is written.
    """
    iterator = iter(parts)
    ahead: deque[Loading] = deque()
    behind: deque[Future[Result]] = deque()
    while True:
        ahead.extend(task.load(part) for part in islice(iterator, 1 + AHEAD - len(ahead)))
        if not ahead:
            break
        behind.append(task.compute(ahead.popleft()))
        while len(behind) > 1 or (behind and behind[0].done()):
            yield behind.popleft().result()
    for future in behind:
        yield future.result()


def run_here(task: Task[Part, Loading, Result], parts: Iterable[Part], *, threads: int) -> Generator[Result]:
    """Run a task in this process."""
    with loading_models():
        task.start(threads)
    try:
        yield from flow(task, parts)
    finally:
        task.stop()
