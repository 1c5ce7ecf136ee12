"""What a network of another library is: found beside its weights once, then kept with all that was trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusion import BackboneSpec, backbone_spec
from fusion.backbones import DESCRIPTION_FILES, HF, TIMM, of_library, require_modest
from mmposter.errors import UserError
from mmposter.files.paths import folder_here
from mmposter.files.plain import MEGABYTE
from mmposter.files.strict_json import mapping, number, read_json, shown, text, whole
from mmposter.pretrained import catalogue, resolver
from mmposter.pretrained.resolver import WeightSource

_LARGEST = 16 * MEGABYTE  # of a config.json
_LARGEST_SIDE = 8192  # pixels

# Of a config.json: what says nothing of the network, or names code and folders that are never looked at.
_IDLE = (
    "_commit_hash",
    "_name_or_path",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "text_config",
    "torch_dtype",
    "transformers_version",
)


@dataclass(frozen=True)
class Architecture:
    """Enough to build a ``timm/`` or ``hf/`` network and to feed it, without the files that said it first."""

    label: str  # its kind: the same wherever the files lie
    mean: tuple[float, ...]  # of the red, green and blue channel of an image in 0-1
    std: tuple[float, ...]  # of the same
    input_size: tuple[int, int]  # height and width in pixels
    # hf: what its `config.json` says of the network; None where the name is enough
    config: Mapping[str, Any] | None = field(default=None, hash=False)
    # the filter that is recorded beside the weights; no part of the network, so it is kept with neither
    resize: str = field(default=BackboneSpec.resize, compare=False)

    @classmethod
    def find(cls, backbone: str, *, offline: bool = False) -> Architecture | None:
        """The architecture behind a name; None for `fusion.list_backbones`, whose names are enough.

        Raises:
            UserError: for a name that nobody knows, or files that are nowhere.
        """
        if not of_library(backbone):
            return None
        config, preprocessor = None, None
        if backbone.startswith(HF):
            folder = hf_folder(backbone, DESCRIPTION_FILES, offline=offline)
            config, preprocessor = (_read(folder / name) for name in DESCRIPTION_FILES)
            config = _checked({key: value for key, value in config.items() if key not in _IDLE})
        try:
            spec = backbone_spec(backbone, config, preprocessor)
        except ValueError as error:
            raise UserError(f"cnn.{error}") from error
        # timm's tag names weights, not the network; a model's folder says nothing of it either.
        label = f"{HF}{config.get('model_type')}" if config is not None else backbone
        label = label.partition(".")[0] if backbone.startswith(TIMM) else label
        return cls(label, spec.mean, spec.std, spec.input_size, config, spec.resize)

    def to_json(self) -> dict[str, Any]:
        """Plain values for fingerprints and run folders."""
        return {
            "label": self.label,
            "mean": list(self.mean),
            "std": list(self.std),
            "input_size": list(self.input_size),
            "config": None if self.config is None else dict(self.config),
        }

    @classmethod
    def from_json(cls, values: Any) -> Architecture:
        """The inverse of `to_json` (ValueError: values that no network has)."""
        known = mapping(values, "architecture")
        height, width = (whole(side, "input_size", least=1, most=_LARGEST_SIDE) for side in known["input_size"])
        mean, std = (tuple(number(value, name) for value in known[name]) for name in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or not all(std):
            raise ValueError(
                f"mean and std must be three numbers each, got {shown(known['mean'])}, {shown(known['std'])}"
            )
        config = None if known["config"] is None else _checked(mapping(known["config"], "config"))
        return cls(text(known["label"], "label"), mean, std, (height, width), config)


def hf_folder(backbone: str, files: tuple[str, ...], *, offline: bool) -> Path:
    """The folder that holds all `files` of an ``hf/`` model: itself a folder, or found as any pretrained file is.

    Raises:
        UserError: as in `mmposter.pretrained.resolver.resolve`.
    """
    name = backbone.removeprefix(HF)
    folder = folder_here(name)
    if folder is not None:
        return resolver.resolve(WeightSource(name, files, "see its model card"), explicit=folder, offline=offline)
    return resolver.resolve(catalogue.hub(name, files, "see its model card"), offline=offline)


def _read(file: Path) -> dict[str, Any]:
    values = read_json(file, limit=_LARGEST, mend="get the model's folder again")
    if not isinstance(values, dict):
        raise UserError(f"{file} must hold a JSON object; got a {type(values).__name__}")
    return values


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """A ``config.json`` of sizes that a network may have (UserError: some are not)."""
    try:
        require_modest(config)
    except ValueError as error:
        raise UserError(f"{DESCRIPTION_FILES[0]} of the image network cannot be used: {error}") from error
    return dict(config)
