"""Batch norms: new statistics for averaged weights, and norms whose statistics are fixed in training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fusion.backbones.base import evaluating


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
    norms = _batch_norms(network)
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


def hold_batch_norms(network: nn.Module) -> None:
    """Normalise by the running statistics in training too, until `network.train()` is called.

    Training and use then agree: with a batch's own statistics a network can come to depend on the other images of the
    batch, and does badly without them. (Y. Wu and J. Johnson, "Rethinking 'Batch' in BatchNorm", 2021, arXiv
    2105.07576, on frozen batch norms.)

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
        >>> hold_batch_norms(network)
        >>> [part.training for part in network]
        [True, False]
    """
    for norm in _batch_norms(network):
        norm.eval()


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    return [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
