"""Each backbone gets posters as its own library shows them to it: resized by the filter that its records name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torchvision import models
from torchvision.transforms import v2

from fusion import backbone_spec, list_backbones
from mmposter.config import CnnConfig
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.images.picture import Picture

SIZE = (96, 64)
TORCHVISION = [name for name in list_backbones() if name in models.list_models()]


def shown(poster: np.ndarray, backbone: str, **settings: object) -> torch.Tensor:
    """What the backbone gets of a poster."""
    config = CnnConfig(backbone=backbone, init="none", **{"size": SIZE, **settings})
    return TowerInput.of(config, TowerWeights.find(config, offline=True))(Picture(poster))


@pytest.fixture(params=[0, 1, 2])
def poster(request, make_drawn) -> np.ndarray:
    """Drawn, larger than what a network sees; one with a grain, in which a filter shows most."""
    picture = np.asarray(make_drawn(request.param, 200 + request.param, 300))
    grain = np.random.default_rng(request.param).integers(-40, 41, picture.shape) * (request.param == 2)
    return (picture + grain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name, poster):
    """Against the transform that comes with the weights; inception's spec folds its second normalisation in."""
    transform = models.get_model_weights(name).DEFAULT.transforms()
    transform.resize_size = transform.crop_size = list(SIZE)  # the whole, its aspect not kept
    wanted = transform(Image.fromarray(poster))
    if name == "inception_v3":
        mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
        wanted = (wanted * std + mean - 0.5) / 0.5
    assert_like_pillow(shown(poster, name), wanted, backbone_spec(name).std)


def test_torchvisions_records_differ():
    """Else the test above could not fail for a filter that is the same for all."""
    assert {backbone_spec(name).resize for name in TORCHVISION} == {"bicubic", "bilinear"}
    assert backbone_spec("gram_resnet34").resize == backbone_spec("resnet34").resize == "bilinear"
    assert backbone_spec("efficientnet_lite0").resize == backbone_spec("cnn3").resize == "bicubic"


@pytest.mark.parametrize(("model", "resize"), [("test_resnet", "bilinear"), ("test_vit", "bicubic")])
def test_timm(poster, model, resize):
    """Against timm's own transform."""
    timm = pytest.importorskip("timm")
    facts = timm.data.resolve_data_config(pretrained_cfg=timm.models.get_pretrained_cfg(model).to_dict())
    assert facts["interpolation"] == resize
    facts |= {"input_size": (3, 160, 160), "crop_pct": 1.0, "crop_mode": "squash"}  # whole, its aspect not kept
    wanted = timm.data.create_transform(**facts)(Image.fromarray(poster))
    assert_like_pillow(shown(poster, f"timm/{model}", size=(160, 160)), wanted, facts["std"])


@pytest.mark.parametrize(("resample", "resize"), [(0, "nearest"), (2, "bilinear"), (3, "bicubic")])
def test_hugging_face(tmp_path, poster, resample, resize):
    """Against transformers' own processor, from a folder as `save_pretrained` leaves it."""
    folder = write_model(tmp_path, resample=resample)
    assert json.loads((folder / "preprocessor_config.json").read_text())["resample"] == resample
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    wanted = processor(torch.from_numpy(poster.copy()).permute(2, 0, 1), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(shown(poster, f"hf/{folder}"), wanted, atol=1e-5, rtol=0)
    assert TowerWeights.find(CnnConfig(backbone=f"hf/{folder}", init="none"), offline=True).filter == resize


@pytest.mark.parametrize("resample", [1, 4, 5, None, "bilinear", [2]])
def test_a_filter_that_torch_does_not_have_is_bicubic(tmp_path, resample):
    folder = write_model(tmp_path)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "resample": resample}))
    assert TowerWeights.find(CnnConfig(backbone=f"hf/{folder}", init="none"), offline=True).filter == "bicubic"


@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "nearest"])
def test_the_filter_can_be_set(make_drawn, resize):
    poster = np.asarray(make_drawn(1, 200, 300))
    found = shown(poster, "pixels", resize=resize)
    mode = v2.InterpolationMode("nearest-exact" if resize == "nearest" else resize)
    wanted = v2.functional.resize(torch.from_numpy(poster.copy()).permute(2, 0, 1), list(SIZE), mode)
    torch.testing.assert_close(found * 255, wanted.float(), atol=1e-3, rtol=0)


def write_model(folder: Path, resample: int = 2) -> Path:
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=64, patch_size=32
    )
    transformers.ViTModel(config).save_pretrained(folder)
    size, mean, std = {"height": SIZE[0], "width": SIZE[1]}, [0.1, 0.2, 0.3], [0.25, 0.5, 0.75]
    processor = transformers.ViTImageProcessor(size=size, image_mean=mean, image_std=std, resample=resample)
    processor.save_pretrained(folder)
    return folder


def assert_like_pillow(found: torch.Tensor, wanted: torch.Tensor, std: tuple[float, ...]) -> None:
    """The same but for a step of 255 in a few values: Pillow's scheme is torch's, its weights have a few bits more."""
    assert found.shape == wanted.shape
    steps = ((found - wanted).abs() * torch.tensor(std)[:, None, None] * 255).round()
    assert steps.max() <= 1
    assert (steps > 0).float().mean() < 0.02
    assert ((found - wanted).abs() - steps / 255 / torch.tensor(std)[:, None, None]).abs().max() < 1e-4
    assert (found - wanted).abs().mean() < 1e-3


def test_another_filter_is_told_apart(poster):
    """Else the comparisons above could not fail."""
    wanted = shown(poster, "resnet18")
    assert_like_pillow(wanted, wanted, backbone_spec("resnet18").std)
    for other in ("bicubic", "nearest"):
        with pytest.raises(AssertionError):
            assert_like_pillow(shown(poster, "resnet18", resize=other), wanted, backbone_spec("resnet18").std)
