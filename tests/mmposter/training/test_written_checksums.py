"""Every file of weights that a training writes carries a checksum."""

from __future__ import annotations

import pytest

from mmposter.errors import UserError
from mmposter.files.tensors import load_tensors, tensor_metadata
from mmposter.training.train import train


def test_training_writes_checksums(world, tmp_path):
    train(world.config("train.epochs=1"), world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    for name in ("best", "last", "tower"):
        path = tmp_path / "run" / f"{name}.safetensors"
        assert len(tensor_metadata(path)["crc32"]) == 8
        data = bytearray(path.read_bytes())
        data[-5] ^= 0x40
        path.write_bytes(data)
        with pytest.raises(UserError, match="checksum"):
            load_tensors(path)
