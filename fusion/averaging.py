"""Averaged weights, and statistics of batch norms that fit them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fusion.backbones.base import batch_norms, evaluating


def renew_batch_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recompute the running statistics of a network's batch norms: the plain mean over `batches`.

    The statistics of averaged weights are not the average of statistics: P. Izmailov et al., "Averaging Weights Leads
    to Wider Optima and Better Generalization", UAI 2018, arXiv 1803.05407. As `torch.optim.swa_utils.update_bn`; theirs
    runs the whole network in training mode, here dropout stays off, as it is where the statistics are used.

    Args:
        network: its statistics are replaced, its training modes are kept.
        batches: its input, each B x 3 x H x W with B of 2 or more.

    Examples:
        >>> norm = nn.BatchNorm2d(1)
        >>> renew_batch_norms(norm, [torch.full((2, 1, 4, 4), 3.0), torch.full((2, 1, 4, 4), 5.0)])
        >>> norm.running_mean
        tensor([4.])
    """
    norms = batch_norms(network)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating([network]), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # None: a cumulative average
        try:
            for batch in batches:
                network(batch)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def follow(average: nn.Module, model: nn.Module, step: int, kept: float) -> None:
    """Move averaged weights, and statistics, a little towards those of a model of the same kind.

    The average with falling weights of A. Tarvainen and H. Valpola, "Mean teachers are better role models", NeurIPS
    2017, arXiv 1703.01780; in the first steps it forgets faster, so that what it began with does not linger.

    Args:
        step: how many steps were taken, from 1.
        kept: in 0-1, what a late step leaves of the average.

    Examples:
        >>> average, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> for network, value in ((average, 0.0), (model, 1.0)):
        ...     _ = nn.init.constant_(network.weight, value)
        >>> follow(average, model, step=1000, kept=0.75)
        >>> average.weight.item()
        0.25
    """
    share = 1 - min(kept, (step + 1) / (step + 20))
    pairs = ((average.parameters(), model.parameters()), (average.buffers(), model.buffers()))
    with torch.no_grad():
        for old, new in (pair for mine, theirs in pairs for pair in zip(mine, theirs, strict=True)):
            if old.is_floating_point():
                old.lerp_(new, share)
            else:
                old.copy_(new)
