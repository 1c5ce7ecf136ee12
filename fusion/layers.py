"""Small layers that several parts share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout` with a cheaper mask on the CPU.

    torch draws Bernoulli numbers there at 11 ns each, five times as long as uniform ones: a tenth of the time of a
    training on cached features.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Zero each element with probability p in training, and scale the others by 1 / (1 - p)."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        return input * ((torch.rand(input.shape) >= self.p).to(input.dtype) / (1 - self.p))


class BatchNormRows(nn.BatchNorm1d):
    """Batch normalisation of B x C rows that also accepts one poster in training.

    One row has no variance, and `nn.BatchNorm1d` refuses it; the last batch of an epoch may hold one poster.
    Such a batch is normalised by the running statistics and does not change them.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each column: B x C -> B x C."""
        if self.training and input.shape[0] == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)


def check_probability(name: str, value: float) -> float:
    """``value``, which is the argument called ``name``, once it is known to be in [0, 1); ValueError otherwise."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
    return value


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """``value``, which is the argument called ``name``, once it is known to be allowed; ValueError otherwise."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {list(allowed)}, got {value!r}")
    return value


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """A block in which what is computed from `x` keeps the type that it is given, also inside autocast.

    A tensor on torch's meta device has a shape and no values, and autocast refuses it.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(torch.ones(1)):
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.float32
    """
    return nullcontext() if x.is_meta else torch.autocast(device_type=x.device.type, enabled=False)
