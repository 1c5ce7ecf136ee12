"""What a student learns from, by hand: which stages meet, what a crop's target is, what an error costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fusion import (
    Backbone,
    ChannelStatistics,
    DistillationLoss,
    Distiller,
    Hint,
    HintLoss,
    SoftGenreLoss,
    build_backbone,
    crop_maps,
    linear_classifier,
    match_stages,
    stage_strides,
)
from fusion.distillation import GENRES

SIZE = (64, 48)


def network(name: str, widths: tuple[int, ...]) -> Backbone:
    """Every stage halves the map, and begins with an activation that works in place."""
    channels = (3, *widths)
    stages = {
        f"{name}{k}": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(channels[k], channels[k + 1], 3, 2, 1))
        for k in range(len(widths))
    }
    return Backbone(name, stages, input_size=SIZE)


@pytest.fixture
def student() -> Backbone:
    return network("s", (4, 5, 6))


@pytest.fixture
def teacher() -> Backbone:
    return network("t", (7, 8, 9))


def test_stages_meet_by_stride_and_the_last_maps_always(student, teacher):
    assert stage_strides(student, SIZE) == {"s0": 2, "s1": 4, "s2": 8}
    found = match_stages(student, teacher, SIZE, (2, 8, 32))
    assert found == (Hint("t", "s0", "t0", 7, False), Hint("t", "s2", "t2", 9, True))
    deeper = network("d", (7, 8, 9, 10))
    assert match_stages(student, deeper, SIZE, (8,))[-1] == Hint("d", "s2", "d3", 10, True)  # strides 8 and 16


def test_densenet_meets_efficientnet_lite_as_its_authors_named_the_blocks():
    pytest.importorskip("efficientnet_lite_pytorch")
    found = match_stages(build_backbone("densenet121"), build_backbone("efficientnet_lite0"), (320, 224))
    assert [(hint.student_stage, hint.teacher_stage, hint.channels) for hint in found] == [
        ("block2", "stage3", 40),
        ("block3", "stage4", 112),
        ("block4", "stage5", 1280),
    ]


def test_a_network_that_ends_in_tokens_is_refused(student):
    class Tokens(nn.Module):
        def forward(self, x):
            return F.avg_pool2d(x, 8).flatten(2)[..., None]

    tokens = Backbone("tokens", {"tokens": Tokens()}, input_size=SIZE)
    with pytest.raises(ValueError, match="must end in a map of places to distil, got the tokens of tokens"):
        match_stages(student, tokens, SIZE)


def test_a_size_that_a_network_does_not_take(student):
    with pytest.raises(ValueError, match=r"size must be .* for cnn4, got 40 x 40"):
        match_stages(build_backbone("cnn4"), student, (40, 40))


def test_predictions_are_projections_of_untouched_stages(student, teacher):
    hints = match_stages(student, teacher, SIZE, (2, 4, 8))
    model = Distiller(student, hints)
    images = torch.randn(2, 3, *SIZE)
    predicted = model(images.clone())
    assert list(predicted) == ["t/t0", "t/t1", "t/t2"]
    for hint, projection in zip(hints, model.projections, strict=True):
        expected = projection(student.forward_stages(images.clone(), stop=hint.student_stage))
        torch.testing.assert_close(predicted[hint.name], expected)
    sum(values.square().sum() for values in predicted.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_genres_are_read_off_the_pooled_last_map(student, teacher):
    shallow = network("t", (7, 8))
    model = Distiller(student, match_stages(student, shallow, SIZE, (4,)), num_genres=3)
    images = torch.randn(2, 3, *SIZE)
    predicted = model(images.clone())
    assert set(predicted) == {"t/t1", GENRES}  # the hint is at stride 4, genres behind the last stage
    expected = model.genres(student.forward_stages(images.clone()).mean((2, 3)))
    torch.testing.assert_close(predicted[GENRES], expected)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ((), "one or more with different names"),
        ((Hint("t", "s0", "t0", 7, False), Hint("t", "s1", "t0", 7, False)), "different names, got"),
        ((Hint("t", "s9", "t0", 7, False),), r"at stages of \['s0', 's1', 's2'\], got \['s9'\]"),
    ],
)
def test_bad_hints_are_refused(student, hints, message):
    with pytest.raises(ValueError, match=message):
        Distiller(student, hints)


def test_the_whole_map_is_pooled_and_a_quarter_is_cut_out():
    maps = torch.arange(2 * 3 * 8 * 4, dtype=torch.float32).view(2, 3, 8, 4)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)
    torch.testing.assert_close(crop_maps(maps, whole, (4, 2)), F.avg_pool2d(maps, 2))
    # Two pixels of the map lie under a place; left, top, right, bottom: the upper right quarter of one, the lower left
    # one of the other.
    quarters = torch.tensor([[0.5, 0.0, 1.0, 0.5], [0.0, 0.5, 0.5, 1.0]])
    cut = crop_maps(maps, quarters, (2, 1))
    torch.testing.assert_close(cut[0], F.avg_pool2d(maps[0, :, :4, 2:], 2))
    torch.testing.assert_close(cut[1], F.avg_pool2d(maps[1, :, 4:, :2], 2))
    with pytest.raises(ValueError, match="boxes must be 2 x 4, one a map, got 1 x 4"):
        crop_maps(maps, whole[:1], (2, 2))


def test_statistics_are_those_of_numpy():
    maps = torch.randn(10, 3, 4, 5) * torch.tensor([1.0, 5.0, 0.0])[:, None, None] + 2
    found = ChannelStatistics.of(maps)
    values = maps.numpy()
    np.testing.assert_allclose(found.mean, values.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.std[:2], values.std((0, 2, 3), ddof=1)[:2], rtol=1e-5)
    np.testing.assert_allclose(found.pooled_std[:2], values.mean((2, 3)).std(0, ddof=1)[:2], rtol=1e-5)
    assert found.std[2] == found.pooled_std[2] == pytest.approx(1e-3)  # a silent channel divides by no zero
    with pytest.raises(ValueError, match="N of 2 or more"):
        ChannelStatistics.of(maps[:1])


def hint_loss(**options) -> HintLoss:
    return HintLoss(ChannelStatistics(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), torch.ones(2)), **options)


def test_what_the_teacher_sees_costs_nothing():
    classifier = (torch.randn(5, 2), torch.randn(5))
    loss = hint_loss(final=True, classifier=classifier)
    target = torch.randn(3, 2, 4, 4)
    exact = (target - loss.mean.view(1, 2, 1, 1)) / loss.std.view(1, 2, 1, 1)
    terms = loss(exact, target)
    assert set(terms) == {"map", "pooled", "logits"}
    assert all(float(value) == pytest.approx(0, abs=1e-6) for value in terms.values())


def test_errors_by_hand():
    # One picture, one place: mean (1, 2), deviations (2, 4), of the average (1, 1).
    predicted, target = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1), torch.tensor([3.0, 2.0]).view(1, 2, 1, 1)
    classifier = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2))
    terms = hint_loss(final=True, classifier=classifier, temperature=2.0, logits_weight=0.5)(predicted, target)
    assert float(terms["map"]) == pytest.approx((1.0**2 + 1.0**2) / 2)  # standardised target (1, 0)
    assert float(terms["pooled"]) == pytest.approx((2.0**2 + 4.0**2) / 2)  # (0, 4) against (2, 0)
    p = 1 / (1 + math.exp(-(3 - 2) / 2))  # the teacher's scores (3, 2) at temperature 2
    q = 1 / (1 + math.exp(-(1 - 6) / 2))  # the student's (1, 6): 0 * 2 + 1 and 1 * 4 + 2
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert float(terms["logits"]) == pytest.approx(0.5 * divergence, rel=1e-5)
    assert set(hint_loss()(predicted, target)) == {"map"}


def test_an_outlier_is_cut_at_eight_deviations():
    target = torch.tensor([1e4, 2.0]).view(1, 2, 1, 1)
    assert float(hint_loss()(torch.zeros(1, 2, 1, 1), target)["map"]) == pytest.approx(8.0**2 / 2)


def test_terms_of_all_hints_stand_side_by_side():
    loss = DistillationLoss({"a.b/c": hint_loss(), "d/e": hint_loss(final=True)})
    maps = {name: torch.randn(2, 2, 3, 3) for name in ("a.b/c", "d/e")}
    assert set(loss(maps, maps)) == {"a.b/c/map", "d/e/map", "d/e/pooled"}


def test_soft_genres_by_hand():
    loss = SoftGenreLoss(torch.tensor([0.5, 0.0]), weight=6.0)
    targets = torch.tensor([[0.25, 1.0]])
    assert float(loss(targets.clamp(1e-6, 1 - 1e-6).logit(), targets)) == pytest.approx(0, abs=1e-5)
    # Yes and no at 1/4 against 1/2: the divergence of two coins; the second genre is certain, and said to be even.
    coins = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(loss(torch.zeros(1, 2), targets)) == pytest.approx(6 * (coins + math.log(2)) / 2, rel=1e-5)


def test_the_constant_costs_what_the_mean_costs():
    maps = {"d/e": torch.randn(2, 2, 3, 3), GENRES: torch.tensor([[0.2, 0.6], [0.4, 0.6]])}
    loss = DistillationLoss({"d/e": hint_loss()}, SoftGenreLoss(maps[GENRES].mean(0), 1.0))
    predicted = loss.constant(maps)
    assert not predicted["d/e"].any()
    torch.testing.assert_close(torch.sigmoid(predicted[GENRES]), torch.tensor([[0.3, 0.6], [0.3, 0.6]]))
    constant = loss(predicted, maps)
    assert set(constant) == {"d/e/map", "genres/soft"}
    # No other constant is better.
    for shift in (-0.2, 0.2):
        moved = {**predicted, GENRES: predicted[GENRES] + shift}
        assert loss(moved, maps)["genres/soft"] > constant["genres/soft"]


def test_bad_losses_are_refused():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        hint_loss(temperature=0.0)
    with pytest.raises(ValueError, match="a final map of 2 channels, got 3 with final=True"):
        hint_loss(final=True, classifier=(torch.zeros(5, 3), torch.zeros(5)))
    with pytest.raises(ValueError, match="with final=False"):
        hint_loss(classifier=(torch.zeros(5, 2), torch.zeros(5)))


@pytest.mark.parametrize("name", ["fc", "_fc", "classifier"])
def test_a_single_linear_layer_is_found_and_nothing_else(name):
    weight, bias = torch.randn(5, 2), torch.randn(5)
    found = linear_classifier({f"{name}.weight": weight, f"{name}.bias": bias, "conv.weight": weight}, 2)
    assert found is not None
    assert found[0] is weight
    assert found[1] is bias
    assert linear_classifier({f"{name}.weight": weight, f"{name}.bias": bias}, 3) is None
    assert linear_classifier({f"{name}.0.weight": weight, f"{name}.0.bias": bias}, 2) is None
    assert linear_classifier({f"{name}.weight": weight[..., None, None], f"{name}.bias": bias}, 2) is None
