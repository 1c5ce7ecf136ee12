"""A disk that takes no more, a path that cannot be: one message with path and reason, whatever library met it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import mmposter.data
from mmposter.cli import main
from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path, write_text
from mmposter.files.disk import disk_error, naming, plain_words
from mmposter.inference.predictions import PredictionFile
from mmposter.inference.task import Prediction

WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "quota",
    errno.EROFS: "read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "not permitted",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.ENAMETOOLONG: "too long",
    errno.EMFILE: "ulimit -n",
    errno.EFBIG: "ulimit -f",
    errno.EIO: "fails",
}


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["mmposter", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("number", WORDS, ids=errno.errorcode.get)
def test_every_command_ends_on_one_message(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/nowhere/data/manifest.parquet")

    monkeypatch.setattr(mmposter.data, "prepare", fails)
    assert run_main(monkeypatch, "prepare", "x.csv", "--format", "csv", "--out", "data") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: /nowhere/data/manifest.parquet cannot be written or read: ")
    assert WORDS[number] in told
    assert "the same command goes on" in told


@pytest.mark.parametrize(
    "error",
    [
        ValueError("shapes differ"),
        OSError("a library's own words"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        FileNotFoundError(errno.ENOENT, "of no path"),
        RuntimeError("the worker failed (os error 104)"),
    ],
)
def test_faults_of_programs_and_networks_are_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(mmposter.data, "prepare", fails)
    monkeypatch.setattr(sys, "argv", ["mmposter", "prepare", "x.csv", "--format", "csv", "--out", "data"])
    with pytest.raises(type(error)):
        main()


def test_a_wrapped_error_is_found() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/x")
    wrapped = RuntimeError("the batch could not be stored")
    wrapped.__cause__ = full
    assert disk_error(wrapped) is full
    assert "/x cannot be written" in str(plain_words(wrapped))


class ForeignError(Exception):
    """As of a library in Rust, such as safetensors."""


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ForeignError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
    ],
)
def test_a_file_on_a_full_disk_is_named_and_the_old_one_stays(tmp_path: Path, raised: Exception) -> None:
    target = tmp_path / "best.safetensors"
    target.write_text("the old one")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise raised

    with pytest.raises(OSError, match=r"best\.safetensors") as end:
        write()
    assert (end.value.errno, end.value.filename) == (errno.ENOSPC, str(target))
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    assert target.read_text() == "the old one"


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as end, atomic_path(tmp_path / "out"):
        (tmp_path / "source").read_text()
    assert end.value.filename == str(tmp_path / "source")


def test_safetensors_reports_the_systems_error_as_is_understood(tmp_path: Path) -> None:
    """The words are the library's; were they to change, a full disk would be a traceback again."""
    import numpy as np
    from safetensors.numpy import save_file

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match="weights") as end, naming(tmp_path / "weights"):
            save_file({"x": np.zeros(1 << 16, np.uint8)}, tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert end.value.errno == errno.EFBIG


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for target, words in (
        (tmp_path / "file" / "x" / "out.json", f"{tmp_path / 'file'} is a file, and a folder is needed there"),
        (Path("/proc/nowhere/out.json"), "none can be made there"),
        (tmp_path / ("n" * 300), "too long"),
        (tmp_path / "folder", "a folder stands where a file is needed"),
    ):
        with pytest.raises(OSError, match=r"\[Errno") as end:
            write_text(target, "x")
        assert words in str(plain_words(end.value))
        assert ".tmp" not in str(plain_words(end.value))


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """For root, a rename would put a file in the place of a device, for everyone on the machine."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is no file"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 250), "x")
    assert [len(path.name) for path in tmp_path.iterdir()] == [250]


def test_predictions_survive_a_disk_that_is_full(tmp_path: Path) -> None:
    path = tmp_path / "genres.csv"
    one, two = (Prediction(name, ["Drama"], {"Drama": 1.0}) for name in "ab")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def two_of_them() -> None:
        with PredictionFile(path) as file:
            file.write(one)
            size = (tmp_path / "genres.csv.partial").stat().st_size + 9
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
            file.write(two)

    try:
        with pytest.raises(OSError, match=r"genres\.csv\.partial") as end:
            two_of_them()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "ulimit -f" in str(plain_words(end.value))
    assert not path.exists()
    with PredictionFile(path) as file:
        assert file.done == {"a"}
        file.write(two)
    assert len(path.read_text().splitlines()) == 3


def test_maps_are_reserved_before_they_are_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gets full under a mapped file would kill the process without a word (SIGBUS)."""
    import numpy as np

    from mmposter.data.row_arrays import RowArrays

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    arrays = RowArrays(tmp_path, "posters", {"pixels": ((4,), np.dtype(np.uint8))}, 3)
    with pytest.raises(OSError, match=r"posters\.pixels\.npy"):
        arrays.fill(lambda rows: {"pixels": np.ones((len(rows), 4))}, 2, title="", quiet=True)
    monkeypatch.undo()
    arrays.fill(lambda rows: {"pixels": np.ones((len(rows), 4))}, 2, title="", quiet=True)
    assert arrays.load("pixels").sum() == 12


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_standard_output_that_takes_nothing() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from mmposter.cli import main; main()", "config"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: standard output")
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
