"""Ray Data: the same task on a cluster, or on a local Ray that ends with the run.

Parts go to a fixed pool of actors, a few at a time, and results come back in the order of the parts. Actors that die
end the run, as processes do: what was finished is in the store, and the same command goes on.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from mmposter.engines.libraries import limit_threads, prepare_libraries
from mmposter.engines.machine import WORKER_MEMORY, automatic_workers, cores
from mmposter.engines.processes import portable
from mmposter.engines.task import Loading, Part, Result, Task, flow
from mmposter.errors import UserError

ADDRESS = "RAY_ADDRESS"
_INHERITED = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "YOLO_OFFLINE", "MMPOSTER_WEIGHTS")
_CALL = 8  # parts that an actor gets at once, so that it can read ahead; fewer where that would leave actors idle


def run_ray(
    task: Task[Part, Loading, Result],
    parts: Iterable[Part],
    *,
    workers: int | Literal["auto"],
    threads: int | None,
) -> Generator[Result]:
    """Run a task in Ray actors: on the cluster that ``RAY_ADDRESS`` names, else on a local one made for this run.

    All parts are held in Ray's object store at once; results are not.

    Raises:
        UserError: if Ray is not installed, its cluster is not there, or an actor died.
    """
    ray = _import_ray()
    items = list(parts)
    if not items:
        return
    each = threads or 1
    with _session(ray, task.device, workers, each):
        count = min(_automatic(ray, task.device, each) if workers == "auto" else workers, len(items))
        size = max(1, min(_CALL, len(items) // (4 * count)))
        rows = [{"parts": pickle.dumps(items[start : start + size])} for start in range(0, len(items), size)]
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own: max_restarts has no other place yet
            results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Actor,
                fn_constructor_args=(pickle.dumps(task), each, os.getcwd(), environment),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=count),
                num_cpus=each,
                num_gpus=1 if task.device == "cuda" else None,
                max_restarts=0,  # Ray Data's default restarts for ever, also what crashes on the same part each time
            )
        yield from _unpack(ray, results)


class _Actor:
    """One worker; a fault of the task is a result, so that the driver can raise it as it was."""

    def __init__(self, payload: bytes, threads: int, folder: str, environment: dict[str, str]) -> None:
        if os.path.isdir(folder):  # relative paths mean what they mean to the driver
            os.chdir(folder)
        os.environ.update(environment)
        prepare_libraries()
        limit_threads(threads)
        self._payload, self._threads = payload, threads
        self._task: Task[Any, Any, Any] | None = None

    def __call__(self, table: Any) -> Iterator[Any]:
        import pyarrow as pa

        for message in self._results([pickle.loads(row) for row in table["parts"].to_pylist()]):
            yield pa.table({"result": pa.array([pickle.dumps(message)], pa.binary())})

    def _results(self, blocks: list[list[Any]]) -> Iterator[tuple[str, Any]]:
        try:
            task = self._task or pickle.loads(self._payload)
            task.start(self._threads)
            self._task = task
            try:
                for result in flow(task, [part for block in blocks for part in block]):
                    yield "result", result
            finally:
                task.stop()
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            yield "error", portable(error)


def _unpack(ray: Any, results: Any) -> Iterator[Any]:
    try:
        for row in results.iter_rows():
            kind, value = pickle.loads(row["result"])
            if kind == "error":
                raise value
            yield value
    except ray.exceptions.RayError as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise UserError(
            f"a Ray worker died ({what}).\nWhat was finished is kept: the same command goes on; if memory ran out, "
            "give it fewer --workers"
        ) from error


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(f"--engine ray needs Ray ({error}); run: pip install 'mmposter[ray]'") from error
    return ray


@contextmanager
def _session(ray: Any, device: str, workers: int | Literal["auto"], threads: int) -> Iterator[None]:
    """Ray for as long as the run takes; one that the caller has started is used and left as it is."""
    mine = not ray.is_initialized()
    if mine:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        address = os.environ.get(ADDRESS)
        if address:
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"there is no Ray cluster at {ADDRESS}={address} ({error}).\nStart one with: ray start --head; or "
                    f"unset {ADDRESS} for a local one"
                ) from error
        else:
            # An actor that asks for more CPUs than there are would wait for ever.
            wanted = automatic_workers(device) if workers == "auto" else workers
            ray.init(address="local", num_cpus=max(cores(), wanted * threads), include_dashboard=False, **quiet)
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # errors are raised; Ray would also print them with its own stack
    try:
        yield
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = before
        logger.setLevel(level)
        if mine:
            ray.shutdown()


def _automatic(ray: Any, device: str, threads: int) -> int:
    there = ray.cluster_resources()
    if device == "cuda":
        return max(1, int(there.get("GPU", 0)))
    return max(1, min(int(there.get("CPU", 1)) // threads, int(there.get("memory", 0)) // WORKER_MEMORY))
