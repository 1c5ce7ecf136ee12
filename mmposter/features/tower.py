"""The image tower: which backbone, from which file, with which identity; and one pass through it for all who look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from fusion import Backbone, backbone_spec, build_backbone
from mmposter import pretrained, weights
from mmposter.atomic import atomic_path
from mmposter.config import CnnConfig
from mmposter.errors import UserError
from mmposter.picture import Picture
from mmposter.transforms import PosterTransform

# The key in a safetensors header under which `TowerWeights.save` keeps what the weights were made from.
_ORIGIN = "mmposter_weights"

# Posters at a time on a CPU: the maps of more do not stay in its cache (EfficientNet-Lite0 at 320 x 224, one thread:
# 21 ms a poster by 2, 54 ms by 32).
_CPU_SLICE = 2


@dataclass(frozen=True)
class TowerWeights:
    """A backbone's name with the file of its weights (None: random, from `seed`).

    Attributes:
        backbone: one of `fusion.list_backbones`.
        file: a state dict under the original library's keys (``.pth``) or under our own (``.safetensors``).
        seed: of the random weights.
    """

    backbone: str
    file: Path | None
    seed: int = 0

    @classmethod
    def find(cls, config: CnnConfig, *, seed: int = 0, offline: bool = False) -> TowerWeights:
        """Resolve ``cnn.init``.

        Raises:
            UserError: for an unknown backbone, or weights that are nowhere.
        """
        try:
            spec = backbone_spec(config.backbone)
        except ValueError as error:
            raise UserError(f"cnn.{error}") from error
        if config.init == "none":
            return cls(config.backbone, None, seed)
        if config.init == "imagenet":
            source = pretrained.backbone(spec.weights_file, spec.url, spec.pip_package, spec.licence)
            return cls(config.backbone, weights.resolve(source, offline=offline) / spec.weights_file)
        if not Path(config.init).is_file():
            raise UserError(f"cnn.init must be imagenet, none or an existing file; got {config.init!r}")
        return cls(config.backbone, Path(config.init))

    def identity(self) -> dict[str, Any]:
        """What goes into the fingerprint of everything computed with this tower."""
        return {"backbone": self.backbone, "weights": self._origin()}

    def save(self, path: Path) -> None:
        """Write the backbone's weights to a safetensors file that keeps their identity (they are the same)."""
        state = {key: value.contiguous().clone() for key, value in self.build().state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(state, temporary, metadata={_ORIGIN: self._origin()})

    def _origin(self) -> str:
        if self.file is None:
            return f"random-{self.seed}"
        if self.file.suffix == ".safetensors":
            try:
                with safe_open(self.file, framework="pt") as opened:
                    origin = (opened.metadata() or {}).get(_ORIGIN)
            except (OSError, SafetensorError) as error:
                raise UserError(f"{self.file} cannot be read as safetensors ({error})") from error
            if origin is not None:
                return str(origin)
        return weights.digest([self.file])

    def build(self) -> Backbone:
        """The backbone with its weights, in evaluation mode.

        Raises:
            UserError: if the file is damaged or holds another network's weights.
        """
        try:
            if self.file is None:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(self.seed)
                    return build_backbone(self.backbone).eval()
            if self.file.suffix == ".safetensors":
                return self._build_own()
            return build_backbone(self.backbone, _load_original(self.file)).eval()
        except ValueError as error:
            raise UserError(f"{self.file}: {error}" if self.file else str(error)) from error

    def _build_own(self) -> Backbone:
        backbone = build_backbone(self.backbone)
        try:
            backbone.load_state_dict(load_file(str(self.file)))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"{self.file} does not hold the weights of {self.backbone}: {error}") from error
        return backbone.eval()


@dataclass(frozen=True)
class TowerInput:
    """A decoded poster as a backbone takes it: a normalised tensor 3 x H x W.

    Attributes:
        backbone: one of `fusion.list_backbones`.
        size: height and width in pixels.
    """

    backbone: str
    size: tuple[int, int]

    @classmethod
    def of(cls, config: CnnConfig) -> TowerInput:
        """Of a configured backbone, in its own size where none is set."""
        return cls(config.backbone, config.size or backbone_spec(config.backbone).input_size)

    def __call__(self, picture: Picture) -> torch.Tensor:
        """Resize and normalise one poster."""
        return _transform(self.backbone, self.size)(picture.pixels)


@cache
def _transform(backbone: str, size: tuple[int, int]) -> PosterTransform:
    return PosterTransform(backbone_spec(backbone), size)


class SharedTower:
    """A frozen backbone that several extractors look through, at one pass a batch.

    It remembers the feature maps of the last batch, of the watched stages alone: whoever asks next for the same batch
    gets them, or goes on from them.

    Args:
        config: says the input's size.
        weights: of the backbone.
        device: where it computes.
    """

    def __init__(self, config: CnnConfig, weights: TowerWeights, *, device: str) -> None:
        self.input = TowerInput.of(config)
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
            stage: one of the backbone's.
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


def _load_original(file: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        # Not torch's own words: they tell how to run whatever code the file may hold.
        raise UserError(f"{file} is damaged, or no file of weights alone; it must be a state dict") from error
    if not isinstance(state, dict):
        raise UserError(f"{file} must hold a state dict; got a {type(state).__name__}")
    return state
