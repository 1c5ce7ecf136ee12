"""Branches and head together: subsets, masking, branch dropout."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import nn

from fusion import FusionModel, PosterModel, build_branch, build_head, head_names, parameter_groups
from fusion.model import drop_branches

NAMES = ("cnn", "style", "yolo", "ocr")
SUBSETS = [subset for size in range(1, 5) for subset in combinations(NAMES, size)]
heads = pytest.mark.parametrize("head", head_names())


def entries_of(inputs, names):
    return {key: value for key, value in inputs.items() if key.split(".")[0] in names}


def garbled(inputs, names):
    """Other content for these branches, masks included."""
    changed = dict(inputs)
    for key, value in inputs.items():
        if key.split(".")[0] in names:
            changed[key] = ~value if value.dtype == torch.bool else value.flip(0) + (value.is_floating_point() * 3)
            if key == "yolo.labels":
                changed[key] = value.flip(0)
    return changed


def test_there_are_fifteen_subsets():
    assert len(SUBSETS) == 15


@heads
@pytest.mark.parametrize("subset", SUBSETS, ids="-".join)
def test_built_with_a_subset(head, subset, make_fusion, make_batch):
    model = make_fusion(subset, head)
    inputs = entries_of(make_batch(), subset)  # nothing else is needed
    logits = model(inputs)
    assert logits.shape == (6, 4)
    assert torch.isfinite(logits).all()
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@heads
@pytest.mark.parametrize("subset", SUBSETS, ids="-".join)
def test_masked_to_a_subset(head, subset, make_fusion, make_batch):
    model, inputs = make_fusion(NAMES, head).eval(), make_batch()
    logits = model(inputs, only=subset)
    assert torch.isfinite(logits).all()
    others = set(NAMES) - set(subset)
    torch.testing.assert_close(model(garbled(inputs, others), only=subset), logits)
    torch.testing.assert_close(model(entries_of(inputs, subset), only=subset), logits)
    assert (model(garbled(inputs, subset), only=subset) - logits).abs().max() > 1e-5
    if others:
        assert (model(inputs) - logits).abs().max() > 1e-5


@heads
def test_learns_agrees_and_reloads(head, make_fusion, make_batch):
    model, inputs = make_fusion(NAMES, head), make_batch()
    # A branch is absent in the second pass and the third: what stands in for it must learn too.
    logits = model(inputs) + model(inputs, only=["cnn", "yolo"]) + model(inputs, only=["style", "ocr"])
    (logits * torch.randn(6, 4)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []
    model.eval()
    assert torch.equal(model(inputs), model(inputs))
    torch.manual_seed(7)
    other = make_fusion(NAMES, head).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(inputs), model(inputs))


def test_one_name_may_be_a_plain_string(make_fusion, make_batch):
    model, inputs = make_fusion().eval(), make_batch()
    assert torch.equal(model(inputs, only="yolo"), model(inputs, only=["yolo"]))


@pytest.mark.parametrize("wrap", [False, True])
def test_unknown_name_in_only(wrap, make_fusion, make_batch):
    model = PosterModel(make_fusion()) if wrap else make_fusion()
    with pytest.raises(ValueError, match=r"among the branches \['cnn', 'style', 'yolo', 'ocr'\], got \['face'\]"):
        model(make_batch(), only=["cnn", "face"])


def test_nobody_is_the_prior(make_fusion, make_batch):
    model = make_fusion(head="sum").eval()
    torch.testing.assert_close(model(make_batch(), only=[]), model.head.bias.expand(6, -1))


def test_embeddings_land_in_their_places(make_fusion, make_batch):
    model, inputs = PosterModel(make_fusion()).eval(), make_batch()
    found = model.embeddings(inputs)
    assert list(found) == list(NAMES)
    for name, (embedding, used) in found.items():
        alone, present = model.fusion.branch(name)(inputs)
        torch.testing.assert_close(embedding, alone)
        assert torch.equal(used, present)
    masked = model.embeddings(inputs, only=["ocr"])
    assert all((e == 0).all() and not used.any() for name, (e, used) in masked.items() if name != "ocr")
    torch.testing.assert_close(masked["ocr"][0], found["ocr"][0])


def test_drop_branches_statistics():
    """Four present: a branch survives with chance 1 - p, plus a quarter of p^4, the chance that all would go."""
    p, n = 0.6, 40000
    keep = drop_branches(torch.ones(n, 4, dtype=torch.bool), p)
    assert keep.any(dim=1).all()
    expected = (1 - p) + p**4 / 4
    assert keep.float().mean(dim=0).tolist() == pytest.approx([expected] * 4, abs=0.01)
    alone = keep.sum(dim=1) == 1
    assert alone.float().mean().item() == pytest.approx(4 * (1 - p) * p**3 + p**4, abs=0.01)


def test_drop_branches_keeps_to_the_present():
    present = torch.rand(5000, 3) < 0.5
    present[0] = False
    keep = drop_branches(present, 0.9)
    assert not (keep & ~present).any()
    assert torch.equal(keep.any(dim=1), present.any(dim=1))
    single = present.sum(dim=1) == 1
    assert torch.equal(keep[single], present[single])


def test_branch_dropout_is_for_training_only(make_fusion, make_batch):
    model = make_fusion(branch_dropout=0.5)
    inputs = make_batch(posters=200)
    present = torch.stack([model.branch(name).present(inputs) for name in NAMES], dim=1)
    model.eval()
    assert torch.equal(model.keep_mask(inputs), present)
    model.train()
    first, second = model.keep_mask(inputs), model.keep_mask(inputs)
    assert not torch.equal(first, second)
    share = first.sum() / present.sum()
    assert 0.4 < share < 0.7


def test_a_dropped_branch_does_not_reach_the_head(make_fusion, make_batch):
    model, inputs = make_fusion(branch_dropout=0.5).train(), make_batch()
    seen = []
    model.head.register_forward_pre_hook(lambda _, args: seen.append(args))
    model(inputs)
    embeddings, keep = seen[0]
    assert not keep.all()
    for k, embedding in enumerate(embeddings):
        assert (embedding[~keep[:, k]] == 0).all()
        assert (embedding[keep[:, k]].abs().sum(dim=1) > 0).all()


def test_constructor_errors(branch_options_small):
    cnn = build_branch("cnn", **branch_options_small["cnn"])
    with pytest.raises(ValueError, match="branches must hold at least one branch"):
        FusionModel(nn.ModuleDict(), build_head("sum", dims=[8], num_genres=2))
    with pytest.raises(ValueError, match=r"head must be made for dims \(8,\) of the branches \['cnn'\], got \(9,\)"):
        FusionModel(nn.ModuleDict({"cnn": cnn}), build_head("sum", dims=[9], num_genres=2))
    with pytest.raises(ValueError, match=r"branch_dropout must be in \[0, 1\), got 1"):
        FusionModel(nn.ModuleDict({"cnn": cnn}), build_head("sum", dims=[8], num_genres=2), branch_dropout=1)


def test_parameter_groups_cover_everything_once(make_fusion):
    model = make_fusion(head="attention")
    groups = parameter_groups(model, 0.05)
    by_decay = {group["weight_decay"]: set(map(id, group["params"])) for group in groups}
    assert set(by_decay) == {0.05, 0.0}
    for name, parameter in model.named_parameters():
        bias_or_norm = name.endswith("bias") or "norm" in name
        if bias_or_norm:
            assert id(parameter) in by_decay[0.0], name
        assert (id(parameter) in by_decay[0.05]) != (id(parameter) in by_decay[0.0])
        assert (id(parameter) in by_decay[0.05]) == (parameter.ndim > 1), name
    assert all("lr" not in group for group in groups)


def test_bfloat16_autocast(make_fusion, make_batch):
    for head in head_names():
        model, inputs = make_fusion(head=head).train(), make_batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(inputs)
        assert torch.isfinite(logits).all()
        logits.float().sum().backward()
        model.eval()
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            coarse = model(inputs, only=["cnn", "ocr"])
        torch.testing.assert_close(coarse.float(), model(inputs, only=["cnn", "ocr"]), atol=0.1, rtol=0.1)
