"""The image tower: which backbone, from which file, with which identity; and one pass through it for all who look."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from fusion import Backbone, StageStatistics, backbone_spec, build_backbone
from fusion.backbones import DESCRIPTION_FILES, HF, HF_WEIGHTS, RESIZES, count_parameters, of_library, to_be_loaded
from mmposter.branches.cnn import NAME as CNN
from mmposter.branches.plugins import load_named
from mmposter.branches.settings import FROM_OUTSIDE
from mmposter.config import CnnConfig, StyleConfig
from mmposter.errors import UserError
from mmposter.features.architecture import Architecture, hf_folder
from mmposter.files.paths import file_here
from mmposter.files.strict_json import parse_json, shorten, shown, sound, whole
from mmposter.files.tensors import count_numbers, load_tensors, save_tensors, tensor_metadata
from mmposter.images.picture import Picture
from mmposter.images.transforms import PosterTransform
from mmposter.pretrained import catalogue, resolver
from mmposter.shell import command_line
from mmposter.shipped import POSTERS, shipped_tower

# Keys in a safetensors header under which `TowerWeights.save` keeps what the weights were made from, and for what.
_ORIGIN, _ARCHITECTURE, _SIZE = "mmposter_weights", "mmposter_architecture", "mmposter_size"
_RESIZE = "mmposter_resize"

EARLIER_RESIZE = "bicubic"
"""The filter of every tower before there was a choice; it goes without saying wherever a filter is kept."""

# Posters at a time on a CPU: the maps of more do not stay in its cache (EfficientNet-Lite0 at 320 x 224, one thread:
# 21 ms a poster by 2, 54 ms by 32).
_CPU_SLICE = 2

_LARGEST_SIDE = 8192  # pixels
_CLASSIFIER = 25_000_000  # numbers of a network's own classifier, which a file of ours leaves out


@dataclass(frozen=True)
class TowerWeights:
    """A backbone with the file of its weights (None: random, from `seed`)."""

    backbone: str  # as in `cnn.backbone`
    # a state dict under the original library's keys, or one of ours, from `save`. For `fusion.list_backbones` every
    # `.safetensors` is one of ours.
    file: Path | None
    seed: int = 0  # of the random weights
    architecture: Architecture | None = None  # of a `timm/` or `hf/` network; None for others
    size: tuple[int, int] | None = None  # height and width of its images in pixels; None: the backbone's own
    # the filter that makes them of posters, one of RESIZES; None: what a file of ours says
    resize: str | None = None

    @classmethod
    def find(cls, config: CnnConfig, *, seed: int = 0, offline: bool = False, section: str = CNN) -> TowerWeights:
        """The files of ``cnn.backbone`` and ``cnn.init`` of a settled configuration (see `features.settled`).

        A file that `save` wrote says itself which ``timm/`` or ``hf/`` network it is of: then no other file is needed.

        Args:
            config: of the network.
            seed: of random weights.
            offline: never touch the network.
            section: what its keys are called in messages.

        Raises:
            UserError: for an unknown backbone, or files that are nowhere.
        """
        if not of_library(config.backbone):
            try:
                backbone_spec(config.backbone)
            except ValueError as error:
                raise UserError(f"{section}.{error}. {FROM_OUTSIDE}") from error
        init, file = config.init, None
        if init == "auto":
            raise UserError("cnn.init=auto must be settled before its files are looked for: `features.settled.settle`")
        if init == "imagenet":
            file = _published(config.backbone, section, offline=offline)
        elif init == POSTERS:
            file = _shipped(config.backbone)
        elif init != "none":
            file = file_here(init)
            if file is None:
                raise UserError(
                    f"cnn.init must be auto, posters, imagenet, none or an existing file; got {shown(init)}"
                )
        architecture = None
        if of_library(config.backbone):
            if file is not None and (said := _metadata(file).get(_ARCHITECTURE)) is not None:
                with sound(file):
                    architecture = Architecture.from_json(parse_json(said, file))
            else:
                architecture = Architecture.find(config.backbone, offline=offline)
        size = config.size or (None if architecture is None else architecture.input_size)
        found = cls(config.backbone, file, seed if file is None else 0, architecture, size)
        if config.resize != "backbone":
            return replace(found, resize=config.resize)
        if file is not None and found._is_ours(file):
            return found
        return replace(found, resize=(architecture or backbone_spec(config.backbone)).resize)

    @property
    def filter(self) -> str:
        """By which posters are resized for it."""
        return self.resize or (None if self.file is None else _said_resize(self.file)) or EARLIER_RESIZE

    def identity(self) -> dict[str, Any]:
        """What goes into the fingerprint of everything computed with this tower."""
        found: dict[str, Any] = {"backbone": self.backbone, "weights": self._origin()}
        if self.architecture is not None:
            # Not the name: that of a folder is another one elsewhere.
            found |= {"backbone": self.architecture.label, "architecture": self.architecture.to_json()}
        return found if self.filter == EARLIER_RESIZE else {**found, "resize": self.filter}

    def save(self, path: Path) -> None:
        """Write the backbone's weights to a safetensors file that keeps their identity (they are the same)."""
        self._write(path, self.build().state_dict(), self._origin())

    def save_trained(self, path: Path, backbone: Backbone) -> None:
        """Write what became of the backbone in training: a file as `save` writes it, with an identity of its own."""
        self.save_state(path, backbone.state_dict(), "trained")

    def save_state(self, path: Path, state: Mapping[str, torch.Tensor], kind: str) -> None:
        """Write another state of the backbone, whose identity is its kind and the hash of its numbers."""
        plain = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
        self._write(path, plain, f"{kind}-{hashlib.sha256(save(plain)).hexdigest()}")

    def _write(self, path: Path, state: Mapping[str, torch.Tensor], origin: str) -> None:
        metadata = {_ORIGIN: origin}
        size = self.size or (None if self.file is None else _said_size(self.file))
        if size is not None:
            metadata[_SIZE] = json.dumps(size)
        if self.filter != EARLIER_RESIZE:
            metadata[_RESIZE] = self.filter
        if self.architecture is not None:
            metadata[_ARCHITECTURE] = json.dumps(self.architecture.to_json())
        save_tensors(path, state, metadata)

    def _origin(self) -> str:
        if self.file is None:
            return f"random-{self.seed}"
        return _metadata(self.file).get(_ORIGIN) or resolver.digest([self.file])

    def build(self) -> Backbone:
        """The backbone with its weights, in evaluation mode.

        Raises:
            UserError: if the file is damaged or holds another network's weights.
        """
        try:
            if self.file is None:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(self.seed)
                    return self._build(None).eval()
            if self._is_ours(self.file):
                return self._build_own(self.file)
            return self._build(_load_original(self.file)).eval()
        except ValueError as error:
            raise UserError(f"{self.file}: {error}" if self.file else str(error)) from error

    def original(self) -> dict[str, torch.Tensor] | None:
        """The file's state dict under the original library's keys, its classifier included.

        None where there is none: random weights, or a file of ours, which holds the backbone alone.

        Raises:
            UserError: if the file is damaged.
        """
        if self.file is None or self._is_ours(self.file):
            return None
        return _load_original(self.file)

    def _is_ours(self, file: Path) -> bool:
        if of_library(self.backbone):
            return _ORIGIN in _metadata(file)
        return file.suffix == ".safetensors"

    def _build(self, state_dict: dict[str, torch.Tensor] | None) -> Backbone:
        config = None if self.architecture is None else self.architecture.config
        load_named()  # in a worker process, nobody has
        return build_backbone(self.backbone, state_dict, size=self.size, config=config)

    def _build_own(self, file: Path) -> Backbone:
        if of_library(self.backbone):
            require_fitting(self.backbone, self.architecture, file)
        # Weights that are drawn all the same, and overwritten, shift nobody's numbers.
        with to_be_loaded(self.backbone):
            backbone = self._build(None)
        try:
            backbone.load_state_dict(load_tensors(file))
        except RuntimeError as error:
            raise UserError(f"{file} does not hold the weights of {self.backbone}: {shorten(str(error))}") from error
        return backbone.eval()


@dataclass(frozen=True)
class TowerInput:
    """A decoded poster as a backbone takes it: a normalised tensor 3 x H x W.

    It holds numbers alone, so that other processes need not know the backbone.
    """

    mean: tuple[float, ...]  # of the red, green and blue channel of an image in 0-1
    std: tuple[float, ...]  # of the same
    size: tuple[int, int]  # height and width in pixels
    resize: str = EARLIER_RESIZE  # the filter, one of `fusion.backbones.RESIZES`

    @classmethod
    def of(cls, config: CnnConfig, weights: TowerWeights) -> TowerInput:
        """Of a configured backbone, in its own size where none is set, by the filter of its weights."""
        facts = weights.architecture or backbone_spec(config.backbone)
        size = config.size or facts.input_size
        if config.normalisation == "unit":
            return cls((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), size, weights.filter)
        return cls(facts.mean, facts.std, size, weights.filter)

    def transform(self) -> PosterTransform:
        """What makes the tensor of a poster's pixels."""
        return PosterTransform(self.mean, self.std, self.size, self.resize)

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """As the backbone takes them, of images B x 3 x H x W in 0-255."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images * (1 / 255) - mean) / std  # as torchvision, to the last bit

    def __call__(self, picture: Picture) -> torch.Tensor:
        """Resize and normalise one poster."""
        return _transform(self)(picture.pixels)


@cache
def _transform(wanted: TowerInput) -> PosterTransform:
    return wanted.transform()


class SharedTower:
    """A frozen backbone that several extractors look through, at one pass a batch.

    It remembers the feature maps of the last batch, of the watched stages alone: whoever asks next for the same batch
    gets them, or goes on from them.
    """

    def __init__(self, config: CnnConfig, weights: TowerWeights, *, device: str) -> None:
        self.input = TowerInput.of(config, weights)
        self.normalisation = config.normalisation
        self.weights, self.device = weights, device
        self._backbone: Backbone | None = None
        self._watched: set[str] = set()
        self._batch: list[torch.Tensor] = []
        self._maps: dict[str, torch.Tensor] = {}

    def start(self) -> None:
        """Load the backbone, once for all who share it."""
        if self._backbone is None:
            layout = torch.channels_last if self.device == "cpu" else torch.contiguous_format
            self._backbone = self.weights.build().to(self.device).to(memory_format=layout)

    @property
    def backbone(self) -> Backbone:
        """The network, in evaluation mode; there after `start`."""
        assert self._backbone is not None, "start() comes first"
        return self._backbone

    def watch(self, stage: str) -> None:
        """Remember this stage's map on the way to later ones."""
        self._watched.add(stage)

    def map(self, batch: Sequence[torch.Tensor], stage: str) -> torch.Tensor:
        """The feature map B x C x H' x W' after `stage`; not to be written into.

        Args:
            batch: B tensors 3 x H x W, as `input` makes them. The same tensors, not only equal ones, are the same
                batch.
        """
        if len(batch) != len(self._batch) or any(a is not b for a, b in zip(batch, self._batch, strict=True)):
            self._batch, self._maps = list(batch), {}
        if stage not in self._maps:
            names = self.backbone.stage_names
            here = names.index(stage)
            passed = next((name for name in reversed(names[:here]) if name in self._maps), None)
            first = 0 if passed is None else names.index(passed) + 1
            features = torch.stack(list(batch)).to(self.device) if passed is None else self._maps[passed]
            for name in names[first : here + 1]:
                if name in self._watched or name == stage:
                    # From a copy of what is remembered: a stage may begin with an activation that works in place.
                    start = features if passed is None else features.clone()
                    features = self._run(start, passed, name)
                    self._maps[name] = features
                    passed = name
        return self._maps[stage]

    def _run(self, features: torch.Tensor, start: str | None, stop: str) -> torch.Tensor:
        slices = torch.split(features, _CPU_SLICE if self.device == "cpu" else len(features))
        return torch.cat([self.backbone.forward_stages(part, start, stop) for part in slices])


def made_for(backbone: str, init: str) -> tuple[int, int] | None:
    """Height and width in pixels that the weights were made for, where ``cnn.init`` is a file of ours that says so."""
    file = _shipped(backbone) if init == POSTERS else file_here(init)
    return None if file is None else _said_size(file)


def measured_stage(backbone: Backbone, style: StyleConfig) -> tuple[str, StageStatistics]:
    """The stage whose style is measured, the last with a map where none is set, and what is measured there.

    Raises:
        UserError: the backbone has no such stage.
    """
    stage = style.stage or backbone.map_stage
    if stage not in backbone.stage_channels:
        raise UserError(f"style.stage must be one of {', '.join(backbone.stage_names)}; got {stage!r}")
    channels = backbone.stage_channels[stage]
    reduced = None if style.reduced is None else min(style.reduced, channels)
    return stage, StageStatistics(channels, reduced, style.normaliser)


def _said_size(file: Path) -> tuple[int, int] | None:
    """Height and width in pixels that the weights were made for, where a file of ours says so."""
    said = _metadata(file).get(_SIZE)
    if said is None:
        return None
    with sound(file):
        height, width = parse_json(said, file)
        known = tuple(whole(side, "a side", least=1, most=_LARGEST_SIDE) for side in (height, width))
        return known[0], known[1]


def _said_resize(file: Path) -> str | None:
    """The filter that a file of ours says."""
    said = _metadata(file).get(_RESIZE)
    with sound(file):
        return None if said is None else require_resize(said)


def require_resize(value: Any) -> str:
    """A filter that a stranger's file names (ValueError: none that there is)."""
    if value not in RESIZES:
        raise ValueError(f"resize must be one of {', '.join(RESIZES)}, got {shown(value)}")
    return str(value)


def require_fitting(backbone: str, architecture: Architecture | None, file: Path) -> None:
    """Refuse a ``timm/`` or ``hf/`` network that is larger than the file of its weights, before it is made.

    Raises:
        UserError: it is; or no such network can be made.
    """
    try:
        count = count_parameters(backbone, None if architecture is None else architecture.config)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    if count > count_numbers(file) + _CLASSIFIER:
        raise UserError(
            f"{file} holds {count_numbers(file):,} numbers, and {backbone} as it is described has {count:,}"
        )


def _shipped(backbone: str) -> Path:
    """The tower of the model that travels with the package."""
    tower = shipped_tower()
    if tower is None:
        raise UserError("cnn.init=posters: this build of mmposter came without that model; use --init imagenet")
    if tower.backbone != backbone:
        raise UserError(
            f"cnn.init=posters goes with cnn.backbone={tower.backbone}; got {backbone}. Use --init imagenet, or "
            f"{command_line('--set', f'cnn.backbone={tower.backbone}')}"
        )
    return tower.file


def _published(backbone: str, section: str, *, offline: bool) -> Path:
    """The file of the backbone's published weights."""
    if backbone.startswith(HF):
        return hf_folder(backbone, (*DESCRIPTION_FILES, HF_WEIGHTS), offline=offline) / HF_WEIGHTS
    try:
        spec = backbone_spec(backbone)
    except ValueError as error:
        raise UserError(f"{section}.{error}") from error
    if spec.weights_file is None:
        own = "use --init none, or --init FILE" if section == CNN else f"give {section}.backbone another one"
        raise UserError(f"{backbone} has no published weights; {own}")
    if spec.hub is not None:
        source = catalogue.hub(spec.hub, (spec.weights_file,), spec.licence)
    else:
        source = catalogue.backbone(spec)
    return resolver.resolve(source, offline=offline) / spec.weights_file


def _metadata(file: Path) -> dict[str, str]:
    """What a safetensors file says beside its tensors; nothing for a file of another kind."""
    return tensor_metadata(file) if file.suffix == ".safetensors" else {}


def _load_original(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        return load_tensors(file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged pickle, anything
        # Not torch's own words: they tell how to run whatever code the file may hold.
        raise UserError(f"{file} is damaged, or no file of weights alone; it must be a state dict") from error
    if not isinstance(state, dict):
        raise UserError(f"{file} must hold a state dict; got a {type(state).__name__}")
    return state
