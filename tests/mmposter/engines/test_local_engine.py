"""The engine of this process, and how many workers a run gets."""

from __future__ import annotations

import os

import pytest

from mmposter.engines import automatic_workers, cores, machine, run
from mmposter.errors import UserError


@pytest.fixture
def no_processes(monkeypatch):
    from mmposter.engines import processes

    monkeypatch.setattr(processes, "run_processes", lambda *a, **k: pytest.fail("processes were started"))


def test_results_come_in_order_and_one_part_is_read_ahead(tasks):
    task = tasks.Echo()
    assert [part for part, _ in run(task, range(4))] == [0, 1, 2, 3]
    expected = ["start", "load 0", "load 1", "compute 0", "load 2", "compute 1", "load 3", "compute 2", "compute 3"]
    assert task.log == [*expected, "stop"]


def test_parts_are_taken_only_as_far_as_they_are_read(tasks):
    """So that memory does not grow with the number of parts."""
    taken = []
    results = run(tasks.Echo(), (taken.append(part) or part for part in range(1000)))
    for done in range(1, 6):
        next(results)
        assert len(taken) <= done + 1
    results.close()
    assert len(taken) <= 6


def test_what_was_begun_is_ended_whatever_happens(tasks):
    task = tasks.Echo()
    with pytest.raises(KeyboardInterrupt):
        list(run(task, [1, "interrupt", 2]))
    assert task.log[-1] == "stop"
    task = tasks.Echo()
    results = run(task, [1, 2])
    next(results)
    results.close()
    assert task.log[-1] == "stop"


def test_no_parts(tasks):
    assert list(run(tasks.Echo(), [], workers=3)) == []


@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize("workers", [1, 3, "auto"])
def test_a_single_part_stays_in_this_process(tasks, workers):
    assert list(run(tasks.Echo(), ["only"], workers=workers)) == [("only", os.getpid())]


@pytest.mark.parametrize(("parts", "workers"), [(1, None), (3, None), (4, 2), (5, 2), (9, 3)])
def test_automatic_workers_have_two_parts_each(tasks, monkeypatch, parts, workers):
    from mmposter.engines import choice, processes

    started = []
    monkeypatch.setattr(choice, "automatic_workers", lambda device: 3)
    monkeypatch.setattr(choice, "cores", lambda: 6)
    monkeypatch.setattr(processes, "run_processes", lambda task, parts, **how: started.append(how) or list(parts))
    results = list(run(tasks.Echo(), range(parts), workers="auto"))
    assert len(results) == parts
    assert started == ([] if workers is None else [{"workers": workers, "threads": 6 // workers}])


def test_options_that_make_no_sense(tasks):
    with pytest.raises(UserError, match="--engine takes local or ray; got 'spark'"):
        run(tasks.Echo(), [1], engine="spark")
    with pytest.raises(UserError, match="--workers must be auto or 1 or more; got 0"):
        run(tasks.Echo(), [1], workers=0)
    with pytest.raises(UserError, match="--threads must be 1 or more; got 0"):
        run(tasks.Echo(), [1], threads=0)


def test_ray_that_is_not_installed(tasks, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'mmposter\[ray\]'"):
        list(run(tasks.Echo(), [1], engine="ray"))


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine of eight cores and 64 GB, with a container's limits where a test writes them."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    sizes = {"SC_PHYS_PAGES": 16 * 2**20, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", lambda name: sizes[name])
    return tmp_path


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        (None, None, (8, 8)),
        ("max 100000", "max", (8, 8)),
        ("300000 100000", None, (3, 3)),
        ("50000 100000", None, (1, 1)),
        (None, str(5 * 2**30), (8, 2)),
        (None, str(2**30), (8, 1)),
    ],
)
def test_one_worker_a_core_as_far_as_memory_goes(host, cpu, memory, expected):
    for name, text in (("cpu.max", cpu), ("memory.max", memory)):
        if text is not None:
            (host / name).write_text(text + "\n")
    assert (cores(), automatic_workers("cpu")) == expected


def test_one_worker_a_gpu(host, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert automatic_workers("cuda") == 3
    assert automatic_workers("mps") == 1
