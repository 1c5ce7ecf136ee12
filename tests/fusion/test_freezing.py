"""Which parts of a backbone learn: the exact set of names, and batch norms that do not move."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fusion import build_backbone


@pytest.fixture
def backbone():
    return build_backbone("resnet18")


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def of_stages(model: nn.Module, *stages: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.split(".")[1] in stages}


def test_the_trainable_set_is_exact_and_calls_may_repeat(backbone):
    everything = {name for name, _ in backbone.named_parameters()}
    for mode, expected in [
        ("frozen", set()),
        ("layer3", of_stages(backbone, "layer3", "layer4")),
        ("full", everything),
        ("layer4", of_stages(backbone, "layer4")),
        ("layer2", of_stages(backbone, "layer2", "layer3", "layer4")),
        ("layer2", of_stages(backbone, "layer2", "layer3", "layer4")),
        ("stem", everything),
        ("frozen", set()),
    ]:
        backbone.set_trainable(mode)
        assert trainable(backbone) == expected, mode
    assert len(of_stages(backbone, "layer4")) == 15  # 5 convolutions and 5 norms: the helper above sees something


def test_statistics_of_frozen_stages_do_not_move(backbone):
    backbone.set_trainable("layer4")
    backbone.train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 96))
    moved = {name for name, value in backbone.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("stages.layer4.")}


def test_train_and_eval_reach_the_stages_that_learn(backbone):
    backbone.eval()
    backbone.set_trainable("layer3")
    assert not any(module.training for module in backbone.modules())
    backbone.train()
    modes = {name: stage.training for name, stage in backbone.stages.items()}
    assert modes == {"stem": False, "layer1": False, "layer2": False, "layer3": True, "layer4": True}
    backbone.set_trainable("full")
    assert all(module.training for module in backbone.modules())


def test_a_model_around_it_keeps_it_frozen(backbone):
    backbone.set_trainable("frozen")
    model = nn.Sequential(backbone, nn.Linear(512, 3)).train()
    assert not any(module.training for module in backbone.stages.modules() if isinstance(module, nn.BatchNorm2d))
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_building_leaves_no_trace_in_the_batch_norms(backbone):
    counters = [value for name, value in backbone.named_buffers() if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(value) == 0 for value in counters)
    assert backbone.training


def test_unknown_mode_lists_the_choices(backbone):
    with pytest.raises(ValueError, match=r"'frozen', 'full' or one of the stages \['stem', .*got 'half'"):
        backbone.set_trainable("half")
