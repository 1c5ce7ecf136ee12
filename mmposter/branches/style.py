"""The branch `style`: textures and colours, by Gram matrices of the image network's maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from mmposter.branches.base import BranchDeclaration
from mmposter.branches.cnn import BRANCH as PICTURE
from mmposter.branches.cnn import CnnConfig
from mmposter.branches.named import GATES
from mmposter.branches.settings import ConfigSection, Name, Width

if TYPE_CHECKING:
    from fusion import Branch
    from mmposter.config import Config
    from mmposter.features.extractors import BranchExtractors, Making
    from mmposter.features.sizes import Sizes

NAME = "style"


class StyleConfig(ConfigSection):
    """The Gram layer on the backbone's feature maps."""

    stage: Name | None = None
    """The stage after which the layer stands; None is the last one."""
    reduced: int | None = Field(64, ge=2, le=4096)
    """Channels after the 1x1 reduction before the Gram matrix; None keeps all of them."""
    normaliser: Literal["hw", "chw"] = "hw"
    gate: Annotated[str, GATES] = GATES.usual
    descriptor: Literal["reweighted", "gram", "both"] = "reweighted"
    reweight_cnn: bool = True
    """Whether the style weights also multiply the CNN's channels."""
    dim: Width = 128
    dropout: float = Field(0.5, ge=0, lt=1)


class StyleDeclaration(BranchDeclaration):
    """Textures and colours."""

    name = NAME
    meaning = "its style"
    colour = "#CC79A7"
    section = StyleConfig
    on_images = True
    weighted = (NAME,)
    record_keys = (*PICTURE.record_keys, "style.stage", "style.reduced", "style.normaliser")
    widths: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "style.gram": ("gram_size",),
        "style.mean": ("channels",),
        "style.std": ("channels",),
    }
    axes = ("style.gate",)

    def describe(self, config: Config) -> str:
        style = config.style
        where = f"stage {style.stage or 'last'} of {config.cnn.backbone}"
        return f"textures and colours, through a {style.gate} gate on {where}"

    def network(self, config: Config) -> CnnConfig:
        return config.cnn

    def extractors(self, config: Config, making: Making) -> BranchExtractors:
        from mmposter.features.extractors import BranchExtractors, StyleExtractor

        assert making.tower is not None  # as it looks through one
        style = StyleExtractor(making.tower, config.style)
        return BranchExtractors(self.name, (style,), style)

    def sizes(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        return {
            "style_channels": metadata.get("channels", 0),
            "gram_size": metadata.get("gram_size", 0),
            "tap_is_last": metadata.get("tap_is_last", True),
        }

    def module(self, config: Config, sizes: Sizes) -> Branch:
        from fusion import StyleBranch

        style = config.style
        return StyleBranch(
            sizes.style_channels,
            sizes.gram_size,
            dim=style.dim,
            gate=style.gate,
            descriptor=style.descriptor,
            dropout=style.dropout,
        )


BRANCH = StyleDeclaration()
