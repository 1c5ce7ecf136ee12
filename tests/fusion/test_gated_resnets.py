"""ResNets with gates in their blocks: they start as the plain network, and every gate learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from fusion import GramGate, SEGate, SRMGate, StageStatistics, backbone_spec, build_backbone, list_backbones
from fusion.backbones.gated_resnets import ChannelGating

GATES = {"gram": GramGate, "se": SEGate, "srm": SRMGate}
BLOCKS = {"resnet18": 8, "resnet34": 16, "resnet50": 16}


@pytest.fixture(scope="module")
def plain():
    """A plain ResNet18 with running statistics that are not those of a fresh norm."""
    torch.manual_seed(0)
    network = models.resnet18(weights=None)
    network(torch.randn(4, 3, 64, 96))
    for name, parameter in network.named_parameters():
        if "bn" in name:
            nn.init.uniform_(parameter, 0.2, 1.5)  # weights and biases, so that both must be right
    return network.eval()


def gatings(backbone: nn.Module) -> list[ChannelGating]:
    return [module for module in backbone.modules() if isinstance(module, ChannelGating)]


def shake(backbone: nn.Module) -> None:
    """Gates that say something else for each image and channel."""
    for gating in gatings(backbone):
        for parameter in gating.gate.parameters():
            nn.init.normal_(parameter, std=0.3)


def test_all_nine_are_offered_with_the_plain_ones_facts():
    for gate in GATES:
        for resnet in BLOCKS:
            name = f"{gate}_{resnet}"
            assert name in list_backbones()
            ours, theirs = backbone_spec(name), backbone_spec(resnet)
            assert ours.name == name
            assert (ours.mean, ours.std, ours.input_size) == (theirs.mean, theirs.std, theirs.input_size)
            assert (ours.weights_file, ours.url) == (theirs.weights_file, theirs.url)


@pytest.mark.parametrize("gate", GATES)
def test_a_new_network_is_the_plain_one(plain, gate):
    images = torch.randn(3, 3, 64, 96)
    backbone = build_backbone(f"{gate}_resnet18", plain.state_dict()).eval()
    with torch.no_grad():
        expected = build_backbone("resnet18", plain.state_dict()).eval().forward_stages(images)
        torch.testing.assert_close(backbone.forward_stages(images), expected, atol=1e-5, rtol=1e-5)
        assert expected.abs().max() > 0.1
        shake(backbone)
        assert (backbone.forward_stages(images) - expected).abs().max() > 0.01  # the gates are in the way


@pytest.mark.parametrize("gate", GATES)
def test_gates_forced_to_one_leave_the_plain_network_with_doubled_norms(plain, gate):
    """The gate multiplies the branch alone: not the shortcut, and nothing after the addition."""
    images = torch.randn(2, 3, 64, 64)
    backbone = build_backbone(f"{gate}_resnet18", plain.state_dict()).eval()
    for gating in gatings(backbone):
        gating.gate.register_forward_hook(lambda module, args, output: torch.ones_like(output))
    doubled = {
        key: value * 2 if key.endswith(("bn2.weight", "bn2.bias")) else value
        for key, value in plain.state_dict().items()
    }
    with torch.no_grad():
        expected = build_backbone("resnet18", doubled).eval()(images)
        torch.testing.assert_close(backbone(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("resnet", BLOCKS)
def test_one_gate_of_its_kind_a_block(gate, resnet):
    backbone = build_backbone(f"{gate}_{resnet}")
    found = gatings(backbone)
    assert len(found) == BLOCKS[resnet]
    assert all(type(gating.gate) is GATES[gate] for gating in found)
    widths = [64, 128, 256, 512] if resnet != "resnet50" else [256, 512, 1024, 2048]
    assert sorted({gating.gate.channels for gating in found}) == widths
    assert {gating.gate.reduced for gating in found} == {64}
    # Only the Gram gate pays for Gram matrices.
    assert any(isinstance(module, StageStatistics) for module in backbone.modules()) == (gate == "gram")
    assert backbone.stage_names == ["stem", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("channels", [48, 80])
def test_one_gating_by_hand(gate, channels):
    gating = ChannelGating(channels, gate).eval()
    x = torch.randn(3, channels, 5, 4)
    assert torch.equal(gating(x), x * 0.5)  # exactly: sigmoid(0)
    shake(gating)
    weights = gating(x) / x
    torch.testing.assert_close(weights, weights[:, :, :1, :1].expand_as(x), atol=1e-4, rtol=1e-4)  # one a channel
    assert ((weights > 0) & (weights < 1)).all()
    assert weights[:, :, 0, 0].std(dim=0).median() > 1e-3  # differs between images
    assert torch.isfinite(gating(torch.ones(1, channels, 1, 1))).all()  # a flat map


@pytest.mark.parametrize("gate", GATES)
def test_every_parameter_learns(gate):
    """The first step moves the gates' last layers, which start at 0; from then on the gradient passes them."""
    backbone = build_backbone(f"{gate}_resnet18")
    optimiser = torch.optim.SGD(backbone.parameters(), lr=0.01)
    images, target = torch.randn(2, 3, 64, 64), torch.randn(2, 512)
    for _ in range(2):
        optimiser.zero_grad()
        (backbone(images) * target).sum().backward()
        optimiser.step()
    silent = [name for name, p in backbone.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert not silent
    assert all(torch.isfinite(p).all() for p in backbone.parameters())


@pytest.mark.parametrize("gate", GATES)
def test_half_precision_follows_single(plain, gate):
    backbone = build_backbone(f"{gate}_resnet18", plain.state_dict()).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        single = backbone(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = backbone(images)
    assert float((half.float() - single).norm() / single.norm()) < 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = backbone.train()(torch.randn(2, 3, 64, 64)).float().square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters() if p.grad is not None)


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"original weights of gram_resnet18, got keys .* missing"):
        build_backbone("gram_resnet18", models.mobilenet_v3_small(weights=None).state_dict())


def test_own_weights_go_in_and_out(plain):
    """A saved network comes back as it was: what starts the gates is not done a second time."""
    one = build_backbone("gram_resnet18", plain.state_dict()).eval()
    shake(one)
    two = build_backbone("gram_resnet18").eval()
    two.load_state_dict(one.state_dict())
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(one(images), two(images))


def test_frozen_gates_do_not_move():
    backbone = build_backbone("gram_resnet18")
    backbone.set_trainable("layer4")
    backbone.train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64)).sum().backward()
    moved = {name for name, value in backbone.named_buffers() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {"layer4"}
    learning = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert learning == {"layer4"}
