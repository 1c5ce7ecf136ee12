"""timm's models by name, against timm itself; its smallest ones, with random weights."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from fusion import backbone_spec, build_backbone, list_backbones

timm = pytest.importorskip("timm")

SMALL = ("test_resnet", "test_efficientnet", "test_convnext", "test_mambaout", "test_vit", "test_vit3")
FAMILIES = (
    "resnet10t", "resnet50_clip", "convnext_atto", "efficientnet_b0", "mobilenetv4_conv_small", "ghostnet_100",
    "regnetx_002", "densenet121", "inception_v3", "nfnet_l0", "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224", "vit_base_patch16_siglip_224", "eva02_tiny_patch14_224",
    "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_ns_224", "maxvit_rmlp_pico_rw_256", "hiera_tiny_224",
    "levit_128s", "mixer_s32_224", "xcit_nano_12_p16_224", "mobilevit_xxs", "coatnet_nano_rw_224",
    "cait_xxs24_224", "poolformer_s12", "tiny_vit_5m_224", "pvt_v2_b0", "fastvit_t8", "repvit_m0_9",
    "davit_tiny", "mvitv2_tiny", "sequencer2d_s", "mambaout_femto", "efficientvit_b0", "pit_ti_224",
    "volo_d1_224", "beit_base_patch16_224", "vgg11",
)  # fmt: skip


def rough(model: nn.Module) -> nn.Module:
    """Every weight a little off, statistics of a random batch, in evaluation mode.

    Fresh norms and zeros would hide what is left out, and the signal of a fresh network dies on its way.
    """
    generator = torch.Generator().manual_seed(1)
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    model.eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.04 * (torch.rand(value.shape, generator=generator) - 0.5))
        for norm in norms:
            norm.train().momentum = 1.0
        if norms:
            model(torch.randn(4, *model.pretrained_cfg["input_size"], generator=generator))
    return model.eval()


def before_classifier(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model.forward_head(model.forward_features(images), pre_logits=True)


def assert_same_features(name: str, model: nn.Module, size: tuple[int, int] | None = None) -> None:
    backbone = build_backbone(f"timm/{name}", model.state_dict(), size=size).eval()
    images = torch.randn(2, 3, *backbone.input_size)
    with torch.no_grad():
        wanted = before_classifier(model, images)
        scale = wanted.abs().max()
        torch.testing.assert_close(backbone(images) / scale, wanted / scale, atol=1e-5, rtol=1e-5)
        assert (wanted[0] - wanted[1]).abs().max() > 1e-3 * scale  # it does look at the image
        for stage in backbone.stage_names:
            part = backbone.forward_stages(images, stop=stage)
            assert part.shape[1] == backbone.stage_channels[stage]
            whole = backbone.forward_stages(part, start=stage).mean(dim=(2, 3))
            torch.testing.assert_close(whole / scale, wanted / scale, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_features_are_what_timms_classifier_reads(name):
    torch.manual_seed(0)
    assert_same_features(name, rough(timm.create_model(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_features_of_many_families(name):
    torch.manual_seed(0)
    assert_same_features(name, rough(timm.create_model(name)))


@pytest.mark.parametrize(
    ("name", "stages", "places"),
    [
        ("test_resnet", ["map"], "map"),
        ("test_efficientnet", ["map"], "map"),
        ("test_convnext", ["map", "pooled"], "map"),  # a norm behind the average
        ("test_mambaout", ["map", "pooled"], "map"),  # channels last, an MLP behind the average
        ("test_vit", ["tokens", "pooled"], "tokens"),
    ],
)
def test_stages(name, stages, places):
    backbone = build_backbone(f"timm/{name}")
    assert backbone.stage_names == stages
    assert backbone.map_stage == places
    assert backbone.input_size == (160, 160) == backbone_spec(f"timm/{name}").input_size


def test_all_tokens_are_there_and_a_map_has_its_channels_first():
    model = rough(timm.create_model("test_vit"))
    backbone = build_backbone("timm/test_vit", model.state_dict()).eval()
    images = torch.randn(1, 3, 160, 160)
    tokens = backbone.forward_stages(images, stop="tokens")
    assert tokens.shape == (1, 64, 1 + 10 * 10, 1)  # the class token, and patches of 16 x 16
    assert torch.equal(tokens[0, :, :, 0].T, model.forward_features(images)[0])
    model = rough(timm.create_model("test_mambaout"))
    backbone = build_backbone("timm/test_mambaout", model.state_dict(), size=(96, 64)).eval()
    images = torch.randn(1, 3, 96, 64)
    last = backbone.forward_stages(images, stop="map")
    assert last.shape[2:] == (3, 2)
    assert torch.equal(last.permute(0, 2, 3, 1), model.forward_features(images))


@pytest.mark.parametrize("options", [{"num_classes": 7}, {"num_classes": 0}, {}])
def test_weights_load_whatever_classifier_they_come_with(options):
    torch.manual_seed(0)
    model = rough(timm.create_model("test_vit", **options))
    assert_same_features("test_vit", model)


def test_position_embeddings_follow_the_size():
    model = rough(timm.create_model("test_vit", dynamic_img_size=True))
    assert_same_features("test_vit", model, size=(96, 64))
    assert build_backbone("timm/test_vit", size=(96, 64)).input_size == (96, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "maxvit_rmlp_pico_rw_256", "eva02_tiny_patch14_224"])
def test_windows_and_rotary_embeddings_follow_the_size(name):
    native = timm.create_model(name)
    backbone = build_backbone(f"timm/{name}", native.state_dict(), size=(128, 96)).eval()
    with torch.no_grad():
        assert torch.isfinite(backbone(torch.randn(1, 3, 128, 96))).all()
    again = build_backbone(f"timm/{name}", size=(128, 96))
    again.load_state_dict(backbone.state_dict())


def test_a_size_that_the_model_does_not_take_is_refused():
    with pytest.raises(ValueError, match=r"size must be 160 x 160 for timm/test_vit, .*, got 100 x 70"):
        build_backbone("timm/test_vit", size=(100, 70))


@pytest.mark.slow
def test_weights_that_do_not_fit_another_size_are_refused():
    weights = timm.create_model("mixer_s32_224").state_dict()
    with pytest.raises(ValueError, match=r"weights of timm/mixer_s32_224 for images of 128 x 96, .*size null takes"):
        build_backbone("timm/mixer_s32_224", weights, size=(128, 96))


def test_facts_are_timms_own():
    spec, facts = backbone_spec("timm/test_vit3.r160_in1k"), timm.models.get_pretrained_cfg("test_vit3.r160_in1k")
    assert (spec.mean, spec.std, spec.input_size) == (facts.mean, facts.std, facts.input_size[1:])
    assert (spec.hub, spec.weights_file, spec.url) == ("timm/test_vit3.r160_in1k", "model.safetensors", None)
    assert spec.licence == "apache-2.0"
    half = backbone_spec("timm/vit_tiny_patch16_224.augreg_in21k")
    assert half.mean == half.std == (0.5, 0.5, 0.5)
    by_address = backbone_spec("timm/legacy_xception.tf_in1k")
    assert by_address.hub is None
    assert by_address.url.endswith("/" + by_address.weights_file)
    assert backbone_spec("timm/coatnet_0_224").weights_file is None


def test_unknown_names_and_tags_suggest_near_ones():
    with pytest.raises(ValueError, match=r"got 'timm/resnet_50'; near it: .*timm/resnet50"):
        backbone_spec("timm/resnet_50")
    with pytest.raises(ValueError, match=r"got 'timm/resnet10t.c4_in1k'; near it: timm/resnet10t.c3_in1k"):
        build_backbone("timm/resnet10t.c4_in1k")
    with pytest.raises(ValueError, match=r"got 'timm/qqqqqqqqqqq'; see timm.list_models"):
        backbone_spec("timm/qqqqqqqqqqq")


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ValueError, match=r"'timm/resnet50' needs the package timm.*pip install 'mmposter\[timm\]'"):
        backbone_spec("timm/resnet50")


def test_other_weights_are_refused():
    weights = timm.create_model("test_resnet").state_dict()
    with pytest.raises(ValueError, match=r"original weights of timm/test_vit, got others"):
        build_backbone("timm/test_vit", weights)
    del weights["layer1.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"original weights of timm/test_resnet, .*layer1.0.conv1.weight"):
        build_backbone("timm/test_resnet", weights)


def test_a_network_without_one_last_map_is_refused():
    with pytest.raises(ValueError, match=r"'timm/crossvit_9_240' must give one map .* got a list"):
        build_backbone("timm/crossvit_9_240")


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_everything_learns_or_nothing_does(name):
    backbone = build_backbone(f"timm/{name}", size=(64, 64))
    assert backbone.training
    backbone(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [key for key, value in backbone.named_parameters() if value.grad is None] == []
    backbone.set_trainable("frozen")
    assert not any(value.requires_grad for value in backbone.parameters())
    before = copy.deepcopy(backbone.train().state_dict())
    backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    backbone.set_trainable(backbone.stage_names[0])
    assert all(value.requires_grad for value in backbone.parameters())


def test_copies_are_whole():
    backbone = build_backbone("timm/test_vit", timm.create_model("test_vit").state_dict()).eval()
    images = torch.randn(1, 3, 160, 160)
    size = sum(value.numel() for value in backbone.state_dict().values())
    assert len(pickle.dumps(backbone)) < 4 * size * 1.5  # the weights once, not also as they were given
    copies = [copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))]
    assert all(torch.equal(found(images), backbone(images)) for found in copies)
    with torch.no_grad():
        for value in backbone.parameters():
            value.zero_()
    assert all(found(images).abs().max() > 0 for found in copies)  # their pooling reads their own weights
    assert backbone(images).abs().max() == 0
    keys = list(backbone.state_dict())
    assert all(key.startswith("stages.tokens.network.") for key in keys)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "alexnet"])
def test_the_last_map_of_our_own_backbones_is_that_of_the_last_stage(name):
    backbone = build_backbone(name)
    assert backbone.map_stage == backbone.last_stage


@pytest.mark.slow
@pytest.mark.parametrize("name", list_backbones())
def test_the_last_map_of_every_backbone_of_ours_is_that_of_the_last_stage(name):
    backbone = build_backbone(name)
    assert backbone.map_stage == backbone.last_stage
