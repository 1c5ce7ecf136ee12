"""Run a task with the engine, the workers and the threads that were asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import chain, islice
from typing import Any, Literal, TypeAlias

from mmposter.engines.libraries import limit_threads
from mmposter.engines.machine import automatic_workers, cores
from mmposter.engines.task import Loading, Part, Result, Task, run_here
from mmposter.errors import UserError
from mmposter.suggest import did_you_mean

ENGINES = ("local", "ray")
Workers: TypeAlias = int | Literal["auto"]

_AUTOMATIC_PARTS = 2  # a worker, where we choose: for fewer a process costs more (seconds, to load torch) than it gives


def require_engine(name: str) -> str:
    """The name of an engine, as it was given.

    Raises:
        UserError: there is none of that name.
    """
    if name not in ENGINES:
        raise UserError(f"--engine takes {' or '.join(ENGINES)}; got {name!r}{did_you_mean(name, ENGINES)}")
    return name


def run(
    task: Task[Part, Loading, Result],
    parts: Iterable[Part],
    *,
    workers: Workers = 1,
    threads: int | None = None,
    engine: str = "local",
) -> Generator[Result]:
    """Results of a task, one a part, in the order of the parts; only a few parts and results are held at a time.

    There are never more workers than parts, and a single worker of the engine ``local`` is this process.

    Args:
        task: not started yet; it is sent to the workers.
        parts: what to work on.
        workers: how many processes; ``auto``: one a GPU, else one a core as far as memory goes, each with two parts or
            more to do.
        threads: CPU threads of each worker, also where that is this process; None: the cores shared out between the
            workers (a single one keeps what it has).
        engine: ``local``, or ``ray`` (then all parts are held at once).

    Raises:
        UserError: for another engine, workers below 1, a worker that died, and where Ray is asked for and not there.
    """
    require_engine(engine)
    if workers != "auto" and workers < 1:
        raise UserError(f"--workers must be auto or 1 or more; got {workers}")
    if threads is not None and threads < 1:
        raise UserError(f"--threads must be 1 or more; got {threads}")
    if engine == "ray":
        from mmposter.engines.ray_data import run_ray

        return run_ray(task, parts, workers=workers, threads=threads)
    return _run_local(task, parts, workers, threads)


def _run_local(
    task: Task[Part, Any, Result], parts: Iterable[Part], workers: Workers, threads: int | None
) -> Generator[Result]:
    iterator = iter(parts)
    wanted = automatic_workers(task.device) if workers == "auto" else workers
    least = _AUTOMATIC_PARTS if workers == "auto" else 1
    first = list(islice(iterator, wanted * least)) if wanted > 1 else []
    count = min(wanted, len(first) // least)
    parts = chain(first, iterator)
    if count > 1:
        from mmposter.engines.processes import run_processes

        yield from run_processes(task, parts, workers=count, threads=threads or max(1, cores() // count))
        return
    if threads is not None:
        limit_threads(threads)
    yield from run_here(task, parts, threads=threads or cores())
