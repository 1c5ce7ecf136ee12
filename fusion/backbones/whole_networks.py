"""Networks of other libraries that are not cut into stages: one stage up to the last map, and one for the pooling.

Letters: B images, C channels, H W height and width of the last map, N tokens, D the pooled features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from fusion.backbones.base import Backbone, evaluating, global_average

Layout: TypeAlias = Literal["NCHW", "NHWC", "NLC"]
"""Order of a library's own map: channels before or after the places, or B x N x C tokens."""

Features: TypeAlias = Callable[[Any, Tensor], Tensor]
"""From the network and images B x 3 x H' x W' to its last map in its own layout; importable, as it is pickled."""

Pool: TypeAlias = Callable[[Any, Tensor], Tensor]
"""From the network and that map to what its classifier reads, B x D; importable, as it is pickled."""

# Relative to the largest pooled value: far above float32's rounding, far below the difference to another pooling.
_TOLERANCE = 1e-4


class FeatureStage(nn.Module):
    """A network up to its last map, as B x C x H x W; tokens are B x C x N x 1, class token and all."""

    def __init__(self, network: nn.Module, features: Features, layout: Layout) -> None:
        super().__init__()
        self.network = network
        self.layout = layout
        self._features = features

    def forward(self, x: Tensor) -> Tensor:
        """Images B x 3 x H' x W' -> B x C x H x W."""
        return self.our_layout(self._features(self.network, x))

    def our_layout(self, x: Tensor) -> Tensor:
        """The network's own map as B x C x H x W."""
        if self.layout == "NHWC":
            return x.permute(0, 3, 1, 2)
        return x.transpose(1, 2).unsqueeze(3) if self.layout == "NLC" else x

    def own_layout(self, x: Tensor) -> Tensor:
        """The inverse of `our_layout`."""
        if self.layout == "NHWC":
            return x.permute(0, 2, 3, 1)
        return x.squeeze(3).transpose(1, 2) if self.layout == "NLC" else x


class PoolingStage(nn.Module):
    """The network's own pooling, with its norm or projection: B x C x H x W -> B x D x 1 x 1.

    Its weights are those of the stage before, which holds the network: the two learn or are frozen together.
    """

    def __init__(self, stage: FeatureStage, pool: Pool) -> None:
        super().__init__()
        self._stage = (stage,)  # in a tuple: a module under two names would stand twice in the state dict
        self._pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x D x 1 x 1."""
        (stage,) = self._stage
        return self._pool(stage.network, stage.own_layout(x))[:, :, None, None]


def whole_backbone(
    name: str, network: nn.Module, features: Features, pool: Pool, size: tuple[int, int], *, channels_last: bool = False
) -> Backbone:
    """A network as the stages ``map``, or ``tokens`` where it has no map, and ``pooled``, unless that is the average.

    Without the stage ``pooled``, the global average of the last stage is what the network's classifier reads.

    Args:
        name: for messages.
        network: the whole of it.
        features: gives its last map, or its tokens.
        pool: gives what its classifier reads of them.
        size: height and width of an image that it takes.
        channels_last: whether its map is B x H x W x C.

    Raises:
        ValueError: it gives neither one map nor one sequence of tokens.
    """
    with evaluating([network]), torch.no_grad():
        found = features(network, torch.zeros(1, 3, *size))
        if not isinstance(found, Tensor) or found.ndim not in (3, 4):
            got = f"{found.ndim} dimensions" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(f"backbone {name!r} must give one map or one sequence of tokens, got {got}")
        layout: Layout = "NLC" if found.ndim == 3 else "NHWC" if channels_last else "NCHW"
        stage = FeatureStage(network, features, layout)
        stages: dict[str, nn.Module] = {"tokens" if layout == "NLC" else "map": stage}
        if not _averages(stage, pool, found):
            stages["pooled"] = PoolingStage(stage, pool)
    return Backbone(name, stages, input_size=size, probe_size=size, map_stage=next(iter(stages))).train()


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two poolings of a map are the same but for rounding."""
    return one.shape == other.shape and bool((one - other).abs().max() <= _TOLERANCE * other.abs().max())


def _averages(stage: FeatureStage, pool: Pool, like: Tensor) -> bool:
    """Whether `pool` is the plain average for any weights: an untrained norm after it may change nothing."""
    weighted: list[nn.Module] = []
    holders = [
        part for part in stage.network.modules() if [*part.parameters(recurse=False), *part.buffers(recurse=False)]
    ]
    hooks = [part.register_forward_pre_hook(lambda part, _: weighted.append(part)) for part in holders]
    x = torch.randn(like.shape, generator=torch.Generator().manual_seed(0))  # a random network's own map may be flat
    try:
        pooled = pool(stage.network, x)
    finally:
        for hook in hooks:
            hook.remove()
    return not weighted and close(pooled, global_average(stage.our_layout(x)))
