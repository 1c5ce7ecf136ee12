"""The small networks of published systems: shapes and numbers of parameters worked out by hand."""

from __future__ import annotations

import pytest
import torch

from fusion import backbone_spec, build_backbone, build_classifier, map_shape
from fusion.layers import Dropout

SMALL = ("cnn3", "cnn4", "cnn6", "pixels")

# Sides by hand, one after another: a 2 x 2 pooling halves (cnn6 up, the others down), cnn4's kernel takes 4 off before.
FINAL_MAPS = [
    ("cnn6", (150, 150), (128, 3, 3)),  # 75, 38, 19, 10, 5, 3
    ("cnn6", (64, 64), (128, 1, 1)),  # 32, 16, 8, 4, 2, 1
    ("cnn6", (1, 65), (128, 1, 2)),  # a pooling that rounds up never loses the last place
    ("cnn3", (268, 182), (128, 33, 22)),  # 134, 67, 33 and 91, 45, 22
    ("cnn4", (200, 150), (64, 8, 5)),  # 98, 47, 21, 8 and 73, 34, 15, 5
    ("cnn4", (76, 76), (64, 1, 1)),  # 36, 16, 6, 1
    ("pixels", (96, 64), (3, 96, 64)),
]


@pytest.mark.parametrize(("name", "size", "expected"), FINAL_MAPS)
def test_final_maps(name, size, expected):
    assert map_shape(build_backbone(name), size) == expected


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("cnn6", (150, 150)), ("cnn3", (268, 182)), ("cnn4", (200, 150)), ("pixels", (96, 64))],
)
def test_specs(name, sizes):
    spec = backbone_spec(name)
    assert spec.input_size == sizes
    assert (spec.mean, spec.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # pixel values in 0-1 as they are
    assert (spec.weights_file, spec.url, spec.pip_package) == (None, None, None)


# A convolution from C to D channels with a K x K kernel has D (C K K + 1) parameters, a linear layer D (C + 1).
PARAMETERS = {
    "cnn6": 32 * 28 + 32 * 289 + 64 * 289 + 64 * 577 + 128 * 577 + 128 * 1153 + 20 * (128 * 3 * 3 + 1),
    "cnn3": 32 * 28 + 64 * 289 + 128 * 577 + 128 * (128 * 33 * 22 + 1) + 64 * 129 + 20 * 65,
    "cnn4": 16 * 76 + 32 * 401 + 64 * 801 + 64 * 1601 + 128 * (64 * 8 * 5 + 1) + 64 * 129 + 20 * 65,
    "pixels": 128 * (3 * 96 * 64 + 1) + 64 * 129 + 20 * 65,
}


@pytest.mark.parametrize("name", SMALL)
def test_number_of_parameters_with_the_dense_classifier(name):
    hidden = () if name == "cnn6" else (128, 64)
    with torch.device("meta"):
        backbone = build_backbone(name)
        shape = map_shape(backbone, backbone_spec(name).input_size)
        classifier = build_classifier("dense", name, backbone, shape, 20, hidden=hidden)
    assert sum(p.numel() for part in (backbone, classifier) for p in part.parameters()) == PARAMETERS[name]


def test_layers_and_rates():
    stage = build_backbone("cnn4").stages["conv1"]
    assert dict(stage.named_children()).keys() == {"conv", "relu", "pool", "dropout"}
    for name, rate in (("cnn6", 0.25), ("cnn4", 0.25), ("cnn3", 0.0)):
        backbone = build_backbone(name)
        assert backbone.stage_names == [f"conv{k}" for k in range(1, int(name[-1]) + 1)]
        assert [layer.p for layer in backbone.modules() if isinstance(layer, Dropout)] == [rate] * int(name[-1])


def test_a_stage_by_hand():
    """One 1 x 1 spot of light through a kernel of ones: the pooled map shows where it was, dropout off."""
    stage = build_backbone("cnn6").stages["conv1"].eval()
    with torch.no_grad():
        stage.conv.weight.fill_(1)
        stage.conv.bias.fill_(-1)
        image = torch.zeros(1, 3, 7, 7)
        image[0, 0, 0, 0] = 3.0
        out = stage(image)[0, 5]
    expected = torch.zeros(4, 4)  # 7 halved and rounded up
    expected[0, 0] = 2.0  # 3 - 1; the kernel reaches no place of the next pooling
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("name", ["cnn3", "cnn4", "cnn6"])
def test_gradient_reaches_every_parameter(name):
    backbone = build_backbone(name)
    # Two random images of 96 x 80 are enough for no ReLU layer to be dead as a whole.
    (backbone(torch.rand(2, 3, 96, 80)) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_pixels_are_the_image():
    backbone = build_backbone("pixels")
    image = torch.rand(2, 3, 8, 6)
    assert torch.equal(backbone.forward_stages(image), image)
    assert not list(backbone.parameters())
    for mode in ("frozen", "full", "pixels"):
        backbone.set_trainable(mode)  # nothing to freeze is no error


@pytest.mark.parametrize("name", SMALL)
def test_state_dict_goes_in_and_out(name):
    one, two = build_backbone(name).eval(), build_backbone(name).eval()
    image = torch.rand(1, 3, 96, 80)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(image), two(image))
