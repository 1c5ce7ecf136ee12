from __future__ import annotations

import json
import os

import pytest

from mmposter.files.atomic import atomic_path, write_json, write_text


def test_the_target_changes_in_one_step_and_nothing_stays_beside_it(tmp_path):
    target = tmp_path / "new" / "file.txt"
    write_text(target, "old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, error):
    target = tmp_path / "file.txt"
    write_text(target, "old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    write_text(target, "old")
    child = os.fork()
    if child == 0:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), 9)
    assert os.waitpid(child, 0)[1] == 9
    assert target.read_text() == "old"


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_json_keeps_letters_and_order(tmp_path):
    value = {"b": "Amélie", "a": [1, None, 0.5]}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "Amélie" in text
    assert list(json.loads(text).items()) == list(value.items())
