"""The size that a file of ours was made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmposter.ablation.grid import build_plan
from mmposter.config import CnnConfig, load_config
from mmposter.errors import UserError
from mmposter.features.settled import settle
from mmposter.features.tower import TowerWeights

SIZE = (64, 48)


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    """A tower file that says its size."""
    path = tmp_path / "tower.safetensors"
    TowerWeights("mobilenet_v3_small", None, size=SIZE).save(path)
    return path


def config(init: str | Path, *overrides: str, branches: str = "cnn"):  # type: ignore[no-untyped-def]
    return load_config(overrides=["cnn.backbone=mobilenet_v3_small", f"cnn.init={init}", *overrides], branches=branches)


def test_a_file_that_says_its_size_is_used_at_it(tower: Path) -> None:
    assert settle(config(tower)).cnn.size == SIZE
    assert settle(settle(config(tower))).cnn.size == SIZE


def test_a_size_that_is_asked_for_stays(tower: Path) -> None:
    assert settle(config(tower, "cnn.size=[96,64]")).cnn.size == (96, 64)


def test_other_weights_say_no_size(tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    TowerWeights("mobilenet_v3_small", None).save(plain)
    for init in ("none", "imagenet", plain):
        assert settle(config(init)).cnn.size is None


def test_without_an_image_network_no_file_is_asked(tower: Path) -> None:
    assert settle(config(tower, branches="yolo")).cnn.size is None


def test_the_size_survives_another_file(tower: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    weights = TowerWeights("mobilenet_v3_small", tower)
    weights.save_state(half, weights.build().half().state_dict(), "half")
    assert settle(config(half)).cnn.size == SIZE


def test_every_cell_of_an_ablation_is_settled(tower: Path) -> None:
    plan = build_plan(config(tower, branches="cnn,style"), grid="subsets").settled(settle)
    sizes = {cell.branches: cell.config.cnn.size for cell in plan.cells}
    assert plan.base.cnn.size == SIZE
    assert set(sizes.values()) == {SIZE}


def test_the_network_is_looked_for_when_all_is_settled():
    with pytest.raises(UserError, match=r"cnn\.init=auto must be settled"):
        TowerWeights.find(CnnConfig())
    assert settle(load_config(branches="cnn")).cnn.init in ("posters", "imagenet")
