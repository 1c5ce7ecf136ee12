"""Vision models of transformers by their configuration, against transformers itself; tiny ones, with random weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from fusion import backbone_spec, build_backbone

TOKENS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
}
VIT = {**TOKENS, "patch_size": 8}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 50}
MAPS = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
PREPROCESSOR: dict[str, Any] = {
    "size": {"height": 32, "width": 24},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.5],
}


def clip() -> transformers.PreTrainedModel:
    settings = transformers.CLIPConfig(
        text_config={**TEXT, "bos_token_id": 0, "eos_token_id": 1}, vision_config=VIT, projection_dim=20
    )
    return transformers.CLIPModel(settings)


def siglip() -> transformers.PreTrainedModel:
    text = {**TEXT, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 1}
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=VIT))


def made(name: str, **settings: Any) -> transformers.PreTrainedModel:
    config = getattr(transformers, name.replace("ForImageClassification", "").replace("Model", "") + "Config")
    return getattr(transformers, name)(config(**settings))


SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "image_size": 32, "window_size": 4}
# What is built; the stages; and how transformers gives what is to be compared: the input of the classifier, or a field
# of the output.
KINDS: dict[str, tuple[Any, list[str], str]] = {
    "vit": (lambda: made("ViTForImageClassification", **VIT), ["tokens", "pooled"], "classifier"),
    "deit": (lambda: made("DeiTForImageClassification", **VIT), ["tokens", "pooled"], "classifier"),
    "beit": (lambda: made("BeitForImageClassification", **VIT), ["tokens", "pooled"], "classifier"),
    "data2vec": (lambda: made("Data2VecVisionForImageClassification", **VIT), ["tokens", "pooled"], "classifier"),
    "dinov2": (lambda: made("Dinov2Model", **VIT), ["tokens", "pooled"], "pooler_output"),
    "clip": (clip, ["tokens", "pooled"], "image features"),
    "clip projected": (
        lambda: transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VIT, projection_dim=20)),
        ["tokens", "pooled"],
        "image_embeds",
    ),
    "clip image side": (
        lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VIT)),
        ["tokens", "pooled"],
        "pooler_output",
    ),
    "siglip": (siglip, ["tokens", "pooled"], "image features"),
    "convnext": (lambda: made("ConvNextForImageClassification", **MAPS), ["map", "pooled"], "classifier"),
    "resnet": (lambda: made("ResNetForImageClassification", embedding_size=8, **MAPS), ["map"], "classifier"),
    "swin": (lambda: made("SwinForImageClassification", **SWIN), ["tokens"], "classifier"),
}


def rough(model: nn.Module) -> Any:
    """Every weight and statistic a little off, in evaluation mode: fresh norms and zeros hide what is left out."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator)
                value.add_(0.1 * noise if name.endswith("running_var") else 0.1 * (noise - 0.5))
    return model.eval()


def described(model: Any) -> dict[str, Any]:
    model.config.architectures = [type(model).__name__]
    values: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    return values


def expected(model: Any, images: Tensor, what: str) -> Tensor:
    with torch.no_grad():
        if what == "image features":
            found = model.get_image_features(images)
            return found if isinstance(found, Tensor) else found.pooler_output
        if what == "classifier":
            seen: list[Tensor] = []
            with model.classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0])):
                model(images)
            return seen[0].flatten(1)
        return getattr(model(images), what).flatten(1)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_model_itself_says(kind):
    torch.manual_seed(0)
    make, stages, what = KINDS[kind]
    model = rough(make())
    size = (64, 64) if stages[0] == "map" else (32, 32)
    backbone = build_backbone("hf/tiny", model.state_dict(), config=described(model), size=size).eval()
    assert backbone.stage_names == stages
    assert backbone.map_stage == stages[0]
    images = torch.randn(2, 3, *size)
    wanted = expected(model, images, what)
    scale = wanted.abs().max()
    with torch.no_grad():
        torch.testing.assert_close(backbone(images) / scale, wanted / scale, atol=1e-5, rtol=1e-5)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3 * scale
    assert backbone.num_features == wanted.shape[1]
    again = build_backbone("hf/tiny", config=described(model), size=size)
    assert again.state_dict().keys() == backbone.state_dict().keys()


def test_a_vit_has_no_pooler_that_nobody_trained():
    backbone = build_backbone("hf/tiny", config=described(made("ViTModel", **VIT)))
    assert not [key for key in backbone.state_dict() if "pooler" in key]


@pytest.mark.parametrize("kind", ["vit", "clip", "dinov2", "convnext", "swin"])
def test_another_size_is_taken_where_the_model_can(kind):
    model = rough(KINDS[kind][0]())
    backbone = build_backbone("hf/tiny", model.state_dict(), config=described(model), size=(48, 32)).eval()
    images = torch.randn(1, 3, 48, 32)
    if kind == "vit":
        with torch.no_grad():
            wanted = model.vit(images, interpolate_pos_encoding=True).last_hidden_state
        tokens = backbone.forward_stages(images, stop="tokens")
        assert tokens.shape == (1, 32, 1 + 6 * 4, 1)
        assert torch.allclose(tokens[0, :, :, 0].T, wanted[0], atol=1e-5)
    assert torch.isfinite(backbone(images)).all()


def test_a_size_that_the_model_does_not_take_is_refused():
    config = described(made("LevitForImageClassification", image_size=64))
    with pytest.raises(ValueError, match=r"size must be one that hf/tiny takes, got 96 x 64"):
        build_backbone("hf/tiny", config=config, size=(96, 64))


def test_half_precision_files_become_ordinary_numbers():
    model = made("ViTModel", **VIT)
    halves = {key: value.half() for key, value in model.state_dict().items()}
    backbone = build_backbone("hf/tiny", halves, config={**described(model), "dtype": "float16"})
    assert {value.dtype for value in backbone.parameters()} == {torch.float32}
    assert backbone.training


def test_missing_and_surplus_weights_are_refused():
    model = made("ViTForImageClassification", **VIT)
    whole, config = model.state_dict(), described(model)
    less = {key: value for key, value in whole.items() if "layernorm_before" not in key}
    with pytest.raises(ValueError, match=r"weights of hf/tiny, got keys 4 missing \(.*layernorm_before"):
        build_backbone("hf/tiny", less, config=config)
    with pytest.raises(ValueError, match=r"weights of hf/tiny, got keys \d+ unexpected"):
        build_backbone("hf/tiny", whole, config={**config, "num_hidden_layers": 1})
    with pytest.raises(ValueError, match="weights of hf/tiny, got"):
        build_backbone("hf/tiny", whole, config={**config, "intermediate_size": 64})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "nobody", "auto_map": {"AutoModel": "evil.Model"}}, r"transformers \S+ knows, .*is not run"),
        ({"architecture": "resnet10t"}, "of model_type None"),
        ({"model_type": "bert"}, r"must be a vision model, got 'hf/x' of model_type 'bert'"),
        ({"model_type": "vit_mae", **VIT}, "the same for the same image"),
    ],
)
def test_what_is_no_image_network_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        build_backbone("hf/x", config=config)


def test_without_its_description_there_is_no_model():
    with pytest.raises(ValueError, match=r"config and preprocessor must be given for 'hf/x': config.json and prep"):
        backbone_spec("hf/x")
    with pytest.raises(ValueError, match=r"config must be given for 'hf/x'"):
        build_backbone("hf/x")


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (32, 24)),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}, (32, 32)),
        ({"size": {"shortest_edge": 40}, "do_center_crop": False, "crop_size": 32}, (40, 40)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384)),
        ({"size": 224}, (224, 224)),
    ],
)
def test_the_size_is_what_the_model_sees(changes, size):
    spec = backbone_spec("hf/org/x", {"model_type": "vit"}, {**PREPROCESSOR, **changes})
    assert spec.input_size == size
    assert (spec.hub, spec.weights_file) == ("org/x", "model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rescale_factor": 1 / 127.5},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_normalize": False, "rescale_factor": 2 / 255},
        {"image_mean": 0.5, "image_std": 0.5},
    ],
)
def test_normalisation_of_an_image_in_0_1_is_what_the_image_processor_does(changes):
    import numpy as np

    given = {**PREPROCESSOR, **changes}
    pixels = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    values = pixels * (given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 1.0)
    if given.get("do_normalize", True):
        values = (values - np.array(given["image_mean"])) / np.array(given["image_std"])
    spec = backbone_spec("hf/x", {}, given)
    ours = (pixels / 255 - np.array(spec.mean)) / np.array(spec.std)
    assert np.allclose(ours, values, atol=1e-5)


def test_a_real_image_processor_agrees():
    import numpy as np

    processor = transformers.ViTImageProcessor(**PREPROCESSOR)
    spec = backbone_spec("hf/x", {}, json.loads(processor.to_json_string()))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    wanted = processor(pixels, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    ours = (pixels / 255 - np.array(spec.mean)) / np.array(spec.std)
    assert np.allclose(ours.transpose(2, 0, 1), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": None}, "size must be in preprocessor_config.json"),
        ({"image_mean": None}, "image_mean and image_std must be in"),
        ({"do_flip_channel_order": True}, "must take plain RGB images"),
    ],
)
def test_preprocessing_that_we_do_not_do_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        backbone_spec("hf/x", {}, {**PREPROCESSOR, **changes})
