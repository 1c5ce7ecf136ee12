"""Any image model of timm, by ``timm/<name>``; the package is imported when a model is asked for.

Stages: ``map`` (the last map, after the final norm and activation) or ``tokens`` (all of them, the class token too),
then ``pooled`` where timm pools by more than the average; what follows is what timm's classifier reads
(``forward_head(x, pre_logits=True)``). Size, mean, deviation and the filter of the resize are those of timm's
``pretrained_cfg``. timm also crops the middle of an evaluation image; we never crop a poster.

For images of another size than the model's own, three ways are tried in turn: timm's ``dynamic_img_size`` (position
embeddings are interpolated), no option, and ``img_size`` (the network is built for it).
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from fusion.backbones.base import RESIZES, Backbone, BackboneSpec, evaluating
from fusion.backbones.catalogue import register_library
from fusion.backbones.whole_networks import whole_backbone

TIMM = "timm/"
"""What the names of these models begin with."""


def timm_spec(name: str, *_: object) -> BackboneSpec:
    """Facts about the model called ``timm/<name>``, with ``.tag`` for other weights than timm's default ones.

    What else `backbone_spec` is given is not used: timm describes its own models.

    Raises:
        ValueError: timm is missing or knows no such model or tag.
    """
    model = _model_name(name)
    facts = _timm(name).models.get_pretrained_cfg(model)
    channels, height, width = facts.input_size
    if channels != 3:
        raise ValueError(f"backbone must take images of 3 channels, got {name!r} with {channels}")
    # Weights that are on no hub have an address of their own; .npz files, of JAX, are none that torch reads.
    url = facts.url if facts.url and not facts.hf_hub_id and facts.url.endswith((".pth", ".pth.tar", ".bin")) else None
    return BackboneSpec(
        name=name,
        mean=tuple(facts.mean),
        std=tuple(facts.std),
        input_size=(height, width),
        weights_file="model.safetensors" if facts.hf_hub_id else url and url.rsplit("/", 1)[-1],
        url=url,
        pip_package=None,
        licence=facts.license or "see its model card",
        hub=facts.hf_hub_id or None,
        resize=facts.interpolation if facts.interpolation in RESIZES else BackboneSpec.resize,
    )


def count_timm(name: str, *_: object) -> int:
    """Parameters of the model called ``timm/<name>``; raises as `timm_spec`."""
    model = _model_name(name)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return sum(parameter.numel() for parameter in _timm(name).create_model(model).parameters())


@register_library(TIMM, timm_spec, count_timm, "NAME of timm")
def build_timm(
    name: str, state_dict: Mapping[str, Tensor] | None = None, *, size: tuple[int, int] | None = None, **_: object
) -> Backbone:
    """The model called ``timm/<name>``, see `fusion.build_backbone`; its weights are under timm's own keys.

    Raises:
        ValueError: as in `timm_spec`; a size that the model does not take; weights of another network.
    """
    timm = _timm(name)
    model, facts = _model_name(name), timm_spec(name)
    size = size or facts.input_size
    options = _options_for(timm, model, size, facts.input_size)
    network = timm.create_model(model, **options) if state_dict is None else _load(timm, model, options, state_dict)
    network.reset_classifier(0)
    network.pretrained_cfg.pop("state_dict", None)  # the weights, which copies would hold too
    channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return whole_backbone(name, network, _features, _pool, size, channels_last=channels_last)


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"backbone {name!r} needs the package timm, got none: pip install 'mmposter[timm]'") from error
    return timm


def _model_name(name: str) -> str:
    """The name without the prefix, once it is known to be timm's, tag and all."""
    timm = _timm(name)
    model = name.removeprefix(TIMM)
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=5)
    else:
        tagged = timm.list_pretrained(f"{architecture}.*")
        if not tag or model in tagged:
            return model
        near = get_close_matches(model, tagged, n=5, cutoff=0)
    known = f"near it: {', '.join(TIMM + found for found in near)}" if near else "see timm.list_models()"
    raise ValueError(f"backbone must name a model of timm, got {name!r}; {known}")


def _options_for(timm: Any, model: str, size: tuple[int, int], own: tuple[int, int]) -> dict[str, Any]:
    """What timm must be told for images of `size`."""
    if size == own:
        return {}
    for options in ({"dynamic_img_size": True}, {}, {"img_size": size}):
        try:
            network = timm.create_model(model, **options)
            with evaluating([network]), torch.no_grad():
                _pool(network, _features(network, torch.zeros(1, 3, *size)))
        except Exception:  # each architecture refuses in its own way: TypeError, AssertionError, RuntimeError, ...
            continue
        return options
    raise ValueError(
        f"size must be {own[0]} x {own[1]} for {TIMM}{model}, or another one that its patches and windows divide, "
        f"got {size[0]} x {size[1]}"
    )


def _load(timm: Any, model: str, options: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> Any:
    """By timm's own loading, which also brings older and other names and sizes into its present form."""
    classifier = timm.models.get_pretrained_cfg(model).classifier
    first = classifier[0] if isinstance(classifier, tuple | list) else classifier
    head = state_dict.get(f"{first}.weight")
    classes = 0 if head is None else len(head)
    # With the file's own number of classes timm loads strictly; otherwise it would leave missing weights random.
    overlay = {"state_dict": dict(state_dict), "num_classes": classes, "label_offset": 0}
    try:
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **options)
    except Exception as error:  # torch's own, or any error of timm's conversion of another network's weights
        said = " ".join(str(error).split())
        sized = " for images of {} x {}".format(*options["img_size"]) if "img_size" in options else ""
        raise ValueError(
            f"state_dict must hold the original weights of {TIMM}{model}{sized}, got others ({type(error).__name__}: "
            f"{said[:200]}{' ...' if len(said) > 200 else ''})" + ("; size null takes the model's own" if sized else "")
        ) from error


def _features(network: Any, x: Tensor) -> Tensor:
    found: Tensor = network.forward_features(x)
    return found


def _pool(network: Any, x: Tensor) -> Tensor:
    pooled: Tensor = network.forward_head(x, pre_logits=True)
    return pooled
