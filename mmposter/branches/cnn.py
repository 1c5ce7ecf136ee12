"""The branch `cnn`: the whole poster through an image network, which the branch `style` shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mmposter.branches.base import BranchDeclaration
from mmposter.branches.settings import ConfigSection, Name, Side, Width
from mmposter.files.paths import file_here, is_a_path, last_part

if TYPE_CHECKING:
    from fusion import Branch
    from mmposter.config import Config
    from mmposter.features.extractors import BranchExtractors, Making
    from mmposter.features.pins import Pins
    from mmposter.features.sizes import Sizes

NAME = "cnn"


class CnnConfig(ConfigSection):
    """The whole poster through an image network."""

    backbone: Name = "densenet121"
    """A name of ours, ``timm/NAME``, or ``hf/NAME`` (a vision model of the Hugging Face hub, or a folder with one)"""
    init: Name = "auto"
    """``imagenet`` (the backbone's published weights), ``posters`` (those of the model that travels with mmposter),
    ``none`` (random), or the path of a state dict. ``auto``: ``posters`` for its backbone, else ``imagenet``."""
    size: tuple[Side, Side] | None = None
    """Height and width in pixels; None takes the backbone's own."""
    normalisation: Literal["backbone", "unit"] = "backbone"
    """``backbone``: by its own mean and deviation; ``unit``: pixel values in 0-1, as some published systems have it."""
    resize: Literal["backbone", "bicubic", "bilinear", "nearest"] = "backbone"
    """The filter; ``backbone``: what its own library records, for a file of ours what it was made with"""
    classifier: Literal["fusion", "own", "dense"] = "fusion"
    """``fusion``: a branch among others. Published systems, with branches cnn and regime finetune alone: ``own`` (the
    network's own classifier, its last layer made for our genres) or ``dense`` (the flattened map through ``hidden``)"""
    hidden: tuple[Width, ...] = Field((), max_length=16)
    """classifier dense: the widths of the layers between the map and the genres"""
    dropout_layers: int | None = Field(None, ge=0, le=16)
    """classifier dense: dropout follows so many of the hidden layers, the first ones; None: each"""
    trainable: Name = "full"
    """finetune only: ``full``, ``frozen``, or the first stage that learns (such as ``block4``)."""
    batch_norms: Literal["batch", "held"] = "batch"
    """finetune only: normalise by each batch, or ``held``: by the statistics that came with the weights, as in use"""
    dim: Width = 256
    dropout: float = Field(0.6, ge=0, lt=1)


class CnnDeclaration(BranchDeclaration):
    """The picture."""

    name = NAME
    meaning = "the picture"
    colour = "#0072B2"
    section = CnnConfig
    on_images = True
    weighted = (NAME,)
    record_keys = ("cnn.backbone", "cnn.init", "cnn.size", "cnn.normalisation", "cnn.resize")
    model_names: ClassVar[Mapping[str, int]] = {"cnn.init": 1}
    widths: ClassVar[Mapping[str, tuple[str, ...]]] = {"cnn.pooled": ("num_features",)}

    def describe(self, config: Config) -> str:
        return f"the picture, through {config.cnn.backbone}"

    def check(self, config: Config) -> None:
        if config.cnn.classifier != "fusion" and (config.branches != (NAME,) or config.regime != "finetune"):
            raise ValueError(
                f"cnn.classifier={config.cnn.classifier} is a network without fusion: allowed with branches cnn and "
                f"regime finetune; got {','.join(config.branches)} and {config.regime}"
            )
        if config.cnn.classifier != "fusion" and NAME in config.train.lr:
            raise ValueError(
                f"cnn.classifier={config.cnn.classifier} is one network, whose rates are train.learning_rate and "
                f"train.backbone_learning_rate; got train.lr.cnn={config.train.lr[NAME]:g}"
            )

    def network(self, config: Config) -> CnnConfig:
        return config.cnn

    def extractors(self, config: Config, making: Making) -> BranchExtractors:
        from mmposter.features.extractors import BranchExtractors, CnnExtractor

        assert making.tower is not None  # as it looks through one
        cnn = CnnExtractor(making.tower)
        return BranchExtractors(self.name, (cnn,), cnn)

    def sizes(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"num_features": metadata.get("num_features", 0)}

    def module(self, config: Config, sizes: Sizes) -> Branch:
        from fusion import CnnBranch

        return CnnBranch(sizes.num_features, dim=config.cnn.dim, dropout=config.cnn.dropout)

    def own_classifier(self, values: Mapping[str, Any]) -> str | None:
        classifier = str(values.get(NAME, {}).get("classifier", "fusion"))  # older runs do not say which
        return None if classifier == "fusion" else classifier

    def for_others(self, config: Config) -> Mapping[str, Any]:
        init = config.cnn.init  # the weights themselves go with the run
        return {"init": last_part(init)} if is_a_path(init) or file_here(init) is not None else {}

    def same_records(self, key: str, asked: Any, config: Config, pins: Pins) -> bool | None:
        return pins.same_network(key, asked, config)


BRANCH = CnnDeclaration()
