"""Several processes: order, limits, and every way in which one of them, or the parent, may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mmposter.engines import machine, processes, run
from mmposter.errors import UserError


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_parts_go_out_evenly_and_results_come_in_order(tasks):
    taken = []
    results = run(tasks.Echo(pause=0.01), (taken.append(n) or n for n in range(40)), workers=2, threads=1)
    first = next(results)
    found = [first, *results]
    assert [part for part, _ in found] == list(range(40))
    workers = {pid for _, pid in found}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert found[0][1] != found[1][1]  # the first worker to come does not take all of a short list
    assert not any(alive(pid) for pid in workers)


@pytest.mark.slow
def test_parts_wait_for_a_slow_reader_of_the_results(tasks):
    taken = []
    results = run(tasks.Echo(), (taken.append(n) or n for n in range(1000)), workers=2, threads=1)
    next(results)
    time.sleep(1.0)
    next(results)
    assert len(taken) <= 2 + processes._WINDOW * 2
    results.close()


@pytest.mark.slow
def test_threads_and_gpus_of_each_worker(tasks, monkeypatch):
    assert [r[:2] for r in run(tasks.Echo(), ["environment"] * 2, workers=2, threads=3)] == [(3, "3")] * 2
    monkeypatch.setattr(tasks.Echo, "device", "cuda")
    for visible, expected in (("", ["0", "1", "0"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b", "GPU-a"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(processes, "gpus", lambda device: 2)
        found = run(tasks.Echo(pause=0.3), ["environment"] * 3, workers=3, threads=1)
        assert [r[2] for r in found] == expected
    assert machine.gpus("cpu") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "kind", "message"),
    [
        ("user", UserError, "^mend this$"),
        ("interrupt", KeyboardInterrupt, None),
        ("value", ValueError, "no good"),
        ("odd", UserError, "a worker failed: OddError: one"),
        ("kill", UserError, r"worker . of 2 was killed, most likely because memory ran out(.|\n)*--workers 1"),
        ("abort", UserError, r"worker . of 2 crashed \(SIGABRT\)(.|\n)*--workers 1"),
        ("exit", UserError, r"worker . of 2 ended with exit code 3(.|\n)*the same command goes on"),
    ],
)
def test_what_ends_a_worker_ends_the_run(tasks, part, kind, message):
    found = []
    results = run(tasks.Echo(), [0, 1, 2, 3, part, 5, 6, 7], workers=2, threads=1)
    with pytest.raises(kind, match=message) as caught:
        found.extend(results)
    assert [n for n, _ in found] == list(range(len(found)))
    assert not any(alive(pid) for _, pid in found)
    if part == "value":
        assert "compute" in caught.value.__notes__[0]  # where in the worker it was raised


RUN = """
import sys
sys.path.insert(0, {folder!r})
import mmposter_echo_task
from mmposter.engines import run
for part, _ in run(mmposter_echo_task.Echo({seen!r}, pause=0.1), iter(int, 1), workers=2, threads=1):
    pass
"""


@pytest.fixture
def endless(tasks, tmp_path):
    """A process that hands out parts for ever, and its two workers."""
    seen = tmp_path / "seen"
    seen.mkdir()
    code = RUN.format(folder=os.path.dirname(tasks.__file__), seen=str(seen))
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: len(list(seen.iterdir())) == 2 or parent.poll() is not None)
    workers = [int(file.name) for file in seen.iterdir()]
    assert all(alive(pid) for pid in workers)
    yield parent, workers
    parent.kill()
    parent.wait()


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed(endless):
    parent, workers = endless
    parent.kill()
    wait_until(lambda: not any(alive(pid) for pid in workers), 10)


@pytest.mark.slow
def test_an_interrupt_from_the_keyboard_ends_all_and_speaks_once(endless):
    parent, workers = endless
    os.killpg(parent.pid, signal.SIGINT)  # a terminal sends it to the workers too
    _, said = parent.communicate(timeout=30)
    assert parent.returncode == -signal.SIGINT
    assert said.count("KeyboardInterrupt") == 1
    wait_until(lambda: not any(alive(pid) for pid in workers), 10)
