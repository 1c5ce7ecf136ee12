"""Shares of the branches: they add up, they are what Shapley asks for, and they belong to the model that predicts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from fusion import (
    Backbone,
    CnnBranch,
    FusionModel,
    ImageTower,
    PosterModel,
    StageStatistics,
    StyleBranch,
    TextBranch,
    YoloBranch,
    build_head,
)
from mmposter.evaluation.scaling import Scaling
from mmposter.explain.probe import FusionProbe, branch_shares
from mmposter.runs.decisions import Decision

BRANCHES = ("cnn", "style", "yolo", "ocr")
PLAIN = Decision(np.full(4, 0.5))


@pytest.fixture(scope="module")
def backbone():
    """Three stages on pictures of 32 x 24; the last begins with an activation that works in place."""
    torch.manual_seed(0)
    stages = {
        "stage1": nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Tanh()),
        "stage2": nn.Conv2d(4, 6, 2, stride=2),
        "stage3": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(6, 9, 1), nn.ReLU()),
    }
    return Backbone("tiny", stages, probe_size=(32, 24)).eval()


def make_model(backbone, *, head="sum", stage=None, reweight=False, dropout=0.0):
    """Small branches over the tower; batch norms know scales at which the gate is neither 0 nor 1."""
    torch.manual_seed(1)
    stage = stage or backbone.last_stage
    statistics = StageStatistics(backbone.stage_channels[stage], 4)
    branches = nn.ModuleDict(
        {
            "cnn": CnnBranch(backbone.num_features, dim=6, dropout=dropout),
            "style": StyleBranch(statistics.channels, 4, dim=5, dropout=dropout),
            "yolo": YoloBranch(3, dim=8, pooling="deepsets", dropout=dropout),
            "ocr": TextBranch(7, dim=8, dropout=dropout),
        }
    )
    dims = [branch.output_dim for branch in branches.values()]
    model = PosterModel(
        FusionModel(branches, build_head(head, dims=dims, num_genres=4)),
        ImageTower(backbone, stage, statistics),
        reweight,
    )
    for module in model.fusion.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_var.fill_(0.02)
    for absent in getattr(model.fusion.head, "absent", ()):
        nn.init.normal_(absent)  # trained ones are no zeros
    return model.eval()


def make_inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(1, 3, 2, generator=generator) * 0.5
    return {
        "image": torch.randn(1, 3, 32, 24, generator=generator),
        "yolo.boxes": torch.cat([corner, corner + 0.3], dim=2),
        "yolo.scores": torch.rand(1, 3, generator=generator),
        "yolo.labels": torch.tensor([[0, 1, 2]]),
        "yolo.mask": torch.tensor([[True, True, False]]),
        "ocr.document": torch.randn(1, 7, generator=generator),
        "ocr.embeddings": torch.randn(1, 3, 7, generator=generator),
        "ocr.geometry": torch.rand(1, 3, 5, generator=generator),
        "ocr.mask": torch.tensor([[True, True, True]]),
    }


def subsets_of(names):
    return [frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size)]


@pytest.mark.parametrize("head", ["sum", "concat", "gated", "attention"])
@pytest.mark.parametrize("reweight", [False, True])
@pytest.mark.parametrize("stage", [None, "stage2"])
def test_every_subset_is_what_the_masked_model_says(backbone, head, reweight, stage):
    model, inputs = make_model(backbone, head=head, reweight=reweight, stage=stage), make_inputs()
    probe = FusionProbe(model, inputs, BRANCHES, {}, PLAIN)
    values = probe.by_subset()
    assert set(values) == set(subsets_of(BRANCHES))
    with torch.no_grad():
        for subset, logits in values.items():
            np.testing.assert_allclose(logits, model(inputs, subset)[0].numpy(), atol=1e-5, err_msg=str(subset))
    np.testing.assert_allclose(probe.logits, values[frozenset(BRANCHES)], atol=1e-5)
    shares = branch_shares(values)
    assert list(shares) == list(BRANCHES)
    np.testing.assert_allclose(sum(shares.values()), probe.logits - values[frozenset()], atol=1e-4)


def test_the_gate_is_in_the_game(backbone):
    """Where style re-weights the network's channels, cnn alone is not what cnn is beside style."""
    model, inputs = make_model(backbone, reweight=True), make_inputs()
    values = FusionProbe(model, inputs, BRANCHES, {}, PLAIN).by_subset()
    gain_alone = values[frozenset({"cnn"})] - values[frozenset()]
    gain_beside = values[frozenset({"cnn", "style"})] - values[frozenset({"style"})]
    assert np.abs(gain_alone - gain_beside).max() > 1e-3
    with torch.no_grad():  # of a sum of maps each gets its own part, and both half of what the gate does
        plain = make_model(backbone, reweight=False)
        parts = branch_shares(FusionProbe(plain, inputs, BRANCHES, {}, PLAIN).by_subset())
    shares = branch_shares(values)
    np.testing.assert_allclose(shares["style"] - parts["style"], (gain_beside - gain_alone) / 2, atol=1e-5)
    np.testing.assert_allclose(shares["cnn"] - parts["cnn"], (gain_beside - gain_alone) / 2, atol=1e-5)


def test_of_a_sum_head_the_shares_are_its_terms(backbone):
    model, inputs = make_model(backbone), make_inputs()
    shares = branch_shares(FusionProbe(model, inputs, BRANCHES, {}, PLAIN).by_subset())
    with torch.no_grad():
        entries = {**inputs, **model.tower(inputs["image"])}
        terms = model.fusion.head.contributions(*model.fusion.embeddings(entries))[0]
    for name, term in zip(BRANCHES, terms.numpy(), strict=True):
        np.testing.assert_allclose(shares[name], term, atol=1e-5)


def test_who_adds_nothing_gets_nothing(backbone):
    """The dummy: a branch without weight in the head, and one that found nothing on the poster."""
    model = make_model(backbone, head="concat")
    start = model.fusion.branch("cnn").output_dim
    with torch.no_grad():
        model.fusion.head.layers[0].weight[:, start : start + 5] = 0  # style
    inputs = make_inputs() | {"ocr.mask": torch.zeros(1, 3, dtype=torch.bool)}
    shares = branch_shares(FusionProbe(model, inputs, BRANCHES, {}, PLAIN).by_subset())
    np.testing.assert_allclose(shares["style"], 0, atol=1e-6)
    np.testing.assert_allclose(shares["ocr"], 0, atol=1e-6)
    assert np.abs(shares["cnn"]).max() > 1e-3
    assert np.abs(shares["yolo"]).max() > 1e-3


def test_the_glove_game():
    """Two left gloves and a right one; a pair is worth 1 (Shapley's own example: 1/6, 1/6, 4/6)."""
    left, right = {"cnn", "ocr"}, "yolo"
    values = {s: np.array([float(right in s and bool(left & s))]) for s in subsets_of(("cnn", "yolo", "ocr"))}
    shares = {name: float(share[0]) for name, share in branch_shares(values).items()}
    assert shares == pytest.approx({"cnn": 1 / 6, "yolo": 4 / 6, "ocr": 1 / 6})


def test_fewer_branches_are_a_smaller_game(backbone):
    model, inputs = make_model(backbone, head="concat", reweight=True), make_inputs()
    for names in (("cnn",), ("style", "ocr"), ("yolo", "ocr")):
        seen = {key: value for key, value in inputs.items() if key.split(".")[0] in (*names, "image")}
        if not {"cnn", "style"} & set(names):
            seen.pop("image")
        values = FusionProbe(model, seen, names, {}, PLAIN).by_subset()
        assert set(values) == set(subsets_of(names))
        with torch.no_grad():
            for subset, logits in values.items():
                np.testing.assert_allclose(logits, model(inputs, subset)[0].numpy(), atol=1e-5)


def test_a_scaling_is_applied_to_every_subset(backbone):
    model, inputs = make_model(backbone), make_inputs()
    plain = FusionProbe(model, inputs, BRANCHES, {}, PLAIN)
    scaling = Scaling(0.5, np.array([0.1, -0.2, 0.3, 1.0]))
    scaled = FusionProbe(model, inputs, BRANCHES, {}, Decision(np.full(4, 0.5), scaling))
    for subset, logits in plain.by_subset().items():
        np.testing.assert_allclose(scaled.by_subset()[subset], 0.5 * logits + scaling.offsets, atol=1e-9)
    probs = 1 / (1 + np.exp(-plain.logits))
    np.testing.assert_allclose(1 / (1 + np.exp(-scaled.logits)), scaling.apply(probs), atol=1e-6)
    for name, share in branch_shares(plain.by_subset()).items():
        np.testing.assert_allclose(branch_shares(scaled.by_subset())[name], 0.5 * share, atol=1e-9)
