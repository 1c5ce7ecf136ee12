"""One writer an output: the second is told who the first is, and a killed one blocks nobody."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmposter.errors import UserError
from mmposter.outputs import LOCK, claim, claim_file, kinds, lock, one_writer

HOLD = """
import sys, time
from pathlib import Path
from mmposter.outputs import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(output: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(output)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("name", ["folder", "genres.csv"])
def test_the_second_is_refused_and_a_killed_first_is_forgotten(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    output = tmp_path / name
    process = hold(output)
    try:
        with (
            pytest.raises(UserError, match=rf"process {process.pid} on .*, since 20.*: -c .*{name}"),
            one_writer(output),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert lock.lock_file(output).exists()  # a killed process removes nothing
    with one_writer(output):
        assert json.loads(lock.lock_file(output).read_text())["pid"] == os.getpid()
    assert not lock.lock_file(output).exists()


def test_an_output_is_the_same_by_all_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    process = hold(tmp_path / "run")
    try:
        monkeypatch.chdir(tmp_path / "run")
        for name in (Path(), tmp_path / "link", Path("../run"), Path("../link/../run")):
            with pytest.raises(UserError, match="is being written"), one_writer(name):
                pass
    finally:
        process.kill()
        process.wait()


def test_one_command_inside_another(tmp_path: Path) -> None:
    """reproduce claims a folder and trains inside it; ablate writes its report into what it claimed."""
    with claim(tmp_path / "out", kinds.ABLATION), claim(tmp_path / "out", kinds.ABLATION, go_on=True):
        with claim(tmp_path / "out" / "run", kinds.RUN), claim_file(tmp_path / "out" / "x.csv"):
            assert (tmp_path / "out" / LOCK).exists()
        assert (tmp_path / "out" / LOCK).exists()
    assert not (tmp_path / "out").exists()  # nothing was written


def test_another_thread_is_another_writer(tmp_path: Path) -> None:
    found: list[BaseException] = []

    def second() -> None:
        try:
            with one_writer(tmp_path):
                pass
        except UserError as error:
            found.append(error)

    with one_writer(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert (tmp_path / LOCK).exists()
    assert "another thread of this process" in str(found[0])


def test_processes_that_are_forked_hold_nothing(tmp_path: Path) -> None:
    """A worker that outlives its killed parent must not keep the parent's lock."""
    ready, go = os.pipe(), os.pipe()
    with one_writer(tmp_path):
        child = os.fork()
        if child == 0:
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        held = lock._held[os.path.realpath(tmp_path / LOCK)]
        os.close(held.descriptor)  # as the kernel does for a killed parent
        assert not lock.is_being_written(tmp_path / LOCK)
        held.descriptor = os.open(os.devnull, os.O_RDONLY)
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    for descriptor in (*ready, *go):
        os.close(descriptor)


def test_a_file_system_without_locks_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", nothing)
    with one_writer(tmp_path):
        pass
    assert "has no locks" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_strangers_lock_writes_nothing_to_the_terminal(tmp_path: Path) -> None:
    import fcntl

    about = {"pid": "\x1b[2J", "host": "h", "since": "s", "command": "\x1b]0;x\x07"}
    (tmp_path / LOCK).write_text(json.dumps(about))
    with (tmp_path / LOCK).open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UserError) as end, one_writer(tmp_path):
            pass
    assert "\x1b" not in str(end.value)
    assert "process ?[2J on h" in str(end.value)


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"), one_writer(tmp_path / "out"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_many_at_once_are_one_at_a_time(tmp_path: Path) -> None:
    """Each adds to a number that only the lock protects; some are refused, none writes beside another."""
    code = """
import sys, time
from pathlib import Path
from mmposter.errors import UserError
from mmposter.outputs import one_writer
folder, done = Path(sys.argv[1]), 0
while done < 30:
    try:
        with one_writer(folder):
            number = int((folder / "number").read_text())
            time.sleep(0.0005)
            (folder / "number").write_text(str(number + 1))
            done += 1
    except UserError:
        time.sleep(0.0005)
"""
    (tmp_path / "number").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "90"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]
