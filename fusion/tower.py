"""The image network with a tap: pooled features and style statistics from one pass.

Letters: B posters, C channels of the final map, C' channels of the tapped stage, R side of the Gram matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from fusion.backbones.base import Backbone, global_average
from fusion.base import POOLED, STYLE
from fusion.gram import StageStatistics

Gate = Callable[[Mapping[str, Tensor]], Tensor]
"""From gram B x R x R, mean and std B x C' to one weight a channel, B x C'."""


class ImageTower(nn.Module):
    """Images in, the "cnn.*" and "style.*" entries of a batch out.

    Args:
        backbone: the image network.
        stage: the stage after which style is measured and channels are re-weighted; None: the last.
        statistics: what is measured there; None: no style is measured.

    Raises:
        ValueError: unknown stage, or statistics made for another number of channels.

    Examples:
        >>> import torch
        >>> from fusion import build_backbone
        >>> tower = ImageTower(build_backbone("cnn3"), "conv2", StageStatistics(channels=64, reduced=8))
        >>> {name: tuple(value.shape) for name, value in tower(torch.rand(2, 3, 96, 64)).items()}
        {'style.gram': (2, 8, 8), 'style.mean': (2, 64), 'style.std': (2, 64), 'cnn.pooled': (2, 128)}
    """

    def __init__(self, backbone: Backbone, stage: str | None = None, statistics: StageStatistics | None = None) -> None:
        super().__init__()
        stage = backbone.last_stage if stage is None else stage
        if stage not in backbone.stages:
            raise ValueError(f"stage must be one of {backbone.stage_names}, got {stage!r}")
        if statistics is not None and statistics.channels != backbone.stage_channels[stage]:
            raise ValueError(
                f"statistics must be made for the {backbone.stage_channels[stage]} channels of stage {stage!r}, "
                f"got {statistics.channels}"
            )
        self.backbone = backbone
        self.stage = stage
        self.statistics = statistics

    @property
    def tap_is_last(self) -> bool:
        """Whether the tapped map is the final one, so that re-weighting can wait until after pooling."""
        return self.stage == self.backbone.last_stage

    @property
    def widths(self) -> dict[str, int]:
        """The entries that it can make, each with its last dimension."""
        style = self.statistics
        if style is None:
            return {POOLED: self.backbone.num_features}
        sizes = {"gram": style.gram_size, "mean": style.channels, "std": style.channels}
        return {POOLED: self.backbone.num_features} | {f"{STYLE}{name}": size for name, size in sizes.items()}

    def forward(
        self, images: Tensor, gate: Gate | None = None, *, pooled: bool = True, style: bool = True
    ) -> dict[str, Tensor]:
        """Run the network once.

        Args:
            images: B x 3 x H x W, normalised as the backbone's spec says.
            gate: gives the weights that multiply the tapped map before the later stages run; None: no re-weighting.
            pooled: whether cnn.pooled is wanted; where not, the stages after the tap are not run.
            style: whether the style.* entries are wanted.

        Returns:
            cnn.pooled B x C, if wanted; style.gram B x R x R, style.mean and style.std B x C' (of the map before
            re-weighting), if wanted.

        Raises:
            ValueError: style or a gate is wanted, and the tower has no statistics.
        """
        entries: dict[str, Tensor] = {}
        x = self.backbone.forward_stages(images, stop=self.stage)
        if style or gate is not None:
            if self.statistics is None:
                raise ValueError("statistics must be given to the tower where style or a gate is asked for, got None")
            stats = self.statistics(x)
            if style:
                entries.update({f"{STYLE}{name}": value for name, value in stats.items()})
            if gate is not None and pooled:
                x = x * gate(stats).to(x.dtype)[:, :, None, None]
        if pooled:
            entries[POOLED] = global_average(self.backbone.forward_stages(x, start=self.stage))
        return entries
