"""Channel gates: statistics of a feature map in, one weight a channel out.

`GramGate` belongs to the Gram layer (`fusion.gram` has its source and says what is our choice). `SEGate` and `SRMGate`
are published gates to compare it with: they read the mean alone, or the mean and the standard deviation.

Letters: B posters, C' channels of the stage, R side of the Gram matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusion.layers import BatchNormRows
from fusion.registry import ClassRegistry

Statistics = Mapping[str, Tensor]
"""gram B x R x R, mean B x C', std B x C', as `fusion.gram.StageStatistics` returns them."""


class ChannelGate(nn.Module):
    """Base of the gates; all take the same two sizes, so that one can replace another.

    Args:
        channels: C', how many weights.
        reduced: R, side of the Gram matrix; gates that do not read the matrix ignore it.
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        if channels < 1 or not 1 <= reduced <= channels:
            raise ValueError(f"reduced must be in 1..channels = {channels}, got {reduced}")
        self.channels = channels
        self.reduced = reduced

    def forward(self, stats: Statistics) -> Tensor:
        """Weights of the channels: statistics -> B x C' in (0, 1)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


_GATES = ClassRegistry("gate", ChannelGate)
register_gate = _GATES.register
"""Class decorator: register a `ChannelGate` under the name that configurations use."""
build_gate = _GATES.build
"""The gate called ``name``, made with these options."""
gate_names = _GATES.names
"""Names of all registered gates, sorted."""
gate_options = _GATES.options
"""Types and defaults of the gate's options; those without a default are widths of its input."""


@register_gate("gram")
class GramGate(ChannelGate):
    """s = sigmoid(BN(w_i . K_i)) with one filter of length R for each row of the Gram matrix.

    Where the map was reduced (R < C'), a linear layer expands the R numbers to the C' channels before the sigmoid
    (expansion as in global second-order pooling, arXiv 1811.12006).

    Examples:
        >>> GramGate(channels=12, reduced=4)({"gram": torch.rand(5, 4, 4)}).shape
        torch.Size([5, 12])
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__(channels, reduced)
        self.rows = nn.Conv1d(reduced, reduced, kernel_size=reduced, groups=reduced, bias=False)
        self.norm = BatchNormRows(reduced)
        self.expansion = nn.Linear(reduced, channels) if reduced < channels else nn.Identity()

    def forward(self, stats: Statistics) -> Tensor:
        """Weights of the channels: gram B x R x R -> B x C' in (0, 1)."""
        # The grouped convolution is one product a row, its filter as long as the row; written out it is much faster.
        z = self.norm(torch.linalg.vecdot(stats["gram"], self.rows.weight.squeeze(1)))  # B x R
        return torch.sigmoid(self.expansion(z))


@register_gate("se")
class SEGate(ChannelGate):
    """Squeeze-and-excitation (Hu, Shen, Sun 2018, arXiv 1709.01507): two linear layers on the channel means.

    Args:
        ratio: the hidden layer has C' / ratio units, 16 in the paper; at least 8, because one or two ReLUs may be 0 for
            every poster.

    Examples:
        >>> SEGate(channels=12, reduced=4)({"mean": torch.rand(5, 12)}).shape
        torch.Size([5, 12])
    """

    def __init__(self, channels: int, reduced: int, ratio: int = 16) -> None:
        super().__init__(channels, reduced)
        hidden = max(8, channels // ratio)
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, stats: Statistics) -> Tensor:
        """Weights of the channels: mean B x C' -> B x C' in (0, 1)."""
        return torch.sigmoid(self.layers(stats["mean"]))


@register_gate("srm")
class SRMGate(ChannelGate):
    """Style-based recalibration (Lee, Kim, Nam 2019, arXiv 1903.10829): s = sigmoid(BN(w_i . [mean_i, std_i])).

    Examples:
        >>> SRMGate(channels=12, reduced=4)({"mean": torch.rand(5, 12), "std": torch.rand(5, 12)}).shape
        torch.Size([5, 12])
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__(channels, reduced)
        self.weight = nn.Parameter(torch.randn(channels, 2) / 2**0.5)
        self.norm = BatchNormRows(channels)

    def forward(self, stats: Statistics) -> Tensor:
        """Weights of the channels: mean and std, both B x C' -> B x C' in (0, 1)."""
        style = torch.stack([stats["mean"], stats["std"]], dim=2)  # B x C' x 2
        return torch.sigmoid(self.norm((style * self.weight).sum(dim=2)))
