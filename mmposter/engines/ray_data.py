"""Ray Data: the same task on a cluster, or on a local Ray that ends with the run.

Parts go out as Ray tasks, a few parts a call, and results come back in the order of the parts. Ray itself computes a
call again whose process or node has died, anywhere in the cluster, and uses nodes that join later. (A pool of actors
would not do: one whose node died, and for which no other has room, is being restarted for ever, and so are its calls.)
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import socket
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from mmposter.engines.libraries import limit_threads, prepare_libraries
from mmposter.engines.machine import WORKER_MEMORY, automatic_workers, cores
from mmposter.engines.processes import portable
from mmposter.engines.task import Loading, Part, Result, Task, flow
from mmposter.errors import UserError
from mmposter.progress import warn

ADDRESS = "RAY_ADDRESS"
TRIES = 4
"""How often a call is begun, at most: what crashes on the same part each time must end."""

_INHERITED = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "YOLO_OFFLINE", "MMPOSTER_WEIGHTS")
_KEPT = "What was finished is kept: the same command goes on"
_HEAD_LOST_S = 45.0  # a head that does not answer for a minute makes Ray end our process, without a word to a user
_CALL = 8  # parts that a worker gets at once, so that it can read ahead; fewer where that would leave workers idle


def run_ray(
    task: Task[Part, Loading, Result],
    parts: Iterable[Part],
    *,
    workers: int | Literal["auto"],
    threads: int | None,
) -> Generator[Result]:
    """Run a task in Ray tasks: on the cluster that ``RAY_ADDRESS`` names, else on a local one made for this run.

    All parts are held in Ray's object store at once; results are not. With `workers` ``auto`` as many calls run as the
    cluster has room for at any moment.

    Raises:
        UserError: if Ray is not installed, its cluster is not there or was lost, or workers died again and again on the
            same parts.
    """
    ray = _import_ray()
    items = list(parts)
    if not items:
        return
    each = threads or 1
    with _session(ray, task.device, workers, each):
        room = _room(ray, task.device, each)
        size = max(1, min(_CALL, len(items) // (4 * (room if workers == "auto" else workers))))
        starts = range(0, len(items), size)
        rows = [{"call": n, "parts": pickle.dumps(items[start : start + size])} for n, start in enumerate(starts)]
        payload = pickle.dumps(task)
        work = _Work(
            hashlib.sha256(payload).digest(),
            ray.put(payload),
            _tries(ray),
            each,
            os.getcwd(),
            {name: os.environ[name] for name in _INHERITED if name in os.environ},
            task.device == "cuda",
        )
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _compute,
            fn_kwargs={"work": work},
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=None if workers == "auto" else min(workers, len(rows))),
            num_cpus=each,
            **(_gpu() if task.device == "cuda" else _memory(ray) if workers == "auto" else {}),
        )
        yield from _unpack(ray, results)


@dataclass(frozen=True)
class _Work:
    """What every call needs besides its parts."""

    digest: bytes  # of the task
    payload: Any  # a reference to the pickled task
    tries: Any  # a handle of the actor that counts
    threads: int
    folder: str
    environment: dict[str, str]
    gpu: bool


class _Tries:
    """An actor that counts how often each call was begun.

    Ray Data repeats what was lost without end, and has no option for fewer that stays in newer versions.
    """

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, call: int) -> int:
        self._begun[call] += 1
        return self._begun[call]


def _tries(ray: Any) -> Any:
    """The counter, beside the driver, so that it lives as long as that."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(_Tries).options(num_cpus=0, scheduling_strategy=here).remote()


# --- the worker's side ---


@dataclass(frozen=True)
class _Started:
    """The task that this process has loaded: Ray gives it one call after the other."""

    digest: bytes
    gpu: str | None  # that it computes on
    task: Task[Any, Any, Any]


_started: list[_Started] = []  # at most one


def _compute(table: Any, work: _Work) -> Iterator[Any]:
    """Rows of a call: a fault of the task is a result, so that the driver can raise it as it was."""
    import pyarrow as pa

    for message in _results(work, table["call"].to_pylist()[0], table["parts"].to_pylist()[0]):
        yield pa.table({"result": pa.array([pickle.dumps(message)], pa.binary())})


def _results(work: _Work, call: int, parts: bytes) -> Iterator[tuple[str, Any]]:
    import ray

    gpu = os.environ.get("CUDA_VISIBLE_DEVICES") if work.gpu else None
    if _started and _started[0].gpu != gpu:
        os._exit(0)  # CUDA looks once which GPU is ours; Ray gives the call to another process
    try:
        begun = ray.get(work.tries.begin.remote(call))
        if begun > TRIES:
            raise UserError(died(f"{TRIES} times on the same parts"))
        if begun > 1:
            yield "again", None
        task = _start(work, gpu)
        try:
            yield from (("result", result) for result in flow(task, pickle.loads(parts)))
        finally:
            task.stop()
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        yield "error", portable(error)


def _start(work: _Work, gpu: str | None) -> Task[Any, Any, Any]:
    if _started and _started[0].digest == work.digest:
        _started[0].task.start(work.threads)
        return _started[0].task
    _started.clear()
    if os.path.isdir(work.folder):  # relative paths mean what they mean to the driver
        os.chdir(work.folder)
    os.environ.update(work.environment)
    prepare_libraries()
    limit_threads(work.threads)
    import ray

    task: Task[Any, Any, Any] = pickle.loads(ray.get(work.payload))
    task.start(work.threads)
    _started.append(_Started(work.digest, gpu, task))
    return task


# --- the driver's side ---


def no_cluster(address: str, error: Exception) -> str:
    """Why there is no Ray at an address; that it asked for a token is in the cause of what Ray raises."""
    if "AuthenticationError" in str(error.__cause__):
        return (
            f"the Ray cluster at {ADDRESS}={address} asks for its token.\nCopy ~/.ray/auth_token of its head to here, "
            "and set RAY_AUTH_MODE=token"
        )
    return (
        f"there is no Ray cluster at {ADDRESS}={address} ({error}).\nStart one with: ray start --head; or unset "
        f"{ADDRESS} for a local one"
    )


def died(what: str) -> str:
    """What is said of a job that ends because of its workers."""
    return f"a Ray worker died ({what}).\n{_KEPT}; if memory ran out, give it fewer --workers"


def _unpack(ray: Any, results: Any) -> Iterator[Any]:
    try:
        for row in results.iter_rows():
            kind, value = pickle.loads(row["result"])
            if kind == "error":
                raise value
            if kind == "again":
                warn("a Ray worker or a node was lost; its parts were computed again")
                continue
            yield value
    except ray.exceptions.RayError as error:
        raise UserError(died(f"{type(error).__name__}: {str(error).splitlines()[0]}")) from error


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
    over = threading.Event()
    if mine:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        address = os.environ.get(ADDRESS)
        if address:
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(no_cluster(address, error)) from error
            _tell_waiting(ray, device, threads)
            head = ray.get_runtime_context().gcs_address
            threading.Thread(target=_watch_head, args=(head, over), name="head", daemon=True).start()
        else:
            # Workers that ask for more CPUs than there are would wait for ever.
            wanted = automatic_workers(device) if workers == "auto" else workers
            ray.init(address="local", num_cpus=max(cores(), wanted * threads), include_dashboard=False, **quiet)
        # Ray prints the deaths of nodes on standard output, which holds our results, and has no option against it.
        with suppress(AttributeError):
            ray._private.worker._worker_logs_enabled = False
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # errors are raised; Ray would also print them with its own stack
    try:
        yield
    finally:
        over.set()
        context.enable_progress_bars, context.execution_options.preserve_order = before
        logger.setLevel(level)
        if mine:
            ray.shutdown()


def _watch_head(address: str, over: threading.Event) -> None:
    """End the process, with a message, when the head is gone: no thread of ours gets out of Ray then."""
    host, _, port = address.rpartition(":")
    answered = time.monotonic()
    while not over.wait(5.0):
        try:
            socket.create_connection((host.strip("[]"), int(port)), 5.0).close()
            answered = time.monotonic()
        except OSError:
            if time.monotonic() - answered > _HEAD_LOST_S:
                warn(f"error: the head of the Ray cluster, {address}, does not answer any more.\n{_KEPT}")
                os._exit(2)


def _nodes(ray: Any) -> list[dict[str, float]]:
    """What each living node has, of ``CPU``, ``GPU``, ``memory`` (bytes) and the like."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(ray: Any, device: str, threads: int) -> int:
    """Workers that the cluster can hold now."""
    nodes = _nodes(ray)
    if device == "cuda":
        return max(1, sum(int(node.get("GPU", 0)) for node in nodes))
    by_node = (min(node.get("CPU", 0) // threads, node.get("memory", 0) // WORKER_MEMORY) for node in nodes)
    return max(1, int(sum(by_node)))


def _tell_waiting(ray: Any, device: str, threads: int) -> None:
    """Say so where no node has room for a worker: Ray waits for ever, as a node may still come."""
    kind, needed = ("GPU", 1) if device == "cuda" else ("CPU", threads)
    largest = max((node.get(kind, 0) for node in _nodes(ray)), default=0)
    free = ray.available_resources().get(kind, 0)
    if largest < needed:
        wanted = f"{needed} {kind} of a worker (the largest has {largest:g})"
        warn(f"no node of the Ray cluster has the {wanted}: waiting for one")
    elif free < needed:
        warn(f"every {kind} of the Ray cluster is in use (see: ray status): waiting for one")


def _gpu() -> dict[str, Any]:
    return {"num_gpus": 1, "max_calls": 0}  # Ray's default would end a process, with its models, after each call


def _memory(ray: Any) -> dict[str, Any]:
    """What a call asks for, so that no node gets more workers than its memory holds; some node must have it."""
    return {"memory": min(WORKER_MEMORY, max(int(node.get("memory", WORKER_MEMORY)) for node in _nodes(ray)))}
