"""Weights whose bits flipped on the disk are refused; those without a checksum, of earlier versions, are read."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmposter.errors import UserError
from mmposter.files.tensors import load_tensors, save_tensors, tensor_metadata

TENSORS = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3, dtype=torch.float16)}


def _flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "best.safetensors"
    save_tensors(path, {**TENSORS, "turned": TENSORS["weight"].T}, {"note": 'says "crc32":"11111111"'})
    found = load_tensors(path)
    assert tensor_metadata(path)["note"] == 'says "crc32":"11111111"'
    assert found.keys() == {"weight", "bias", "turned"}
    for name, value in {**TENSORS, "turned": TENSORS["weight"].T}.items():
        torch.testing.assert_close(found[name], value)
    # Any other program reads it, too.
    torch.testing.assert_close(load_file(path)["weight"], TENSORS["weight"])


@pytest.mark.parametrize("place", [-1, -20, -50])
def test_a_flipped_bit_is_seen(tmp_path, place):
    path = tmp_path / "best.safetensors"
    save_tensors(path, TENSORS)
    _flip(path, place)
    with pytest.raises(UserError, match=r"best\.safetensors is damaged: .*checksum"):
        load_tensors(path)


def test_a_file_without_a_checksum_is_read(tmp_path):
    path = tmp_path / "best.safetensors"
    save_file(TENSORS, path)
    torch.testing.assert_close(load_tensors(path)["weight"], TENSORS["weight"])


def test_a_file_without_tensors(tmp_path):
    path = tmp_path / "empty.safetensors"
    save_tensors(path, {})
    assert load_tensors(path) == {}


def test_equal_tensors_make_equal_files(tmp_path):
    for name in ("a", "b"):
        save_tensors(tmp_path / name, TENSORS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
