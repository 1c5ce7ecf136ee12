"""From a configuration to a model: the only place where config keys meet the classes of `fusion`."""

from __future__ import annotations

from collections.abc import Mapping
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
    build_classifier,
    build_head,
    build_loss,
    head_options,
    loss_options,
    map_shape,
)
from fusion.backbones import Undrawn
from mmposter.branches import declared
from mmposter.branches.style import NAME as STYLE
from mmposter.config import Config, LossConfig
from mmposter.errors import UserError
from mmposter.features.sizes import Sizes
from mmposter.features.tower import measured_stage

_MOST_PARAMETERS = 2_000_000_000
"""Of all that is trained on frozen features: 8 GB. Ours have a million."""


def build_tower(config: Config, backbone: Backbone) -> ImageTower:
    """The image tower for the finetune regime, with the Gram layer where the style branch is on."""
    try:
        backbone.norms_held = config.cnn.batch_norms == "held"
        backbone.set_trainable(config.cnn.trainable)
        tapped = measured_stage(backbone, config.style) if STYLE in config.branches else (None, None)
        return ImageTower(backbone, *tapped)
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

    `tower` is the image network in the finetune regime; None reads cached features.

    Raises:
        UserError: widths that together ask for more parameters than any machine of ours holds.
    """
    # Counted where nothing takes memory; to draw weights there makes torch load its compiler, for two seconds.
    with torch.random.fork_rng(devices=[]), Undrawn(), torch.device("meta"):
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
    config: Config,
    backbone: Backbone,
    size: tuple[int, int],
    num_genres: int,
    state_dict: Mapping[str, torch.Tensor] | None = None,
) -> ImageClassifier:
    """The network that `config` describes where ``cnn.classifier`` is not ``fusion``, its last layer from torch's
    global generator.

    `size` is the height and width of its pictures. `state_dict` are the original library's weights, for a classifier
    that has more than a last layer; None: random.

    Raises:
        UserError: for a stage that the backbone does not have, or pictures too small for the network.
    """
    cnn = config.cnn
    assert cnn.classifier != "fusion"
    try:
        classifier = build_classifier(
            cnn.classifier,
            cnn.backbone,
            backbone,
            map_shape(backbone, size),
            num_genres,
            hidden=cnn.hidden,
            dropout=cnn.dropout,
            dropout_layers=cnn.dropout_layers,
            state_dict=state_dict,
        )
        model = ImageClassifier(backbone, classifier)
        backbone.norms_held = cnn.batch_norms == "held"
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
