"""`torchrun -m mmposter train`: two processes against one, killed, interrupted, and with a mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmposter.runs.run import WEIGHTS
from mmposter.training import loop
from mmposter.training.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

# 33 posters to learn from in batches of 8, the last one of 9: 4 steps an epoch, and 52 in all.
LONG = ("train.epochs=13", "train.patience=99", "train.batch_size=8", "fusion.branch_dropout=0.3")
SGD = ("train.optimizer=sgd", "train.learning_rate=0.01")
# Adam divides by the size of a gradient, also where that is nothing but rounding: a convolution before a batch norm.
TUNED = ("train.epochs=2", "train.augment=true", "train.precision=fp32", "train.batch_size=8", *SGD)
# The regime, the branches and the overrides of each.
CASES = {
    "bce": ("features", None, LONG),
    "asl": ("features", None, (*LONG, "loss.name=asl", "fusion.head=gated", "train.average=0.9")),
    "ranked_bce": ("features", None, (*LONG, "loss.name=ranked_bce", "fusion.head=concat", "train.clip_norm=0.5")),
    "attention": ("features", None, (*LONG, *SGD, "fusion.head=attention", "ocr.encoding=lines", "train.workers=1")),
    "finetune": ("finetune", "cnn,style,yolo", TUNED),
}
DRIVER = """
import json, sys
from pathlib import Path
from mmposter.config import load_config
from mmposter.data import Dataset
from mmposter.training import loop
from mmposter.training.train import train

data, out, log, resume, pause, cases = json.loads(sys.argv[1])
loop.CHECKPOINT_SECONDS = 0.0
step = loop.Trainer._step

def told(self, *batch):
    import time
    time.sleep(pause)
    with open(log, "a") as file:
        file.write(f"{self.progress.step}\\n")
    return step(self, *batch)

loop.Trainer._step = told
for name, (regime, branches, overrides) in cases.items():
    said = {"regime": regime} | ({} if branches is None else {"branches": branches})
    config = load_config(None, overrides, **said)
    train(config, Dataset.load(data), Path(out) / name, device="cpu", offline=True, quiet=True, resume=resume)
"""


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield make_world(tmp_path_factory.mktemp("world"), patch.setenv, 66)


def _torchrun(*command, **how):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    try:
        return subprocess.Popen(
            [*launcher, *map(str, command)], env=environment, start_new_session=True, text=True, **how
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _driven(world, folder, names, *, resume=False, pause=0.0):
    """Two processes that train these cases under `folder`; each of their steps is a line in `folder`/steps."""
    folder.mkdir(exist_ok=True)
    (folder / "driver.py").write_text(DRIVER)
    cases = {name: (*CASES[name][:2], [*world.overrides, *CASES[name][2]]) for name in names}
    said = json.dumps([str(world.dataset.folder), str(folder), str(folder / "steps"), resume, pause, cases])
    return _torchrun(folder / "driver.py", said)


def _alone(world, folder, name, *, resume=False):
    regime, branches, overrides = CASES[name]
    said = {"regime": regime} | ({} if branches is None else {"branches": branches})
    config = world.config(*overrides, **said)
    train(config, world.dataset, folder / name, device="cpu", offline=True, quiet=True, resume=resume)


def _assert_near(first: Path, second: Path) -> None:
    for name in (WEIGHTS, loop.LAST):
        a, b = load_file(first / name), load_file(second / name)
        assert a.keys() == b.keys()
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


@pytest.fixture(scope="module")
def one(world, tmp_path_factory) -> Path:
    """The trainings of one process."""
    folder = tmp_path_factory.mktemp("one")
    for name in CASES:
        _alone(world, folder, name)
    return folder


@pytest.fixture(scope="module")
def two(world, tmp_path_factory) -> Path:
    """The same of two processes, which are started once for all of them."""
    folder = tmp_path_factory.mktemp("two")
    assert _driven(world, folder, CASES).wait(900) == 0
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_learns(one, two, name):
    _assert_near(one / name, two / name)
    rows = [json.loads((folder / name / loop.METRICS).read_text().splitlines()[-1]) for folder in (one, two)]
    assert rows[0]["step"] == rows[1]["step"]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], abs=1e-5)


def _until(condition, seconds=120.0):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


def _steps(folder: Path) -> int:
    """How many steps both processes have begun."""
    return len((folder / "steps").read_text().splitlines()) // 2 if (folder / "steps").exists() else 0


def test_killed_and_resumed_with_another_number_of_processes(world, one, tmp_path, monkeypatch):
    started = _driven(world, tmp_path, ["ranked_bce"], pause=0.05)
    _until(lambda: _steps(tmp_path) >= 10)
    killed = _processes(tmp_path)
    assert len(killed) == 3
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    started.wait()
    _until(lambda: not any(map(_alive, killed)), 10)
    assert load_file(tmp_path / "ranked_bce" / loop.LAST)
    step, taken = loop.Trainer._step, []

    def stops(self, *batch):
        if self.progress.step == 30:
            raise KeyboardInterrupt
        taken.append(self.progress.step)
        return step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop.Trainer, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            _alone(world, tmp_path, "ranked_bce", resume=True)
    assert 8 <= taken[0] <= 20  # from where two processes were, to where one process is stopped
    assert taken[-1] == 29
    assert _driven(world, tmp_path, ["ranked_bce"], resume=True).wait(300) == 0
    _assert_near(one / "ranked_bce", tmp_path / "ranked_bce")


def _alive(pid: int) -> bool:
    """Whether a process is there, and holds its files."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _processes(folder: Path) -> list[int]:
    """torchrun and what it started: those whose command names something in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _command(world, out, *more):
    overrides = [part for override in world.overrides for part in ("--set", override)]
    return ["-m", "mmposter", "train", world.dataset.folder, "--out", out, "--offline", "--device", "cpu", *overrides]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_launcher_leaves_a_checkpoint_one_message_and_no_process(world, tmp_path, number):
    out = tmp_path / "run"
    with (tmp_path / "said").open("w") as said:
        command = [*_command(world, out), "--set", "train.epochs=500", "--set", "train.patience=500"]
        started = _torchrun(*command, stdout=said, stderr=subprocess.STDOUT)
        _until(lambda: (out / loop.METRICS).exists())
        started.send_signal(number)
        assert started.wait(60) != 0
    _until(lambda: not _processes(tmp_path), 10)
    text = (tmp_path / "said").read_text()
    assert text.count("stopped. What was finished is kept") == 1
    assert load_file(out / loop.LAST)
    assert not (out / ".mmposter.lock").exists()


def test_a_mistake_is_told_once_and_the_processes_end_with_2(world, tmp_path):
    out = tmp_path / "run"
    out.write_text("a file")
    started = _torchrun(*_command(world, out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text, _ = started.communicate(timeout=120)
    assert started.returncode == 1  # that of torchrun, whatever its processes end with
    assert text.count("it must be a folder") == 1
    assert re.findall(r"exitcode *: *(-?\d+)", text)[-1] == "2"  # of what torchrun calls the root cause
