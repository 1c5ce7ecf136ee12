"""The branch `photo`: the whole poster through a second, frozen image network, which learnt from photographs.

The network of `cnn` has usually learnt the genres of the training posters, and what learns behind it trusts it too
much. Another one, which has seen none of them, errs in other ways. The branch is off where nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from mmposter.branches.base import BranchDeclaration
from mmposter.branches.cnn import CnnConfig
from mmposter.branches.settings import ConfigSection, Name, Side, Width
from mmposter.files.paths import is_a_path

if TYPE_CHECKING:
    from fusion import Branch
    from mmposter.config import Config
    from mmposter.features.extractors import BranchExtractors, Making
    from mmposter.features.pins import Pins
    from mmposter.features.sizes import Sizes

NAME = "photo"


class PhotoConfig(ConfigSection):
    """The whole poster through a second image network, frozen, with its published weights."""

    backbone: Name = "efficientnet_lite0"
    """As ``cnn.backbone``, such as ``hf/openai/clip-vit-base-patch32``."""
    size: tuple[Side, Side] | None = None
    """Height and width in pixels; None takes the backbone's own."""
    dim: Width = 256
    dropout: float = Field(0.6, ge=0, lt=1)


class PhotoDeclaration(BranchDeclaration):
    """The picture, as a network of photographs sees it."""

    name = NAME
    meaning = "the picture as a photograph"
    colour = "#E69F00"
    section = PhotoConfig
    usual = False
    weighted = (NAME,)
    record_keys = ("photo.backbone", "photo.size")
    model_names: ClassVar[Mapping[str, int]] = {"photo.backbone": 3}
    widths: ClassVar[Mapping[str, tuple[str, ...]]] = {"photo.pooled": ("num_features",)}

    def describe(self, config: Config) -> str:
        return f"the picture once more, through {config.photo.backbone}, which learnt from photographs alone"

    def network(self, config: Config) -> CnnConfig:
        return CnnConfig(backbone=config.photo.backbone, init="imagenet", size=config.photo.size)

    def extractors(self, config: Config, making: Making) -> BranchExtractors:
        from mmposter.features.extractors import BranchExtractors, PhotoExtractor

        photo = PhotoExtractor.of(self.network(config), making.pins, device=making.device, offline=making.offline)
        return BranchExtractors(self.name, (photo,), photo)

    def module(self, config: Config, sizes: Sizes) -> Branch:
        from fusion import PhotoBranch

        photo = config.photo
        return PhotoBranch(sizes.further[NAME]["num_features"], dim=photo.dim, dropout=photo.dropout)

    def unpackable(self, config: Config) -> str | None:
        if is_a_path(config.photo.backbone.removeprefix("hf/")):
            return "a pack names its networks, and this one is a folder of yours. Use --set photo.backbone=NAME"
        return None

    def same_records(self, key: str, asked: Any, config: Config, pins: Pins) -> bool | None:
        same_network = config.photo.backbone == pins.settings["photo.backbone"]
        return pins.same_size(NAME, self.network(config)) if key == "photo.size" and same_network else None


BRANCH = PhotoDeclaration()
