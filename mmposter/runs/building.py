"""From a configuration to a model: the only place where config keys meet the classes of `fusion`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from fusion import (
    Backbone,
    Branch,
    FusionModel,
    ImageClassifier,
    ImageTower,
    Loss,
    PosterModel,
    StageStatistics,
    build_classifier,
    build_head,
    build_loss,
    head_options,
    loss_options,
    map_shape,
)
from mmposter.branches import declared
from mmposter.branches.style import NAME as STYLE
from mmposter.config import Config, LossConfig
from mmposter.errors import UserError
from mmposter.files.strict_json import mapping, shown, texts, whole

_WIDEST = 65_536
"""Channels of a frozen network, or classes of a detector; a run that says more is damaged."""

_MOST_PARAMETERS = 2_000_000_000
"""Of all that is trained on frozen features: 8 GB. Ours have a million."""


@dataclass(frozen=True)
class Sizes:
    """Widths that come from the frozen parts, not from the configuration; 0 where a branch is off.

    Attributes:
        num_features: channels of the backbone's final map.
        style_channels: channels of the tapped stage.
        gram_size: side of the Gram matrix.
        tap_is_last: whether the tapped stage is the last one.
        class_names: the object detector's classes.
        embedding_dim: width of the text encoder.
        further: of branches from outside, by name, what their extractors say beside the records.
    """

    num_features: int = 0
    style_channels: int = 0
    gram_size: int = 0
    tap_is_last: bool = True
    class_names: tuple[str, ...] = ()
    embedding_dim: int = 0
    further: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        found = asdict(self)
        if not self.further:
            del found["further"]  # as runs have it that know our branches alone
        return found

    @classmethod
    def from_json(cls, values: Any) -> Sizes:
        """The inverse of `to_json`.

        Raises:
            ValueError: a width that no network has, or other keys.
        """
        known = mapping(values, "sizes")
        keys = [name for name in cls.__dataclass_fields__ if name != "further"]
        if set(known) - {"further"} != set(keys):
            raise ValueError(f"sizes must have the keys {', '.join(keys)}, got {shown(known)}")
        further = mapping(known.get("further", {}), "sizes.further")
        if not isinstance(known["tap_is_last"], bool):
            raise ValueError(f"tap_is_last must be true or false, got {shown(known['tap_is_last'])}")
        names = texts(known["class_names"], "class_names")
        if len(names) > _WIDEST:
            raise ValueError(f"class_names may be {_WIDEST} at most, got {len(names)}")
        widths = ("num_features", "style_channels", "gram_size", "embedding_dim")
        return cls(
            **{name: whole(known[name], name, most=_WIDEST) for name in widths},
            tap_is_last=known["tap_is_last"],
            class_names=names,
            further={name: mapping(said, f"sizes.further.{name}") for name, said in further.items()},
        )


def build_tower(config: Config, backbone: Backbone) -> ImageTower:
    """The image tower for the finetune regime, with the Gram layer where the style branch is on.

    Raises:
        UserError: for a stage that the backbone does not have.
    """
    stage, statistics = None, None
    try:
        backbone.set_trainable(config.cnn.trainable)
        if STYLE in config.branches:
            stage = config.style.stage or backbone.map_stage
            if stage not in backbone.stage_channels:
                raise ValueError(f"style.stage must be one of {', '.join(backbone.stage_names)}; got {stage!r}")
            channels = backbone.stage_channels[stage]
            reduced = None if config.style.reduced is None else min(config.style.reduced, channels)
            statistics = StageStatistics(channels, reduced, config.style.normaliser)
        return ImageTower(backbone, stage, statistics)
    except ValueError as error:
        raise UserError(str(error)) from error


def tower_sizes(tower: ImageTower) -> dict[str, Any]:
    """The part of `Sizes` that a tower knows."""
    known: dict[str, Any] = {"num_features": tower.backbone.num_features, "tap_is_last": tower.tap_is_last}
    if tower.statistics is not None:
        known |= {"style_channels": tower.statistics.channels, "gram_size": tower.statistics.gram_size}
    return known


def build_model(config: Config, sizes: Sizes, num_genres: int, tower: ImageTower | None = None) -> PosterModel:
    """The model that `config` describes, with fresh weights from torch's global generator.

    Args:
        config: branches, encodings, head.
        sizes: widths of the frozen parts.
        num_genres: G.
        tower: the image network in the finetune regime; None reads cached features.

    Raises:
        UserError: widths that together ask for more parameters than any machine of ours holds.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # which counts, and takes no memory
        count = sum(parameter.numel() for parameter in _fusion(config, sizes, num_genres).parameters())
    if count > _MOST_PARAMETERS:
        raise UserError(
            f"the configuration asks for {count:,} parameters beside the image network; {_MOST_PARAMETERS:,} are "
            "allowed. Set smaller widths (cnn.dim, style.dim, yolo.dim, ocr.dim, fusion.options.hidden)"
        )
    # Cached features can be re-weighted after pooling only (see PosterModel); elsewhere it needs the tower.
    possible = tower is not None or sizes.tap_is_last
    reweight = config.style.reweight_cnn and possible
    return PosterModel(_fusion(config, sizes, num_genres), tower, reweight, None if tower else sizes.tap_is_last)


def _fusion(config: Config, sizes: Sizes, num_genres: int) -> FusionModel:
    branches = nn.ModuleDict({name: declared(name).module(config, sizes) for name in config.branches})
    dims = [branch.output_dim for branch in branches.values() if isinstance(branch, Branch)]
    fusion = config.fusion
    try:
        head = build_head(
            fusion.head, dims=dims, num_genres=num_genres, **_used(fusion.options, head_options(fusion.head))
        )
    except ValueError as error:
        raise UserError(f"fusion.options: {error}") from error
    return FusionModel(branches, head, fusion.branch_dropout)


def _used(options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that wait for another head or loss."""
    return {key: value for key, value in options.items() if key in known}


def build_image_classifier(
    config: Config, backbone: Backbone, num_genres: int, state_dict: Mapping[str, torch.Tensor] | None = None
) -> ImageClassifier:
    """The network that `config` describes where ``cnn.classifier`` is not ``fusion``, its last layer from torch's
    global generator.

    Args:
        config: classifier, size and dropout.
        backbone: with its weights.
        num_genres: G.
        state_dict: the original library's weights, for a classifier that has more than a last layer; None: random.

    Raises:
        UserError: for a stage that the backbone does not have, or pictures too small for the network.
    """
    cnn = config.cnn
    assert cnn.classifier != "fusion"
    try:
        size = cnn.size or backbone.input_size
        classifier = build_classifier(
            cnn.classifier,
            cnn.backbone,
            backbone,
            map_shape(backbone, size),
            num_genres,
            hidden=cnn.hidden,
            dropout=cnn.dropout,
            state_dict=state_dict,
        )
        model = ImageClassifier(backbone, classifier)
        model.set_trainable(cnn.trainable)
    except ValueError as error:
        raise UserError(str(error)) from error
    return model


def build_training_loss(config: LossConfig, labels: torch.Tensor) -> Loss:
    """The loss that `config` names.

    Args:
        config: name and options.
        labels: N x G of the training posters, for losses that balance the genres.

    Raises:
        UserError: options that do not go together.
    """
    try:
        return build_loss(config.name, labels=labels, **_used(config.options, loss_options(config.name)))
    except ValueError as error:
        raise UserError(f"loss.options: {error}") from error
