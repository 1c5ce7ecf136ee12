"""From outside: a source of posters, a library of image networks, a head and a loss, each registered by its decorator.

    mmposter --plugin examples/other_parts.py prepare films.jsonl --format jsonl --out DATA
    mmposter --plugin examples/other_parts.py train DATA --out RUN --branches cnn --init none \
        --set cnn.backbone=tiny/16 --set fusion.head=mean --set loss.name=hinge --set loss.options.margin=0.5

Nothing of mmposter is changed for it. A plugin may bring any one of these alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fusion import Backbone, BackboneSpec, Head, Loss, register_head, register_library, register_loss
from mmposter.data.sources import PosterRow, SourceRows, register_source
from mmposter.errors import UserError


@register_source("jsonl")
def read_jsonl(source: Path) -> SourceRows:
    """One JSON object a line: the poster's file, and its genres.

    Raises:
        UserError: it is no file.
    """
    if not source.is_file():
        raise UserError(f"format jsonl needs a file of lines; {source} is none")
    found = SourceRows(root=source.resolve().parent)
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            film = json.loads(line)
            name, genres = film["file"], tuple(film["genres"])
        except (ValueError, KeyError, TypeError) as error:
            found.rows.append(PosterRow(f"line {number}", None, problem=f"line {number} cannot be read: {error!r}"))
            continue
        found.rows.append(PosterRow(name, found.root / name, genres=genres))
    return found


def tiny_spec(name: str, *_: object) -> BackboneSpec:
    """Facts about ``tiny/<channels>``.

    Raises:
        ValueError: the name has another form.
    """
    channels = name.removeprefix("tiny/")
    if not channels.isdecimal() or not 1 <= int(channels) <= 1024:
        raise ValueError(f"backbone must be tiny/CHANNELS with 1 to 1024 channels, got {name!r}")
    return BackboneSpec(name, (0.5,) * 3, (0.25,) * 3, (96, 64), None, None, None, "MIT")


def count_tiny(name: str, *_: object) -> int:
    """Parameters of ``tiny/<channels>``."""
    return sum(parameter.numel() for parameter in build_tiny(name).parameters())


@register_library("tiny/", tiny_spec, count_tiny, "CHANNELS")
def build_tiny(
    name: str, state_dict: object = None, *, size: tuple[int, int] | None = None, config: object = None
) -> Backbone:
    """Two layers of ``<channels>`` channels. There are no published weights.

    Raises:
        ValueError: as in `tiny_spec`, or weights were given.
    """
    if state_dict is not None:
        raise ValueError(f"state_dict must be None: there are no weights of {name}")
    spec = tiny_spec(name)
    channels = int(name.removeprefix("tiny/"))
    stages = {
        "block1": nn.Sequential(nn.Conv2d(3, channels, 5, stride=4), nn.ReLU()),
        "block2": nn.Sequential(nn.Conv2d(channels, channels, 3, stride=2), nn.ReLU()),
    }
    return Backbone(name, stages, input_size=size or spec.input_size)


@register_head("mean")
class MeanHead(Head):
    """Logits = the mean of what each present branch says through a linear map of its own; zeros where none is.

    Args:
        dims: D_k of each branch.
        num_genres: G.
        bias: whether the maps have one.
    """

    def __init__(self, dims: Sequence[int], num_genres: int, bias: bool = True) -> None:
        super().__init__(dims, num_genres)
        self.maps = nn.ModuleList([nn.Linear(dim, num_genres, bias=bias) for dim in dims])

    def forward(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        said = torch.stack([layer(one) for layer, one in zip(self.maps, embeddings, strict=True)], dim=1)  # B x K x G
        return said.masked_fill(~present.unsqueeze(2), 0).sum(dim=1) / present.sum(dim=1, keepdim=True).clamp(min=1)


@register_loss("hinge")
class HingeLoss(Loss):
    """Mean of max(0, margin - logit) over the genres that a poster has, and of max(0, margin + logit) over the others.

    Args:
        margin: positive.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if not margin > 0:
            raise ValueError(f"margin must be positive, got {margin}")
        self.margin = margin

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (self.margin - (2 * targets - 1) * logits.float()).clamp(min=0).mean()
