"""The examples of docs/extending.md run as they stand, and do what the page says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fusion.base
import fusion.losses
from fusion.backbones import catalogue, list_backbones
from mmposter import load_config, prepare
from mmposter.branches import forget, register
from mmposter.data import Dataset, sources
from mmposter.features.extractors import build_extractors
from mmposter.features.sizes import Sizes
from mmposter.images.picture import decode_picture
from mmposter.runs.building import build_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, Any]]:
    """What the page's blocks leave behind; their entries in the registries are taken out again."""
    with pytest.MonkeyPatch.context() as patch:
        for registry in (fusion.base._BRANCHES, fusion.losses._LOSSES, catalogue._BACKBONES):
            patch.setattr(registry, "_entries", dict(registry._entries))
        blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
        assert len(blocks) == 9
        found: dict[str, Any] = {"__name__": "extending"}
        exec(compile("\n".join(blocks), str(PAGE), "exec"), found)
        yield found
        sources.FORMATS.remove("jsonl")


def test_the_palette_is_the_mean_colour_of_each_third(names: dict[str, Any]) -> None:
    poster = np.zeros((9, 4, 3), np.uint8)
    poster[3:6, :, 1] = 255
    poster[6:, :2, 2] = 255
    (record,) = names["PaletteExtractor"]()([poster])
    np.testing.assert_allclose(record["colours"], [[0, 0, 0], [0, 1, 0], [0, 0, 0.5]])


def test_the_branch_learns_in_a_step_and_can_be_masked(names: dict[str, Any]) -> None:
    assert names["after"] < names["before"]
    assert all(parameter.grad is not None for parameter in names["model"].parameters())
    dark, light = names["model"](names["inputs"])[:2]
    assert not torch.allclose(dark, light)
    assert torch.equal(names["masked"], names["masked"][:1].expand(4, 2))


def test_the_declaration_makes_it_a_branch_of_the_application(names: dict[str, Any]) -> None:
    register(names["BRANCH"])
    try:
        config = load_config(None, ["palette.dim=5"], branches="palette")
        model = build_model(config, Sizes(), num_genres=2)
        extractors = build_extractors(config, offline=True)
        assert model(names["inputs"]).shape == (4, 2)
        assert model.fusion.branch("palette").output_dim == 5
        assert extractors["palette"].feature.name == "palette"
    finally:
        forget("palette")


def test_the_loss_is_built_by_its_name_from_the_labels(names: dict[str, Any]) -> None:
    # Each genre has two of the four posters: a weight of 2 (1 - 1/2).
    weighted = names["weighted"]
    torch.testing.assert_close(weighted.weights, torch.tensor([1.0, 1.0]))
    assert weighted.power == 2.0
    assert fusion.loss_options("rare")["power"].annotation is float


def test_the_backbone_is_built_by_its_name_and_both_image_branches_look_through_it(names, make_drawn) -> None:
    assert "two_blocks" in list_backbones()
    assert names["features"].shape == (2, 16)
    assert names["backbone"].stage_channels == {"block1": 8, "block2": 16}
    config = load_config(None, ["cnn.backbone=two_blocks", "cnn.init=none"])
    built = build_extractors(config, ["cnn", "style"], offline=True)
    for extractor in (built["cnn"].feature, built["style"].feature):
        extractor.start()
    item = built["cnn"].feature.preparation(decode_picture(make_drawn()))
    assert item.shape == (3, 96, 64)
    (record,) = built["cnn"].feature([item])
    assert record["pooled"].shape == (1, 16)
    (record,) = built["style"].feature([item])
    assert record["mean"].shape == (1, 16)


def test_the_source_feeds_prepare(names, tmp_path, poster_files) -> None:
    films = [
        {"file": str(path.relative_to(tmp_path)), "genres": ["Horror"] if index % 2 else ["Comedy", "Romance"]}
        for index, path in enumerate(poster_files(6))
    ]
    lines = [*map(json.dumps, [*films, {"file": "nowhere.png", "genres": ["Horror"]}]), "{broken"]
    (tmp_path / "films.jsonl").write_text("\n".join(lines), encoding="utf-8")
    report = prepare(tmp_path / "films.jsonl", tmp_path / "data", quiet=True)  # it is recognised
    assert report.kept == 6
    assert sum(report.dropped.values()) == 2
    genres = Dataset.load(tmp_path / "data").table["genres"]
    assert sorted(map(tuple, genres)) == [("Comedy", "Romance")] * 3 + [("Horror",)] * 3
    assert "line 8 cannot be read" in (tmp_path / "data" / "dropped.csv").read_text(encoding="utf-8")


def test_the_detector_finds_the_bright_place(names: dict[str, Any]) -> None:
    poster = np.zeros((100, 50, 3), np.uint8)
    poster[20:40, 5:15] = 255
    found, nothing = names["BrightSpotDetector"]()([poster, np.zeros_like(poster)])
    np.testing.assert_allclose(found.boxes, [[0.1, 0.2, 0.3, 0.4]])
    assert found.scores.tolist() == [1.0]
    assert len(nothing) == 0
    with pytest.raises(ValueError, match="limit must lie in 1-255; got 0"):
        names["BrightSpotDetector"](limit=0)


def test_the_callback_stops_where_it_is_good_enough(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    callback = names["GoodEnough"](0.4)
    callback.on_start(Path("run"), load_config())
    assert [callback.on_epoch_end({"val_map": value}) for value in (0.3, 0.4)] == [False, True]
    callback.on_end(SimpleNamespace(history=[{}, {}]))
    assert capsys.readouterr().out == "2 epochs, the best was 0.400\n"
