"""Any vision model of transformers, and the image side of CLIP or SigLIP, by ``hf/<name>``.

This file knows no folder and no hub: it is given what ``config.json`` and ``preprocessor_config.json`` say. Code that
comes with a model is never run.

Stages: ``map`` or ``tokens`` (the model's ``last_hidden_state``, the class token too), then ``pooled`` where the model
pools by more than the average:

- CLIP: the image embedding, as text is compared with (``image_embeds``); SigLIP: its attention pooling.
- What else has a pooling of its own (BEiT, ConvNeXt, DINOv2, ResNet, Swin, ...): that, ``pooler_output``. transformers
  does not offer it as a part, so it is found among those we know (`_POOLINGS`): the one that gives the same numbers.
- ViT and DeiT: the class token after the last norm, as their classifiers read it. Their ``pooler`` is left out: most
  published files lack its weights, and it would be random.
- What has none: its class token where it has one, the average where not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from fusion.backbones.base import Backbone, BackboneSpec, evaluating, global_average, misfits
from fusion.backbones.catalogue import register_library
from fusion.backbones.descriptions import require_modest, without_code
from fusion.backbones.whole_networks import Pool, close, whole_backbone

HF = "hf/"
"""What the names of these models begin with."""

DESCRIPTION_FILES = ("config.json", "preprocessor_config.json")
"""The files beside the weights that say what a model is: `config` and `preprocessor` of `hf_spec`."""

HF_WEIGHTS = "model.safetensors"
"""The file of the weights."""

# Whether to build a pooler, where transformers' default for the bare model is not what the published files hold.
_POOLER = {"vit": False, "deit": False, "data2vec-vision": True}
_WRAPPER = "timm_wrapper"  # builds whatever timm makes of a name and arguments that the description gives
Channels: TypeAlias = tuple[float, float, float]

# By Pillow's numbers. Its other filters are not in every torch; bicubic stands in for them, as in transformers.
_FILTERS = {0: "nearest", 2: "bilinear", 3: "bicubic"}

# Tensors that some files hold and no network needs to read: made anew, or for pretraining.
_NEEDLESS = ("position_ids", "relative_position_index", "mask_token", "num_batches_tracked")


def hf_spec(
    name: str, config: Mapping[str, Any] | None = None, preprocessor: Mapping[str, Any] | None = None
) -> BackboneSpec:
    """Facts about the model called ``hf/<name>``, from its two `DESCRIPTION_FILES`.

    Raises:
        ValueError: no description, or one that asks for what we do not do.
    """
    if config is None or preprocessor is None:
        raise ValueError(f"config and preprocessor must be given for {name!r}: {' and '.join(DESCRIPTION_FILES)}")
    mean, std = _normalisation(name, preprocessor)
    return BackboneSpec(
        name=name,
        mean=mean,
        std=std,
        input_size=_size(name, preprocessor),
        weights_file=HF_WEIGHTS,
        url=None,
        pip_package=None,
        licence="see its model card",
        hub=name.removeprefix(HF),
        resize=_filter(preprocessor.get("resample")),
    )


def count_hf(name: str, config: Mapping[str, Any] | None) -> int:
    """Parameters of the model called ``hf/<name>``; raises as `build_hf`."""
    cls, settings, options = _model_class(name, config)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network: nn.Module = _make(name, cls, settings, options)
    return sum(parameter.numel() for parameter in network.parameters())


@register_library(HF, hf_spec, count_hf, "NAME of the Hugging Face hub or a folder")
def build_hf(
    name: str,
    state_dict: Mapping[str, Tensor] | None = None,
    *,
    size: tuple[int, int] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Backbone:
    """The model called ``hf/<name>``, see `fusion.build_backbone`.

    The weights are under transformers' keys, of this model or of a larger one around it (a classifier, all of CLIP).

    Raises:
        ValueError: no config or one of no vision model, a size that the model does not take, or other weights.
    """
    cls, settings, options = _model_class(name, config)
    network: nn.Module = (
        _make(name, cls, settings, options) if state_dict is None else _load(name, cls, settings, options, state_dict)
    )
    size = size or _two_numbers(getattr(settings, "image_size", None)) or (224, 224)
    features = _features_for(name, network, size)
    return whole_backbone(name, network, features, _pooling(name, network, features, size), size)


def _make(name: str, cls: Any, settings: Any, options: Mapping[str, Any]) -> Any:
    try:
        return cls(settings, **options)
    except Exception as error:  # each model refuses in its own way
        raise ValueError(
            f"config must describe a network, got another for {name!r} ({type(error).__name__}: {error})"
        ) from error


def _model_class(name: str, config: Mapping[str, Any] | None) -> tuple[Any, Any, dict[str, Any]]:
    """Class, configuration and arguments of the part of the model that looks at images."""
    if config is None:
        raise ValueError(f"config must be given for {name!r}: {DESCRIPTION_FILES[0]}")
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    require_modest(config)
    kind, plain = config.get("model_type"), without_code(config)
    if kind == _WRAPPER:
        raise ValueError(f"backbone must be named timm/NAME where it is a model of timm, got {name!r} around one")
    try:
        settings = transformers.AutoConfig.for_model(kind, **{k: v for k, v in plain.items() if k != "model_type"})
    except Exception as error:  # of values that no model has, anything
        raise ValueError(
            f"backbone must be a model that transformers {transformers.__version__} knows, got {name!r} of model_type "
            f"{kind!r}; code that comes with a model is not run"
        ) from error
    vision = getattr(settings, "vision_config", None)
    if vision is not None and hasattr(vision, "model_type"):
        if hasattr(settings, "projection_dim"):
            vision.projection_dim = settings.projection_dim
        settings = vision
    if isinstance(settings, transformers.CLIPVisionConfig):
        alone = config.get("architectures") == ["CLIPVisionModel"]
        return transformers.CLIPVisionModel if alone else transformers.CLIPVisionModelWithProjection, settings, {}
    cls = MODEL_MAPPING.get(type(settings), None)
    if getattr(cls, "main_input_name", None) != "pixel_values":
        raise ValueError(f"backbone must be a vision model, got {name!r} of model_type {kind!r}")
    return cls, settings, {"add_pooling_layer": _POOLER[kind]} if kind in _POOLER else {}


def _load(
    name: str, cls: Any, settings: Any, options: Mapping[str, Any], state_dict: Mapping[str, Tensor]
) -> nn.Module:
    """By transformers' own loading, which knows the names of older files; strict where that is not."""
    try:
        with quiet_transformers():  # it lists what it did not use; what matters of that is an error below
            network, found = cls.from_pretrained(
                None,
                config=settings,
                state_dict=dict(state_dict),
                output_loading_info=True,
                trust_remote_code=False,
                **options,
            )
    except Exception as error:
        raise ValueError(f"state_dict must hold the weights of {name}, got others ({error})") from error
    prefix = f"{cls.base_model_prefix}."
    parts = {part for part, _ in network.named_children()}
    missing = sorted(key for key in found["missing_keys"] if not key.endswith(_NEEDLESS))
    shapes = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"])
    # What lies beside the network (a classifier, the text side) may be there; more layers of it may not.
    inside = [key for key in found["unexpected_keys"] if key.removeprefix(prefix).split(".")[0] in parts]
    unexpected = sorted(key for key in inside if not key.endswith(_NEEDLESS))
    if wrong := misfits({"missing": missing, "of another shape": shapes, "unexpected": unexpected}):
        raise ValueError(f"state_dict must hold the weights of {name}, got keys {wrong}")
    loaded: nn.Module = network.float()
    return loaded


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No reports, warnings and bars of transformers' own while it loads; errors stay."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _features_for(name: str, network: nn.Module, size: tuple[int, int]) -> Any:
    """How to run the network on images of `size`: position embeddings of another one may have to be interpolated."""
    said = ""
    for options in ({}, {"interpolate_pos_encoding": True}):
        features = partial(_features, options=options)
        try:
            with evaluating([network]), torch.no_grad():
                features(network, torch.zeros(1, 3, *size))
        except Exception as error:  # each model refuses in its own way
            said = said or str(error)
        else:
            return features
    raise ValueError(f"size must be one that {name} takes, got {size[0]} x {size[1]} ({said})")


def _pooling(name: str, network: nn.Module, features: Any, size: tuple[int, int]) -> Pool:
    """What gives the model's own pooled output from its last map."""
    generator = torch.Generator().manual_seed(0)
    with evaluating([network]), torch.no_grad():
        images = torch.randn(1, 3, *size, generator=generator)
        output = _run(network, images, features.keywords["options"])
        last = output.last_hidden_state
        if not torch.allclose(last, features(network, images), equal_nan=True):
            raise ValueError(f"backbone must give the same for the same image, got {name!r}, which draws at random")
        own = output.get("image_embeds")
        own = output.get("pooler_output") if own is None else own
        if own is None:
            return _class_token if _has_class_token(network) and last.ndim == 3 else _average
        for pool in _POOLINGS:
            try:
                found = pool(network, last)
            except (AttributeError, IndexError, RuntimeError, TypeError):  # this model has no such part
                continue
            if close(found, own.flatten(1)):
                return pool
    raise ValueError(f"backbone must pool in a way that we know, got {name!r} ({type(network).__name__})")


def _run(network: Any, x: Tensor, options: Mapping[str, Any]) -> Any:
    return network(pixel_values=x, return_dict=True, **options)


def _features(network: Any, x: Tensor, options: Mapping[str, Any]) -> Tensor:
    found: Tensor = _run(network, x, options).last_hidden_state
    return found


def _average(network: Any, x: Tensor) -> Tensor:
    return x.mean(dim=1) if x.ndim == 3 else global_average(x)


def _class_token(network: Any, x: Tensor) -> Tensor:
    return x[:, 0] if x.ndim == 3 else x.flatten(2)[:, :, 0]


def _normed_average(network: Any, x: Tensor) -> Tensor:
    """ConvNeXt."""
    pooled: Tensor = network.layernorm(_average(network, x))
    return pooled


def _normed_class_token(network: Any, x: Tensor) -> Tensor:
    """CLIP before its projection."""
    pooled: Tensor = getattr(network, "vision_model", network).post_layernorm(x[:, 0])
    return pooled


def _projected_class_token(network: Any, x: Tensor) -> Tensor:
    """CLIP."""
    pooled: Tensor = network.visual_projection(_normed_class_token(network, x))
    return pooled


def _head(network: Any, x: Tensor) -> Tensor:
    """SigLIP."""
    pooled: Tensor = getattr(network, "vision_model", network).head(x)
    return pooled


def _pooler(network: Any, x: Tensor) -> Tensor:
    """BEiT, and whatever else calls it so."""
    pooled: Tensor = network.pooler(x)
    return pooled.flatten(1)


# The plain ones first: they need no weights.
_POOLINGS: tuple[Pool, ...] = (
    _average,
    _class_token,
    _normed_average,
    _normed_class_token,
    _projected_class_token,
    _head,
    _pooler,
)


def _has_class_token(network: nn.Module) -> bool:
    return any(name.rpartition(".")[2] in ("cls_token", "class_embedding") for name, _ in network.named_parameters())


def _size(name: str, preprocessor: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of what the model sees in its own library: of the crop, where it crops."""
    cropped = preprocessor.get("do_center_crop", False) and preprocessor.get("crop_size") is not None
    size = _two_numbers(preprocessor["crop_size"] if cropped else preprocessor.get("size"))
    if size is None:
        raise ValueError(f"size must be in {DESCRIPTION_FILES[1]} of {name!r}, got {preprocessor.get('size')!r}")
    return size


def _filter(resample: Any) -> str:
    return _FILTERS.get(resample, BackboneSpec.resize) if isinstance(resample, int) else BackboneSpec.resize


def _two_numbers(size: Any) -> tuple[int, int] | None:
    """Height and width from 224, [224, 224], {"height": 224, "width": 224} or {"shortest_edge": 224}."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = (size.get("height") or edge, size.get("width") or edge)
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return int(size[0]), int(size[1])
    return None


def _normalisation(name: str, preprocessor: Mapping[str, Any]) -> tuple[Channels, Channels]:
    """Mean and deviation of an image in 0-1."""
    if preprocessor.get("do_flip_channel_order") or preprocessor.get("rescale_offset"):
        raise ValueError(f"backbone must take plain RGB images, got {name!r} with other channels or another scale")
    # The model's own values are those in 0-1 times this: 1 where 0-255 is divided by the usual 255.
    scale = 255 * preprocessor.get("rescale_factor", 1 / 255) if preprocessor.get("do_rescale", True) else 255.0
    if not preprocessor.get("do_normalize", True):
        return (0.0, 0.0, 0.0), _three(1.0, scale)
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if mean is None or std is None:
        raise ValueError(f"image_mean and image_std must be in {DESCRIPTION_FILES[1]} of {name!r}, got none")
    return _three(mean, scale), _three(std, scale)


def _three(value: Any, scale: float) -> Channels:
    red, green, blue = value if isinstance(value, list | tuple) else (value, value, value)
    return float(red) / scale, float(green) / scale, float(blue) / scale
