"""Batch norms of averaged weights: measured anew, and nothing else is touched."""

from __future__ import annotations

import torch
from torch import nn

from fusion import renew_batch_norms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(6, 5, 3, 2), nn.BatchNorm2d(5, momentum=0.3), nn.ReLU(),
    )  # fmt: skip


def batches(count: int = 20) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, 12, 12, generator=generator) * 2 + 1 for _ in range(count)]


def features(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images)


def test_the_statistics_are_the_plain_mean_over_batches():
    norm = nn.BatchNorm2d(3)
    shown = batches(3)
    renew_batch_norms(norm, shown)
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in shown]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in shown]).mean(0))


def test_a_network_with_wrong_statistics_sees_rightly_after():
    model = network()
    norms = (model[1], model[5])
    everything = torch.cat(batches())
    # The right features: every norm by the exact statistics of all that it sees.
    x = everything
    with torch.no_grad():
        for part in model:
            if isinstance(part, nn.BatchNorm2d):
                x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
            elif not isinstance(part, nn.Dropout):
                x = part(x)
    right = x[:32]
    for norm in norms:
        norm.running_mean.copy_(torch.randn_like(norm.running_mean) * 2)
        norm.running_var.fill_(0.05)
    error = (features(model, everything[:32]) - right).square().mean() / right.var()
    assert error > 1
    renew_batch_norms(model, batches())
    error = (features(model, everything[:32]) - right).square().mean() / right.var()
    assert error < 0.001


def test_weights_modes_and_momenta_stay():
    model = network().train()
    model[4].eval()
    before = {name: value.clone() for name, value in model.named_parameters()}
    state = torch.get_rng_state()
    renew_batch_norms(model, batches(2))
    assert torch.equal(torch.get_rng_state(), state)  # dropout drew nothing
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert [part.training for part in model] == [True, True, True, True, False, True, True]
    assert (model[1].momentum, model[5].momentum) == (0.1, 0.3)
    renew_batch_norms(nn.Sequential(nn.Conv2d(3, 6, 3)), batches(1))  # without any there is nothing to do
