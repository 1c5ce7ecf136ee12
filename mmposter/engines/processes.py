"""Several processes of this machine: each takes parts from the parent and gives results back.

The parent hands every part to the worker that has the least to do, a few ahead, over a pipe of its own. (One queue for
all would let the first worker to come hoard the last parts, and a worker killed inside it would lock the others out.)
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from traceback import format_exception
from typing import Any, Generic

from mmposter.engines.interrupts import no_interrupt
from mmposter.engines.libraries import limit_threads, prepare_libraries
from mmposter.engines.machine import gpus
from mmposter.engines.parent import end_with_the_parent, lasts
from mmposter.engines.task import AHEAD, Loading, Part, Result, Task
from mmposter.errors import UserError

_WINDOW = 4 * (1 + AHEAD)  # parts a worker that may be out, or finished and waiting for an earlier one
_PATIENCE_S = 5.0  # for the workers to finish the files they are writing, before they are killed
_HURRY_S = 0.5  # the same after Ctrl-C; a file is there whole or not at all


def run_processes(
    task: Task[Part, Loading, Result], parts: Iterable[Part], *, workers: int, threads: int
) -> Generator[Result]:
    """Run a task in `workers` spawned processes, each on a GPU of its own as far as they go, else with `threads`.

    A script that calls this must do so under ``if __name__ == "__main__":``, as with all of multiprocessing.

    Raises:
        UserError: if a worker dies. What a worker raises is raised here.
    """
    there = gpus(task.device)
    payload = pickle.dumps(task)
    staff: list[_Worker[Part, Result]] = []
    patience = _PATIENCE_S
    try:
        # Children inherit the block, so that Ctrl-C never reaches one that is not yet up. It may reach another thread
        # of this process, and through it us: one that gets half of its orders would complain.
        with _blocked_interrupts(), no_interrupt():
            for number in range(workers):
                gpu = number % there if task.device == "cuda" and there else None
                staff.append(_Worker(number, workers, payload, threads, gpu))
        yield from _serve(staff, iter(parts))
    except BaseException as error:
        if not isinstance(error, Exception):
            patience = _HURRY_S
        for worker in staff:
            worker.process.terminate()
        raise
    finally:
        _dismiss(staff, patience)


class _Worker(Generic[Part, Result]):
    """The parent's side of one process."""

    def __init__(self, number: int, of: int, payload: bytes, threads: int, gpu: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = f"worker {number + 1} of {of}"
        self.doing: deque[int] = deque()  # numbers of the parts that it has
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_work, args=(theirs, payload, threads, gpu, lasts()), name=f"mmposter {self.name}", daemon=True
        )
        self.process.start()
        theirs.close()  # so that the pipe ends when the worker does

    def send(self, number: int, part: Part) -> None:
        with self._alive():
            self.connection.send(part)
        self.doing.append(number)

    def receive(self) -> tuple[int, Result]:
        with self._alive():
            message = self.connection.recv()
        if isinstance(message, _Raised):
            raise message.error
        return self.doing.popleft(), message

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self.process.join(_PATIENCE_S)
            raise UserError(f"{self.name} {_cause(self.process.exitcode)}") from error


def _serve(staff: list[_Worker[Part, Result]], parts: Iterator[Part]) -> Iterator[Result]:
    finished: dict[int, Result] = {}
    handed = given = 0
    ended = False
    while True:
        while not ended and handed - given < _WINDOW * len(staff):
            idlest = min(staff, key=lambda worker: len(worker.doing))
            if len(idlest.doing) > AHEAD:
                break
            try:
                part = next(parts)
            except StopIteration:
                ended = True
                break
            idlest.send(handed, part)
            handed += 1
        if given in finished:
            yield finished.pop(given)
            given += 1
        elif ended and given == handed:
            return
        else:
            ready = set(wait([worker.connection for worker in staff]))
            for worker in staff:
                if worker.connection in ready:
                    number, result = worker.receive()
                    finished[number] = result


def _dismiss(staff: list[_Worker[Any, Any]], patience: float) -> None:
    """See all workers out: the end of its pipe is the end of a worker's work."""
    for worker in staff:
        worker.connection.close()
    end = time.monotonic() + patience
    for worker in staff:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()


def _cause(code: int | None) -> str:
    kept = "What was finished is kept: the same command goes on"
    if code == -signal.SIGKILL:
        return f"was killed, most likely because memory ran out.\n{kept}; give it fewer --workers, such as --workers 1"
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"crashed ({signal.Signals(-code).name}).\n{kept}; to find the cause, give it --workers 1"
    return (
        f"ended with exit code {code}.\n{kept}; to find the cause, give it --workers 1 (in a script of your own, call "
        'it under `if __name__ == "__main__":`)'
    )


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- the worker's side ---


@dataclass(frozen=True)
class _Raised:
    """What a worker sends in place of a result when it cannot go on."""

    error: BaseException


def _work(connection: Connection, payload: bytes, threads: int, gpu: int | None, tied: bool) -> None:
    """A worker's main: nothing that is imported before `prepare_libraries` loads torch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which tells us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    end_with_the_parent(at_once=tied)
    if gpu is not None:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible else str(gpu)
    try:
        prepare_libraries()
        limit_threads(threads)
        task: Task[Any, Any, Any] = pickle.loads(payload)
        task.start(threads)
        try:
            _serve_parent(task, connection)
        finally:
            task.stop()
    except SystemExit:
        raise
    except BaseException as error:
        with suppress(OSError):
            connection.send(_Raised(portable(error)))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _serve_parent(task: Task[Any, Any, Any], connection: Connection) -> None:
    """Compute what comes; reading a part begins when it comes, and a result goes back when it is written."""
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_fetch, args=(task, connection, inbox), daemon=True).start()
    behind: Future[Any] | None = None
    while (loading := inbox.get()) is not None:
        if isinstance(loading, _Raised):
            raise loading.error
        future = task.compute(loading)
        if behind is not None:
            behind.result()
        # The next result cannot be ready before this one, so that they go in their order.
        future.add_done_callback(partial(_give, connection))
        behind = future
    if behind is not None:
        behind.result()


def _give(connection: Connection, future: Future[Any]) -> None:
    if future.exception() is None:  # that is raised where it is waited for
        with suppress(OSError):  # the parent has gone
            connection.send(future.result())


def _fetch(task: Task[Any, Any, Any], connection: Connection, inbox: SimpleQueue[Any]) -> None:
    """Take parts from the pipe at once: a parent that waits to send one could not take our results."""
    try:
        while True:
            inbox.put(task.load(connection.recv()))
    except (EOFError, OSError):  # the parent has nothing more for us
        inbox.put(None)
    except BaseException as error:
        inbox.put(_Raised(error))


def portable(error: BaseException) -> BaseException:
    """An exception as another process can raise it: itself, with its traceback as a note, or a UserError that says
    all that is known."""
    text = "".join(format_exception(error))
    try:
        if not isinstance(error, UserError | KeyboardInterrupt):
            error.add_note(f"in a worker:\n{text}")
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # whatever an exception's own pickling raises
        pass
    return UserError(f"a worker failed: {type(error).__name__}: {error}\n{text}")
