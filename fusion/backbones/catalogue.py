"""What can be built, how it wants its images, where its weights are, and how they get in.

A family (one file beside this one, named in `_FAMILIES`) enters its networks with `add_backbone` when it is first
needed; everything else reads them from here. Two libraries are too large to be entered name by name: their models are
``timm/<name>`` (see `fusion.backbones.timm_models`) and ``hf/<name>`` (`fusion.backbones.huggingface`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from fusion.backbones.base import Backbone

TIMM, HF = LIBRARIES = ("timm/", "hf/")
"""What the names of other libraries' models begin with."""

DESCRIPTION_FILES = ("config.json", "preprocessor_config.json")
"""The files beside the weights of an hf model that say what it is: `config` and `preprocessor` of `backbone_spec`."""

HF_WEIGHTS = "model.safetensors"
"""The file of an hf model's weights."""

CLASSIFIER_PREFIXES = ("classifier.", "fc.", "_fc.", "AuxLogits.")
"""Parts of the original networks that are left out: ImageNet's classes and Inception's auxiliary classifier."""

# torchvision's own DenseNet checkpoints were saved with "norm.1" where the network now says "norm1".
_OLD_DENSENET_KEY = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


@dataclass(frozen=True)
class BackboneSpec:
    """Facts about one backbone."""

    name: str
    mean: tuple[float, float, float]  # of the red, green and blue channel of an image in 0-1
    std: tuple[float, float, float]
    input_size: tuple[int, int]  # height and width in pixels; a poster's aspect, not ImageNet's square
    weights_file: str | None  # None: there are no published weights
    url: str | None  # None: the weights come in pip_package or from the hub only
    pip_package: str | None
    licence: str  # of the code and of the weights file
    hub: str | None = None  # the Hugging Face repository that holds weights_file
    megabytes: float | None = None  # of weights_file, as its owner says (10^6 bytes)


@dataclass(frozen=True)
class _Entry:
    spec: BackboneSpec
    make: Callable[[], nn.Module]  # the original network, random weights
    cut: Callable[[nn.Module], dict[str, nn.Module]]  # its stages by name, in the order they run


_ENTRIES: dict[str, _Entry] = {}

# Families not imported yet, those that import least first: torchvision's takes over a second.
_FAMILIES = ["efficientnet_lite", "published_cnns", "torchvision_families", "gated_resnets"]
_entering = False


def add_backbone(
    spec: BackboneSpec, make: Callable[[], nn.Module], cut: Callable[[nn.Module], dict[str, nn.Module]]
) -> None:
    """Enter a backbone under ``spec.name``.

    Args:
        spec: its facts.
        make: gives the original library's network with random weights.
        cut: takes that network apart into stages, in the order they run.

    Raises:
        ValueError: the name is taken already.
    """
    if not _entering:
        _enter_families()
    if spec.name in _ENTRIES:
        raise ValueError(f"backbone must have a new name, {spec.name!r} is taken")
    _ENTRIES[spec.name] = _Entry(spec, make, cut)


def list_backbones() -> list[str]:
    """Names of all backbones, sorted, without those of `LIBRARIES`; some need an extra package."""
    _enter_families()
    return sorted(_ENTRIES)


def backbone_spec(
    name: str, config: Mapping[str, Any] | None = None, preprocessor: Mapping[str, Any] | None = None
) -> BackboneSpec:
    """Facts about the backbone called ``name``; imports no extra package but timm, for its models.

    Args:
        name: one of `list_backbones`, ``timm/<name>`` or ``hf/<name>``.
        config: hf only: what its ``config.json`` says.
        preprocessor: hf only: what its ``preprocessor_config.json`` says.

    Raises:
        ValueError: unknown name, a missing package, or an hf model without its files or one that cannot be used.
    """
    if name.startswith(TIMM):
        from fusion.backbones.timm_models import timm_spec

        return timm_spec(name)
    if name.startswith(HF):
        from fusion.backbones.huggingface import hf_spec

        return hf_spec(name, config, preprocessor)
    return _entry(name).spec


def build_backbone(
    name: str,
    state_dict: Mapping[str, Tensor] | None = None,
    *,
    size: tuple[int, int] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Backbone:
    """The backbone called ``name``, in training mode with everything learning.

    Args:
        name: one of `list_backbones`, ``timm/<name>`` or ``hf/<name>``.
        state_dict: weights under the original library's keys, its classifier included or not; None: random weights.
        size: height and width of its images in pixels, which decide how some networks are built; None: its own.
        config: hf only: what its ``config.json`` says.

    Raises:
        ValueError: unknown name, a missing package, a size that the network does not take, or weights of another one.
    """
    if name.startswith(TIMM):
        from fusion.backbones.timm_models import build_timm

        return build_timm(name, state_dict, size)
    if name.startswith(HF):
        from fusion.backbones.huggingface import build_hf

        return build_hf(name, config, state_dict, size)
    entry = _entry(name)
    original = entry.make()
    if state_dict is not None:
        _load_original(original, state_dict, name)
    return Backbone(name, entry.cut(original), input_size=size or entry.spec.input_size)


def count_parameters(name: str, config: Mapping[str, Any] | None = None) -> int:
    """How many parameters a network of `LIBRARIES` has, its own classifier included; takes no memory for them.

    Args:
        name: ``timm/<name>`` or ``hf/<name>``.
        config: hf only: what its ``config.json`` says.

    Raises:
        ValueError: unknown name, a missing package, or no network can be made of the description.
    """
    if name.startswith(TIMM):
        from fusion.backbones.timm_models import count_timm

        return count_timm(name)
    from fusion.backbones.huggingface import count_hf

    return count_hf(name, config)


def _enter_families(until: str | None = None) -> None:
    """Import families, until one of them has entered the name that is asked for."""
    global _entering
    while _FAMILIES and until not in _ENTRIES:
        _entering = True
        try:
            import_module(f"fusion.backbones.{_FAMILIES[0]}")
        finally:
            _entering = False
        del _FAMILIES[0]


def _entry(name: str) -> _Entry:
    _enter_families(until=name)
    if name not in _ENTRIES:
        raise ValueError(
            f"backbone must be one of {list_backbones()}, got {name!r}; also {TIMM}NAME of timm, and {HF}NAME of the "
            "Hugging Face hub or a folder"
        )
    return _ENTRIES[name]


def _load_original(original: nn.Module, state_dict: Mapping[str, Tensor], name: str) -> None:
    """Load everything but the classifier, strictly."""
    given = {_current_key(key): value for key, value in state_dict.items() if not key.startswith(CLASSIFIER_PREFIXES)}
    wanted = {k: v for k, v in original.state_dict().items() if not k.startswith(CLASSIFIER_PREFIXES)}
    # Files from before PyTorch 0.4.1 have no num_batches_tracked (DenseNet's are such); nothing here reads it.
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in wanted]
    shapes = [
        f"{key} {tuple(given[key].shape)} in place of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise ValueError(f"state_dict must hold the original weights of {name}, got keys {'; '.join(problems)}")
    original.load_state_dict(given, strict=False)


def _current_key(key: str) -> str:
    match = _OLD_DENSENET_KEY.match(key)
    return match.group(1) + match.group(2) if match else key
