"""The image tower's weights: which backbone, from which file, with which identity."""

from __future__ import annotations

from dataclasses import dataclass
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

# The key in a safetensors header under which `TowerWeights.save` keeps what the weights were made from.
_ORIGIN = "mmposter_weights"


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


def _load_original(file: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        # Not torch's own words: they tell how to run whatever code the file may hold.
        raise UserError(f"{file} is damaged, or no file of weights alone; it must be a state dict") from error
    if not isinstance(state, dict):
        raise UserError(f"{file} must hold a state dict; got a {type(state).__name__}")
    return state
