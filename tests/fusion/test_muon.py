"""Muon: steps of equal singular values for matrices, AdamW's own for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fusion import Muon, convolution_weights, parameter_groups
from fusion.muon import orthogonalise


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1, bias=False),
        nn.Flatten(), nn.Linear(4 * 4 * 4, 2),
    )  # fmt: skip


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (100, 20), (1, 9), (64, 27)])
def test_singular_values_come_near_one_and_the_vectors_stay(shape):
    torch.manual_seed(0)
    rank = min(shape)
    left, right = (torch.linalg.qr(torch.randn(side, rank))[0] for side in shape)
    values = torch.logspace(0, -2, rank)  # the smallest is a hundredth of the largest
    found = orthogonalise(left * values @ right.T)
    assert found.shape == shape
    inside = left.T @ found @ right
    singular = torch.linalg.svdvals(found)
    assert 0.6 < singular.min() <= singular.max() < 1.3
    torch.testing.assert_close(inside, torch.diag(inside.diagonal()), atol=2e-4, rtol=0)
    torch.testing.assert_close(found, orthogonalise(left * values @ right.T * 1e-3), atol=1e-3, rtol=0)


def test_a_step_on_a_convolution_is_of_its_matrix_and_has_the_size_of_an_adamw_step():
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3, bias=False)
    before = layer.weight.detach().clone()
    optimizer = Muon(parameter_groups(layer, 0.0), [layer.weight], lr=0.1)
    layer.weight.grad = torch.randn_like(layer.weight)
    optimizer.step()
    step = (layer.weight.detach() - before) / 0.1
    assert step.shape == (32, 16, 3, 3)
    assert float(step.square().mean().sqrt()) == pytest.approx(0.2, rel=0.2)
    # Of the flattened gradient, downhill: after one step the momentum points where the gradient does.
    expected = -orthogonalise(layer.weight.grad.flatten(1)) * 0.2 * (16 * 9) ** 0.5
    torch.testing.assert_close(step.flatten(1), expected, atol=1e-4, rtol=1e-3)


def test_momentum_and_weight_decay_by_hand():
    weight = nn.Parameter(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    optimizer = Muon([{"params": [weight], "weight_decay": 0.5}], [weight], lr=0.1, momentum=0.5)
    gradients = [torch.diag(torch.tensor(values)) for values in ([1.0, 1.0], [1.0, -1.0])]
    right, mean = weight.detach().clone(), torch.zeros(2, 2)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        mean = 0.5 * mean + 0.5 * gradient
        right = right * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 2**0.5 * orthogonalise(0.5 * gradient + 0.5 * mean)
        torch.testing.assert_close(weight.detach(), right)
        assert torch.equal(weight.grad, gradient)  # it is not changed on the way
    assert weight[1, 1] > 4 * 0.95**2 - 0.03  # 0.5 forth, then 0.125 + 0.5 back: the second step goes up again


def test_torch_agrees_where_it_has_muon():
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch.optim.Muon came with torch 2.9")
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.zeros(24, 60)), nn.Parameter(torch.zeros(24, 60))
    mine = Muon([{"params": [ours], "weight_decay": 0.1}], [ours], lr=0.01)
    other = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        ours.grad = torch.randn(24, 60)
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
    assert float((ours - theirs).detach().norm() / theirs.detach().norm()) < 0.02  # theirs is bfloat16


def test_the_rest_is_moved_as_torchs_adamw_moves_it():
    model = network()
    other = copy.deepcopy(model)
    groups = [parameter_groups(one, 0.1) for one in (model, other)]
    learn(model, Muon(groups[0], (), lr=0.01, betas=(0.9, 0.98)), range(6))
    learn(other, torch.optim.AdamW(groups[1], lr=0.01, betas=(0.9, 0.98)), range(6))
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_whole_convolutions_are_chosen_and_nothing_else():
    model = network()
    assert [id(weight) for weight in convolution_weights(model)] == [id(model[0].weight), id(model[3].weight)]
    model[0].requires_grad_(False)
    assert [id(weight) for weight in convolution_weights(model)] == [id(model[3].weight)]
    optimizer = Muon(parameter_groups(model, 0.1), convolution_weights(model))
    listed = {id(p): group["muon"] for group in optimizer.param_groups for p in group["params"]}
    assert listed == {id(p): p is model[3].weight for p in model.parameters() if p.requires_grad}
    with pytest.raises(ValueError, match="matrices must have two dimensions or more, got a vector"):
        Muon(parameter_groups(model, 0.1), [model[1].weight])


def test_a_loaded_state_goes_on_as_if_nothing_was():
    whole, cut = network(), network()
    learn(whole, Muon(parameter_groups(whole, 0.1), convolution_weights(whole)), range(6))
    first = Muon(parameter_groups(cut, 0.1), convolution_weights(cut))
    learn(cut, first, range(3))
    second = Muon(parameter_groups(cut, 0.1), convolution_weights(cut))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    learn(cut, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))


def test_what_has_no_gradient_stays():
    model = network()
    before = model[3].weight.detach().clone()
    Muon(parameter_groups(model, 0.1), convolution_weights(model)).step()
    assert torch.equal(model[3].weight, before)
