"""Ctrl-C and SIGTERM end a command in time, whatever it computes; a killed one leaves no process behind."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

BAR_S = 2.0
LOAD_S = 1.0  # for a machine that does other things as well; what is tested would take half a minute

# A computation in C that Python's handlers wait for, for about half a minute.
BUSY = 'hashlib.pbkdf2_hmac("sha256", b"a", b"b", 50_000_000)'
CLI = """
import hashlib, sys, threading, time
import mmposter.data
from mmposter.cli import main

def busy(*_, **__):
    print("ready", flush=True)
    {work}

mmposter.data.prepare = busy
sys.argv = ["mmposter", "prepare", "posters.csv", "--format", "csv", "--out", "data"]
main()
"""
POOL = """
import hashlib, sys, time
sys.path.insert(0, {folder!r})
from mmposter.engines import run
from busy_task import Busy
for _ in run(Busy({folder!r}), iter(int, 1), workers=2, threads=1):
    pass
"""
TASK = """
import os
from pathlib import Path
from mmposter.engines import Task, finished

class Busy(Task):
    device = "cpu"
    def __init__(self, folder):
        self.folder = folder
    def start(self, threads):
        pass
    def stop(self):
        pass
    def load(self, part):
        return part
    def compute(self, part):
        (Path(self.folder) / f"{os.getpid()}.pid").touch()
        sum(range(10**11))  # holds Python's lock all the time: no thread of this process is let run
        return finished(part)
"""
LOADER = """
import time
from torch.utils.data import BatchSampler, Dataset
from mmposter.training.loop import _loader

class Slow(Dataset):
    collate = staticmethod(list)
    def __getitem__(self, number):
        import os
        print(os.getpid(), flush=True)
        time.sleep(60)

for _ in _loader(Slow(), [[0], [1]], 2):
    pass
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """All processes below one."""
    below: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.joinpath("stat").exists():
            try:
                parent = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                below += [int(entry.name), *children(int(entry.name))]
    return below


def gone_after(pids: list[int], seconds: float = 30.0) -> float:
    """Seconds until none of the processes is there."""
    began = time.monotonic()
    while any(alive(pid) for pid in pids) and time.monotonic() - began < seconds:
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def started() -> Iterator[object]:
    """Start Python on some code or arguments; all of it is killed at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, output: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
        # In a shell's background SIGINT is ignored, and what is started there inherits it.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
            )
        finally:
            signal.signal(signal.SIGINT, before)
        processes.append(process)
        return process

    yield start
    for process in processes:
        for pid in (*children(process.pid), process.pid):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "work"),
    [
        (signal.SIGINT, 130, BUSY),
        (signal.SIGTERM, 143, BUSY),
        (signal.SIGINT, 130, f"threading.Thread(target=lambda: {BUSY}).start(); time.sleep(60)"),
    ],
    ids=["ctrl-c in a long computation", "sigterm in a long computation", "ctrl-c while a thread computes"],
)
def test_a_signal_ends_a_command_in_time(started, number: int, code: int, work: str) -> None:  # type: ignore[no-untyped-def]
    process = started("-c", CLI.format(work=work))
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < BAR_S + LOAD_S
    assert process.returncode == code
    assert said.count("stopped. What was finished is kept") == 1
    assert "Traceback" not in said


def test_a_second_press_ends_at_once(started) -> None:  # type: ignore[no-untyped-def]
    from mmposter.cli.stop import GRACE_S

    process = started("-c", CLI.format(work=BUSY))
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - began < GRACE_S
    assert process.returncode == 130


def test_where_ctrl_c_is_ignored_it_stays_ignored(started) -> None:  # type: ignore[no-untyped-def]
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    process = started("-c", code + CLI.format(work="time.sleep(2.5); sys.exit(7)"))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 7


def test_a_command_leaves_the_handlers_of_its_caller() -> None:
    from mmposter.cli.stop import ends_in_time

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    inside = ends_in_time(lambda: signal.getsignal(signal.SIGTERM))()
    assert inside is not before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    assert wakeup == -1


@pytest.fixture
def pool(started, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A process whose two workers compute without ever letting another thread run."""
    (tmp_path / "busy_task.py").write_text(textwrap.dedent(TASK))
    process = started("-c", POOL.format(folder=str(tmp_path)))
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(workers) == 2
    return process, workers


def test_workers_end_with_a_killed_parent_at_once(pool) -> None:  # type: ignore[no-untyped-def]
    process, workers = pool
    below = children(process.pid)
    assert set(workers) <= set(below)
    process.kill()
    assert gone_after(below) < LOAD_S


@pytest.mark.slow
def test_busy_workers_do_not_delay_ctrl_c(pool) -> None:  # type: ignore[no-untyped-def]
    process, workers = pool
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=60)
    assert time.monotonic() - began < BAR_S + LOAD_S
    assert gone_after(workers) < 0.5


@pytest.mark.slow
def test_a_data_loaders_processes_end_with_a_killed_training(started) -> None:  # type: ignore[no-untyped-def]
    process = started("-c", LOADER)
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    assert gone_after(pids) < LOAD_S


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.8, 2.0, 5.0, 9.0, 14.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    "command",
    [
        "predict {posters} --workers 1 --out {out}/p.jsonl",
        "predict {posters} --workers 2 --out {out}/p.jsonl",
        "explain {posters} --out {out}/why",
        "evaluate posters --out {out}/evaluation",
        "train --branches cnn,style --out {out}/run",
        "ablate --branches cnn,style --seeds 2 --jobs 2 --out {out}/ablation",
    ],
)
def test_every_command_ends_in_time_at_any_moment(
    started, poster_files, tmp_path: Path, command: str, number: int, seconds: float
) -> None:  # type: ignore[no-untyped-def]
    posters = poster_files(40)[0].parent
    words = command.format(posters=posters, out=tmp_path).split()
    process = started("-m", "mmposter", *words, "--offline", output=subprocess.DEVNULL)
    time.sleep(seconds)
    if process.poll() is not None:
        pytest.skip("it was quicker than that, or its pretrained files are not here")
    below = children(process.pid)
    began = time.monotonic()
    process.send_signal(number)
    process.wait(60)
    took = time.monotonic() - began
    left = gone_after(below)
    assert took < BAR_S
    assert left < LOAD_S
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]


EARLY = """
import os, runpy, signal, sys

class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name == "mmposter.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
runpy.run_module("mmposter", run_name="__main__")
"""


def test_while_the_program_is_loaded_an_interrupt_ends_it_without_a_traceback():
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_installed_program_starts_where_that_holds():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")

    assert setup["options.entry_points"]["console_scripts"].strip() == "mmposter = mmposter.__main__:main"
