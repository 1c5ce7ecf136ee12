"""The small layers: dropout keeps the share and the mean that it says, and is torch's own elsewhere."""

from __future__ import annotations

import pytest
import torch

from fusion.layers import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.6])
def test_dropout_zeroes_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 1000)
    y = Dropout(p)(x)
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=0.003)  # six standard errors
    assert torch.unique(y).tolist() == pytest.approx([0, 1 / (1 - p)])
    assert float(y.mean()) == pytest.approx(1, abs=0.01)


def test_the_gradient_passes_where_the_value_does():
    torch.manual_seed(0)
    x = torch.randn(50, 40, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0, 1 / 0.7).float())


def test_a_seed_repeats_the_mask_and_two_calls_differ():
    layer, x = Dropout(0.5), torch.ones(64, 64)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_no_dropout_in_evaluation_nor_at_zero():
    x = torch.randn(8, 8)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_half_precision_stays():
    assert Dropout(0.5)(torch.ones(4, 4, dtype=torch.bfloat16)).dtype is torch.bfloat16
