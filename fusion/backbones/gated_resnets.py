"""ResNet with a channel gate in every residual block: the Gram layer's network, and its two controls.

Source: J. A. Wi, S. Jang, Y. Kim, "Poster-Based Multiple Movie Genre Classification Using Inter-Channel Features", IEEE
Access 8:66615 (2020), which compares a ResNet with Gram layers to the plain one and to squeeze-and-excitation. The
paper says only that the layer is inside the blocks. We put it where squeeze-and-excitation has it, on the last map X of
the residual path, before the addition: Y = s * X with s = sigmoid(z) (see `fusion.gram` and `fusion.gates`).

Initialisation: in a new gate z is 0 for any image, so s = 1/2, and Y would be half of X; the weight and bias of the
path's last norm are doubled to make up for it. A new network thus computes exactly what the plain ResNet does, the
pretrained features are unchanged, the sigmoid starts where it is steepest, and the formula is the published one. A gate
that starts near s = 1 would hardly learn, and a factor of 2 in the formula would be another layer.

The weights are those of torchvision's ResNet; the gates are new.

Letters: B posters, C channels, H W height and width.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fusion.backbones.base import BackboneSpec, named_sequence
from fusion.backbones.catalogue import register_backbone
from fusion.backbones.torchvision_families import cut_resnet, make_torchvision, torchvision_spec
from fusion.gates import build_gate, gate_names
from fusion.gram import StageStatistics, channel_moments

MAX_REDUCED = 64
"""Wider maps are reduced to this many channels before the Gram matrix is computed."""


class ChannelGating(nn.Module):
    """A feature map times one weight a channel, which a gate makes from the map's own statistics; all start at 1/2."""

    def __init__(self, channels: int, gate: str) -> None:
        super().__init__()
        reduced = min(MAX_REDUCED, channels)
        self.statistics: StageStatistics | None = None  # the other gates do not read the Gram matrix
        if gate == "gram":
            self.statistics = StageStatistics(channels, reduced if reduced < channels else None)
        self.gate = build_gate(gate, channels=channels, reduced=reduced)
        # The last layer before the sigmoid; with it at 0, z is 0.
        last = [layer for layer in self.gate.modules() if isinstance(layer, nn.Linear | nn.BatchNorm1d)][-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Y = s * X: B x C x H x W -> the same shape."""
        if self.statistics is None:
            stats = dict(zip(("mean", "std"), channel_moments(x), strict=True))
        else:
            stats = self.statistics(x)
        weights: Tensor = self.gate(stats)
        return x * weights.to(x.dtype)[:, :, None, None]


def _cut(model: Any, gate: str) -> dict[str, nn.Module]:
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in layer:
            name = "bn3" if hasattr(block, "bn3") else "bn2"
            norm: nn.BatchNorm2d = getattr(block, name)
            with torch.no_grad():
                norm.weight.mul_(2)
                norm.bias.mul_(2)
            gating = ChannelGating(norm.num_features, gate)
            setattr(block, name, named_sequence({"norm": norm, "gating": gating}))
    return cut_resnet(model)


def _spec(resnet: str, name: str) -> BackboneSpec:
    return replace(torchvision_spec(resnet), name=name)


for _gate in gate_names():
    for _resnet in ("resnet18", "resnet34", "resnet50"):
        register_backbone(f"{_gate}_{_resnet}", partial(_spec, _resnet), partial(_cut, gate=_gate))(
            partial(make_torchvision, _resnet)
        )
