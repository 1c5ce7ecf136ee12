"""Posters that are no files: nothing blocks, nothing is read without end, and each is named."""

from __future__ import annotations

import os

import pytest

from mmposter.data.inspection import inspect_file
from mmposter.errors import BadImageError
from mmposter.features.parts import StoredPoster
from mmposter.features.work import _decode
from mmposter.images.picture import decode_picture
from mmposter.images.reading import load_image, read_file

_READERS = (read_file, load_image, decode_picture)


@pytest.mark.parametrize("read", _READERS)
def test_a_pipe_nobody_writes_to_is_refused(read, tmp_path):
    pipe = tmp_path / "poster.jpg"
    os.mkfifo(pipe)
    with pytest.raises(BadImageError, match="not a file") as found:
        read(pipe)
    assert found.value.reason == "unreadable"


@pytest.mark.parametrize("read", _READERS)
@pytest.mark.parametrize("kind", ["/dev/zero", "link", "folder"])
def test_devices_and_folders_are_refused(read, kind, tmp_path):
    path = tmp_path / "poster.jpg"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(BadImageError, match="not a file"):
        read("/dev/zero" if kind == "/dev/zero" else path)


def test_prepare_and_extract_name_them(tmp_path):
    path = tmp_path / "poster.jpg"
    path.symlink_to("/dev/zero")
    assert inspect_file(path).reason == "unreadable"
    assert _decode(StoredPoster("a", path, "0" * 64)).reason == "missing"


def test_a_file_larger_than_any_poster_is_not_read(tmp_path):
    path = tmp_path / "poster.jpg"
    with path.open("wb") as file:
        file.truncate(2_000_000_000_000)  # a hole: no disk is needed
    with pytest.raises(BadImageError, match=r"2,000,000\.0 MB; at most 1,000\.0 MB") as found:
        read_file(path)
    assert found.value.reason == "too_large"
    assert inspect_file(path).reason == "too_large"


def test_no_file_stays_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(BadImageError):
            read_file(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
