"""Pooling of sets under a mask."""

from __future__ import annotations

import pytest
import torch

from fusion.pooling import AttentionPool, DeepSetsPool, masked_max, masked_mean, masked_softmax, pack

X = torch.tensor([[[1.0, -5.0], [3.0, -1.0], [100.0, 100.0]], [[7.0, 7.0], [8.0, 8.0], [9.0, 9.0]]])
MASK = torch.tensor([[True, True, False], [False, False, False]])


def test_by_hand():
    assert masked_mean(X, MASK).tolist() == [[2.0, -3.0], [0.0, 0.0]]
    assert masked_max(X, MASK).tolist() == [[3.0, -1.0], [0.0, 0.0]]
    alone = torch.tensor([[False, True, False], [True, False, False]])
    assert masked_mean(X, alone).tolist() == masked_max(X, alone).tolist() == [[3.0, -1.0], [7.0, 7.0]]
    weights = masked_softmax(torch.tensor([[0.0, 0.0, 9.0], [1.0, 2.0, 3.0]]), MASK)
    assert weights.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_what_the_padding_holds_is_not_even_multiplied(garbage):
    dirty = X.masked_fill(~MASK.unsqueeze(2), garbage)
    assert masked_mean(dirty, MASK).tolist() == masked_mean(X, MASK).tolist()
    assert masked_max(dirty, MASK).tolist() == masked_max(X, MASK).tolist()


POOLS = [AttentionPool(8, heads=2), DeepSetsPool(8)]


@pytest.mark.parametrize("pool", POOLS, ids=["attention", "deepsets"])
def test_empty_sets_give_zeros_and_finite_gradients(pool):
    x = torch.randn(3, 4, 8, requires_grad=True)
    mask = torch.tensor([[True] * 4, [False] * 4, [True, False, True, False]])
    pooled = pool(x, mask)
    assert (pooled[1] == 0).all()
    assert (pooled[[0, 2]].abs().sum(dim=1) > 0).all()
    (pooled**2).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[~mask] == 0).all()
    assert (x.grad[mask].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("pool", POOLS, ids=["attention", "deepsets"])
def test_no_slots_at_all(pool):
    pooled = pool(torch.zeros(2, 0, 8), torch.zeros(2, 0, dtype=torch.bool))
    assert pooled.shape == (2, 8)
    assert (pooled == 0).all()


@pytest.mark.parametrize("pool", POOLS, ids=["attention", "deepsets"])
def test_order_and_padding_do_not_matter(pool):
    x, mask = torch.randn(2, 5, 8), torch.tensor([[True, True, False, True, False], [True] * 5])
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(pool(x[:, order], mask[:, order]), pool(x, mask))
    longer = torch.cat([x, torch.full((2, 3, 8), 1e4)], dim=1)
    wider = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(pool(longer, wider), pool(x, mask))


def test_attention_weights_sum_to_one_over_the_real_tokens():
    pool = AttentionPool(8, heads=4)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    weights = pool.weights(pack(torch.randn(2, 3, 8), mask), mask)
    assert weights.shape == (2, 4, 3)
    torch.testing.assert_close(weights[0].sum(dim=1), torch.ones(4))
    assert (weights[0, :, 1] == 0).all()
    assert (weights[1] == 0).all()


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_must_divide(heads):
    with pytest.raises(ValueError, match=f"positive divisor of dim = 8, got {heads}"):
        AttentionPool(8, heads)
