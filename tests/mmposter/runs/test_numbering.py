"""Runs that nobody gave a folder."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmposter.outputs import LOCK, one_writer
from mmposter.runs.numbering import run_folder

CONFIG = {"branches": ["cnn"], "regime": "features"}


@pytest.fixture
def usual(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "cnn-0"


def write(folder: Path, *, finished: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    thresholds = [0.5] if finished else None
    (folder / "model.json").write_text(json.dumps({"config": CONFIG, "thresholds": thresholds}))


def new(usual: Path, **how: bool) -> str:
    with run_folder(usual, **how) as folder:
        write(folder, finished=True)
    return folder.name


def test_the_next_number_is_taken_and_said(usual, capsys):
    assert [new(usual) for _ in range(3)] == ["cnn-0", "cnn-0-2", "cnn-0-3"]
    said = capsys.readouterr().err
    assert f"run: {usual}-2, as {usual} is there already" in "".join(said.splitlines())
    assert not list(usual.parent.rglob(LOCK))


def test_a_folder_into_which_nothing_was_written_goes_again(usual):
    with pytest.raises(RuntimeError), run_folder(usual):
        raise RuntimeError
    assert not usual.exists()
    usual.mkdir(parents=True)
    (usual / LOCK).write_text("")  # of a process that was killed
    assert new(usual) == "cnn-0"


def test_a_file_a_link_or_files_of_others_are_passed_over(usual, tmp_path):
    usual.parent.mkdir(parents=True)
    usual.write_text("mine")
    usual.with_name("cnn-0-2").symlink_to(tmp_path)
    usual.with_name("cnn-0-3").mkdir()
    usual.with_name("cnn-0-3").joinpath("notes.txt").write_text("mine")
    assert new(usual) == "cnn-0-4"


def test_two_at_the_same_time_get_two_folders(usual):
    together = threading.Barrier(6)

    def one(_: int) -> str:
        together.wait()
        with run_folder(usual) as folder:
            together.wait()  # nobody has written yet
            write(folder, finished=True)
        return folder.name

    with ThreadPoolExecutor(6) as pool:
        names = sorted(pool.map(one, range(6)))
    assert names == ["cnn-0", *(f"cnn-0-{number}" for number in range(2, 7))]


def test_resume_takes_the_last_that_is_unfinished(usual):
    for name, finished in (("cnn-0", False), ("cnn-0-2", False), ("cnn-0-10", True), ("cnn-01", False), ("b", False)):
        write(usual.with_name(name), finished=finished)
    with run_folder(usual, resume=True) as folder:
        assert folder.name == "cnn-0-2"
    with one_writer(usual.with_name("cnn-0-2")), run_folder(usual, resume=True) as folder:
        assert folder.name == "cnn-0", "the other is being trained"
    for name in ("cnn-0", "cnn-0-2"):
        write(usual.with_name(name), finished=True)
    with run_folder(usual, resume=True) as folder:
        assert folder.name == "cnn-0-10", "all are finished"


def test_resume_without_any_run_begins_one(usual):
    assert new(usual, resume=True) == "cnn-0"


def test_overwrite_is_the_first_whatever_is_there(usual):
    for name in ("cnn-0", "cnn-0-2"):
        write(usual.with_name(name), finished=True)
    assert new(usual, overwrite=True) == "cnn-0"
