"""Heat maps: against a case worked by hand, against their definition, and where a network has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fusion import (
    Backbone,
    CnnBranch,
    FusionModel,
    ImageClassifier,
    ImageTower,
    PosterModel,
    StageStatistics,
    StyleBranch,
    build_head,
)
from fusion.backbones.whole_networks import whole_backbone
from fusion.classifier import Classifier
from mmposter.evaluation.scaling import Scaling
from mmposter.explain.gradcam import grad_cam
from mmposter.explain.probe import FusionProbe, NetworkProbe
from mmposter.explain.sight import cam_stage
from mmposter.explain.values import HeatMap
from mmposter.runs.decisions import Decision

PLAIN = Decision(np.full(6, 0.5))


def test_a_case_worked_by_hand():
    """A tower of one convolution that doubles red and copies green; genre 0 likes red, genre 1 green and not red."""
    tower = nn.Conv2d(3, 2, 1, bias=False)
    likes = torch.tensor([[4.0, 0.0], [-4.0, 8.0]])
    with torch.no_grad():
        tower.weight.copy_(torch.tensor([[2.0, 0, 0], [0, 1.0, 0]])[:, :, None, None])
    red, green = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 5.0], [0.0, 3.0]])
    image = torch.stack([red, green, torch.zeros(2, 2)])[None]
    found = grad_cam(lambda maps: maps.mean(dim=(2, 3)) @ likes.T, tower(image), [0, 1])
    # The gradient of a mean over four places is a quarter of the weight: 1 and 0; -1 and 2. The maps are 2 red, green.
    assert found[0].tolist() == [[2.0, 0.0], [0.0, 6.0]]
    assert found[1].tolist() == [[0.0, 10.0], [0.0, 0.0]]  # 2 green - 2 red, what is below 0 cut off


def test_of_nothing_there_is_no_heat():
    nothing = HeatMap.of(np.zeros((3, 2), np.float32))
    assert nothing.maximum == 0
    assert not nothing.values.any()
    some = HeatMap.of(np.array([[0.0, 0.02], [0.01, 0.0], [0.0, 0.0]], np.float32))
    assert some.maximum == pytest.approx(0.02)
    assert some.values.tolist() == [[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]]
    over = some.resized(40, 90)
    assert over.shape == (90, 40)
    assert over.min() >= 0
    assert over.max() <= 1
    assert np.unravel_index(over.argmax(), over.shape)[0] < 30  # still above, on the right
    assert np.unravel_index(over.argmax(), over.shape)[1] >= 20


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    stages = {
        "stage1": nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Tanh()),
        "stage2": nn.Conv2d(4, 6, 2, stride=2),
        "stage3": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(6, 9, 1), nn.ReLU()),
    }
    return Backbone("tiny", stages, probe_size=(32, 24)).eval()


def make_model(backbone, stage, *, reweight, descriptor="both", names=("cnn", "style")):
    torch.manual_seed(1)
    statistics = StageStatistics(backbone.stage_channels[stage], 4)
    picture = CnnBranch(backbone.num_features, dim=6)
    branches = nn.ModuleDict(
        dict(zip(names, (picture, StyleBranch(statistics.channels, 4, dim=5, descriptor=descriptor)), strict=True))
    )
    head = build_head("concat", dims=[6, 5], num_genres=6, hidden=8)
    model = PosterModel(FusionModel(branches, head), ImageTower(backbone, stage, statistics), reweight)
    for module in model.fusion.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_var.fill_(0.02)
    return model.eval()


def by_definition(logit, features):
    """Grad-CAM as the paper writes it, one channel after another."""
    features = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logit(features), features)
    total = torch.zeros(features.shape[2:])
    for channel in range(features.shape[1]):
        total += gradient[0, channel].mean() * features[0, channel]
    return total.clamp(min=0).detach().numpy()


@pytest.mark.parametrize("stage", ["stage2", "stage3"])
@pytest.mark.parametrize("reweight", [False, True])
def test_both_maps_are_grad_cam_of_the_whole_model(backbone, stage, reweight):
    model = make_model(backbone, stage, reweight=reweight)
    image = torch.randn(1, 3, 32, 24, generator=torch.Generator().manual_seed(2))
    found = FusionProbe(model, {"image": image}, ("cnn", "style"), {}, PLAIN).heat_maps(range(6))
    tower, fusion, gate = model.tower, model.fusion, model.gate
    with torch.no_grad():
        tap = tower.backbone.forward_stages(image, stop=stage)
        stats = tower.statistics(tap)
        weighted = tap * gate(stats)[:, :, None, None] if reweight else tap
        final = tower.backbone.forward_stages(weighted.clone(), start=stage)

    def entries(of):
        return {f"style.{name}": value for name, value in of.items()}

    for genre in range(6):

        def from_final(features, genre=genre):
            return fusion({**entries(stats), "cnn.pooled": features.mean(dim=(2, 3))})[0, genre]

        def from_tap(features, genre=genre):
            own = tower.statistics(features)
            onward = tap * gate(own)[:, :, None, None] if reweight else tap
            pooled = tower.backbone.forward_stages(onward.clone(), start=stage).mean(dim=(2, 3))
            return fusion({**entries(own), "cnn.pooled": pooled})[0, genre]

        np.testing.assert_allclose(found["cnn"][genre], by_definition(from_final, final), atol=1e-6)
        np.testing.assert_allclose(found["style"][genre], by_definition(from_tap, tap), atol=1e-6)
    assert found["cnn"].max() > 1e-4
    assert found["style"].max() > 1e-4
    assert found["style"].shape == (6, 4, 3)


@pytest.mark.parametrize("reweight", [False, True])
def test_branches_are_known_by_what_they_read_of_the_network(backbone, reweight):
    image = torch.randn(1, 3, 32, 24, generator=torch.Generator().manual_seed(2))
    maps, values = [], []
    for names in (("cnn", "style"), ("look", "touch")):
        model = make_model(backbone, "stage3", reweight=reweight, names=names)
        probe = FusionProbe(model, {"image": image}, names, {}, PLAIN)
        maps.append(list(probe.heat_maps(range(6)).items()))
        values.append(list(probe.by_subset().values()))
    assert [name for name, _ in maps[1]] == ["look", "touch"]
    for (_, ours), (_, other) in zip(*maps, strict=True):
        np.testing.assert_array_equal(ours, other)
    np.testing.assert_array_equal(*values)


def test_heat_is_of_the_logit_that_is_shown(backbone):
    model = make_model(backbone, "stage3", reweight=True)
    image = torch.randn(1, 3, 32, 24, generator=torch.Generator().manual_seed(2))
    scaled = Decision(np.full(6, 0.5), Scaling(3.0, np.arange(6.0)))
    plain = FusionProbe(model, {"image": image}, ("cnn", "style"), {}, PLAIN).heat_maps(range(6))
    found = FusionProbe(model, {"image": image}, ("cnn", "style"), {}, scaled).heat_maps(range(6))
    for name, heat in plain.items():
        assert heat.max() > 0
        np.testing.assert_allclose(found[name], 3 * heat, rtol=1e-5)


class Tokens(nn.Module):
    """Six patches and a class token; only that is read by the classifier."""

    def forward(self, x):
        rows = x.mean(dim=1).reshape(len(x), 6, -1)
        return torch.cat([rows.mean(dim=1, keepdim=True), rows], dim=1)


def run_network(network, x):
    return network(x)


def first_token(network, x):
    return x[:, 0]


def map_of(network, x):
    return network(x).reshape(len(x), -1, 2, 2)


def place_of_map(network, x):
    return x[:, :, 0, 1]


def test_tokens_have_no_heat_map_and_a_pooled_map_has():
    tokens = whole_backbone("tokens", Tokens(), run_network, first_token, (12, 12))
    model = make_model(tokens.eval(), "tokens", reweight=False)
    image = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    found = FusionProbe(model, {"image": image}, ("cnn", "style"), {}, PLAIN).heat_maps([0, 1])
    assert found == {"cnn": None, "style": None}
    pooled = whole_backbone("pooled", nn.Flatten(), map_of, place_of_map, (12, 12))
    assert (pooled.last_stage, cam_stage(pooled)) == ("pooled", "map")
    model = make_model(pooled.eval(), "map", reweight=False, descriptor="gram")
    found = FusionProbe(model, {"image": image}, ("cnn",), {}, PLAIN).heat_maps(range(6))
    assert found["cnn"].shape == (6, 2, 2)
    assert found["cnn"].max() > 0  # through the network's own pooling, to its last map with places


def test_a_network_without_fusion_has_a_heat_map_and_no_shares(backbone):
    torch.manual_seed(3)
    model = ImageClassifier(backbone, Classifier(nn.Flatten(), 9 * 4 * 3, 2)).eval()
    image = torch.randn(1, 3, 32, 24)
    probe = NetworkProbe(model, image, PLAIN)
    with torch.no_grad():
        final = backbone.forward_stages(image)
        np.testing.assert_allclose(probe.logits, model({"image": image})[0].numpy(), atol=1e-6)
    expected = by_definition(lambda features: model.classifier(features)[0, 1], final)
    np.testing.assert_allclose(probe.heat_maps([1])["cnn"][0], expected, atol=1e-6)
    assert expected.max() > 0
    assert probe.by_subset() is None
    assert probe.parts == {}
