"""A task that other processes can import, and no model: what the engines themselves do can be seen on it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SOURCE = '''
import os
import signal
import time
from pathlib import Path

from mmposter.engines import Task, finished
from mmposter.errors import UserError


class OddError(Exception):
    """Cannot be made again from what pickle keeps of it."""

    def __init__(self, first, second):
        super().__init__(first)


class Echo(Task):
    """Gives back each part with the process that had it; some parts make it do something else."""

    device = "cpu"

    def __init__(self, folder=None, pause=0.0):
        self.folder, self.pause = folder, pause
        self.log = []

    def start(self, threads):
        self.threads = threads
        self.log.append("start")

    def stop(self):
        self.log.append("stop")

    def load(self, part):
        self.log.append(f"load {part}")
        return part

    def compute(self, part):
        self.log.append(f"compute {part}")
        if self.folder is not None:
            (Path(self.folder) / str(os.getpid())).touch()
        time.sleep(self.pause)
        if part == "user":
            raise UserError("mend this")
        if part == "interrupt":
            raise KeyboardInterrupt
        if part == "value":
            raise ValueError("no good")
        if part == "odd":
            raise OddError("one", "two")
        if part == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if part == "abort":
            os.abort()
        if part == "exit":
            os._exit(3)
        if part == "environment":
            return finished((self.threads, os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES")))
        return finished((part, os.getpid()))
'''


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The module above, importable here and in every process that is started from here."""
    folder = tmp_path / "importable"
    folder.mkdir()
    (folder / "mmposter_echo_task.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    module = importlib.import_module("mmposter_echo_task")
    yield module
    import sys

    del sys.modules["mmposter_echo_task"]
