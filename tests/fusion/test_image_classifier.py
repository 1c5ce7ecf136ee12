"""Image classifiers: against torchvision's own, by hand, and what is frozen when."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from fusion import (
    Backbone,
    Classifier,
    ImageClassifier,
    build_backbone,
    build_classifier,
    list_backbones,
    map_shape,
    parameter_groups,
)
from fusion.backbones import Undrawn

GENRES = 7
TORCHVISION = [name for name in list_backbones() if name in models.list_models()]
SLOW = {"densenet169", "densenet201", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16", "vgg19"}
HEIGHT, WIDTH = 128, 96  # not square; large enough for Inception and AlexNet


def original_network(name: str) -> nn.Module:
    options = {"init_weights": False, "transform_input": False, "aux_logits": False} if name == "inception_v3" else {}
    if name.startswith("vgg"):
        options = {"init_weights": False}  # slow, and beside the point
    return models.get_model(name, weights=None, num_classes=GENRES, **options)


def keep_the_signal(network: nn.Module, images: torch.Tensor) -> None:
    """In a random network it dies on its way, and any two would agree: running statistics from one batch, or, where
    there are no batch norms, weights of the size that keeps a ReLU's variance (six times that of torch's default)."""
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        if norms:
            network(images)
        elif not isinstance(network, models.ConvNeXt):
            for parameter in network.parameters():
                parameter.mul_(6**0.5)
    network.eval()


def last_layer(network: nn.Module) -> nn.Linear:
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def classifier_of(name: str, *, hidden: tuple[int, ...] | None = None, state_dict=None) -> ImageClassifier:
    """With its own classifier, or with a dense one."""
    backbone = build_backbone(name, state_dict)
    shape = map_shape(backbone, (HEIGHT, WIDTH))
    kind = "own" if hidden is None else "dense"
    classifier = build_classifier(
        kind, name, backbone, shape, GENRES, hidden=hidden or (), dropout=0.5, state_dict=state_dict
    )
    return ImageClassifier(backbone, classifier)


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def named(slow: set[str]) -> list[object]:
    """The torchvision networks, some of them slow to test."""
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in TORCHVISION]


@pytest.mark.parametrize("name", named(slow=SLOW - {"vgg16", "vgg19"}))
def test_an_own_classifier_has_as_many_parameters_as_the_original(name):
    with Undrawn(), torch.device("meta"):  # shapes without numbers
        original, ours = original_network(name), classifier_of(name)
    assert count(ours) == count(original)
    assert (ours.classifier.last.in_features, ours.classifier.last.out_features) == (
        last_layer(original).in_features,
        GENRES,
    )


@pytest.mark.parametrize("name", named(slow=SLOW))
def test_an_own_classifier_computes_what_the_original_does(name):
    original = original_network(name)
    images = torch.randn(2, 3, HEIGHT, WIDTH)
    keep_the_signal(original, images)
    with torch.no_grad():
        ours = classifier_of(name, state_dict=original.state_dict()).eval()
        ours.classifier.last.load_state_dict(last_layer(original).state_dict())
        expected = original(images)
        torch.testing.assert_close(ours({"image": images}), expected, atol=1e-5, rtol=1e-5)
        assert (expected[0] - expected[1]).abs().max() > 1e-3  # it is not the bias alone that agrees


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "efficientnet_b0", "inception_v3", "mobilenet_v3_small"])
def test_an_own_classifier_drops_as_much_as_the_original(name):
    with Undrawn(), torch.device("meta"):
        original = original_network(name)
        body = classifier_of(name).classifier.body
    whole = original.dropout if name == "inception_v3" else original.classifier
    rates = [module.p for module in whole.modules() if isinstance(module, nn.Dropout)]
    assert rates
    assert [module.p for module in body.modules() if isinstance(module, nn.Dropout)] == rates


@pytest.mark.parametrize("name", ["cnn6", "gram_resnet18", "srm_resnet18", "resnet18", "densenet121"])
def test_others_have_a_global_average_and_one_layer(name):
    backbone = build_backbone(name)
    classifier = build_classifier("own", name, backbone, (backbone.num_features, 3, 2), GENRES)
    assert count(classifier) == GENRES * (backbone.num_features + 1)
    x = torch.randn(2, backbone.num_features, 3, 2)
    torch.testing.assert_close(classifier(x), classifier.last(x.mean(dim=(2, 3))))


def test_a_dense_classifier_by_hand():
    backbone = build_backbone("cnn4")
    classifier = build_classifier("dense", "cnn4", backbone, (64, 2, 3), GENRES, hidden=(5, 4), dropout=0.5).eval()
    widths = [(m.in_features, m.out_features) for m in classifier.modules() if isinstance(m, nn.Linear)]
    assert sorted(widths) == [(4, GENRES), (5, 4), (64 * 2 * 3, 5)]
    x = torch.randn(2, 64, 2, 3)
    first, second = classifier.body.linear1, classifier.body.linear2
    expected = classifier.last(second(first(x.reshape(2, -1)).relu()).relu())
    torch.testing.assert_close(classifier(x), expected)
    rates = [module.p for module in classifier.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.5, 0.5]
    assert not torch.equal(classifier.train()(x), classifier(x))  # and they drop


def test_a_dense_classifier_without_hidden_layers_is_one_layer():
    backbone = build_backbone("cnn6")
    classifier = build_classifier("dense", "cnn6", backbone, (128, 3, 3), 20)
    assert count(classifier) == 20 * (128 * 9 + 1)
    x = torch.randn(2, 128, 3, 3)
    assert torch.equal(classifier(x), classifier.last(x.flatten(1)))


@pytest.mark.parametrize(("name", "hidden"), [("cnn4", (8,)), ("alexnet", None), ("pixels", (6, 5, 4))])
def test_gradient_reaches_every_parameter(name, hidden):
    model = classifier_of(name, hidden=hidden).eval()  # no dropout: it could silence a small layer
    model({"image": torch.randn(4, 3, HEIGHT, WIDTH)}).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_what_learns_is_an_exact_set():
    original = original_network("mobilenet_v3_small")
    pretrained = classifier_of("mobilenet_v3_small", state_dict=original.state_dict())
    tower = {name for name, _ in pretrained.named_parameters() if name.startswith("tower.")}
    body = {"classifier.body.classifier.0.weight", "classifier.body.classifier.0.bias"}
    last = {"classifier.last.weight", "classifier.last.bias"}
    stage5 = {name for name in tower if name.startswith("tower.stages.stage5.")}
    for mode, expected in [
        ("frozen", last),
        ("full", tower | body | last),
        ("stage5", stage5 | body | last),
        ("frozen", last),
    ]:
        pretrained.set_trainable(mode)
        assert trainable(pretrained) == expected, mode
    random = classifier_of("mobilenet_v3_small")
    random.set_trainable("frozen")
    assert trainable(random) == body | last  # a random layer that never learns would be of no use
    with pytest.raises(ValueError, match="mode must be 'frozen', 'full' or one of"):
        random.set_trainable("half")


def test_a_frozen_body_stays_in_evaluation_mode():
    state = original_network("mobilenet_v3_small").state_dict()
    model = classifier_of("mobilenet_v3_small", state_dict=state)
    model.set_trainable("frozen")
    model.train()
    assert not any(module.training for module in model.classifier.body.modules())
    assert not any(stage.training for stage in model.tower.stages.values())
    assert model.classifier.last.training
    inputs = {"image": torch.randn(2, 3, HEIGHT, WIDTH)}
    assert torch.equal(model(inputs), model(inputs))  # no dropout
    model.set_trainable("stage3")
    assert all(module.training for module in model.classifier.body.modules())
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    model.set_trainable("full")
    assert not any(module.training for module in model.modules())


def test_a_new_dense_classifier_learns_above_a_frozen_network():
    state = original_network("resnet18").state_dict()
    model = classifier_of("resnet18", hidden=(6,), state_dict=state)
    model.set_trainable("frozen")
    assert trainable(model) == {name for name, _ in model.named_parameters() if name.startswith("classifier.")}
    assert model.train().classifier.body.training


def test_the_tower_has_its_own_rate():
    model = classifier_of("cnn4", hidden=(8,))
    groups = parameter_groups(model, weight_decay=0.1, lr=1e-3, tower_lr=1e-5)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in model.tower.parameters()} == {1e-5}
    assert {rates[id(p)] for p in model.classifier.parameters()} == {1e-3}


def test_it_is_called_as_the_fusion_is():
    model = classifier_of("cnn4", hidden=()).eval()
    inputs = {"image": torch.randn(2, 3, HEIGHT, WIDTH), "yolo.boxes": torch.zeros(2, 1, 4)}
    logits = model(inputs)
    assert logits.shape == (2, GENRES)
    for only in (("cnn",), ["cnn"], {"cnn"}, "cnn"):
        assert torch.equal(model(inputs, only), logits)
    for wrong in (("cnn", "yolo"), ["style"], (), "style"):
        with pytest.raises(ValueError, match="only must be None or hold 'cnn'"):
            model(inputs, wrong)
    with pytest.raises(ValueError, match=r"inputs must hold 'image' .*got \['cnn.pooled'\]"):
        model({"cnn.pooled": torch.zeros(2, 64)})


def test_state_dict_goes_in_and_out():
    one, two = (classifier_of("cnn4", hidden=(8,)).eval() for _ in range(2))
    two.load_state_dict(one.state_dict())
    inputs = {"image": torch.randn(2, 3, HEIGHT, WIDTH)}
    assert torch.equal(one(inputs), two(inputs))


def test_probing_the_map_leaves_no_trace():
    backbone = build_backbone("resnet18")
    backbone.set_trainable("layer4")
    backbone.train()
    backbone.stages["layer4"].eval()  # one more that someone else has set
    modes = [module.training for module in backbone.modules()]
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert map_shape(backbone, (96, 64)) == (512, 3, 2)
    assert [module.training for module in backbone.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize(
    ("name", "size", "smallest"),
    [("alexnet", (62, 200), 63), ("inception_v3", (74, 74), 75), ("cnn4", (96, 64), 76)],
)
def test_too_small_an_image(name, size, smallest):
    with torch.device("meta"):
        backbone = build_backbone(name)
        words = f"size must be at least {smallest} x {smallest} pixels for {name}, got {size[0]} x {size[1]}"
        with pytest.raises(ValueError, match=words):
            map_shape(backbone, size)
        map_shape(backbone, (smallest, smallest))  # and that is true


def test_a_size_that_is_refused_for_another_reason():
    class OneSize(nn.Conv2d):
        def forward(self, x):
            assert x.shape[2:] == (96, 96), "only 96 x 96"
            return super().forward(x)

    backbone = Backbone("square", {"only": OneSize(3, 4, 3)})
    assert map_shape(backbone, (96, 96)) == (4, 94, 94)
    with pytest.raises(ValueError, match="size must be one that square takes, got 128 x 96: only 96 x 96"):
        map_shape(backbone, (128, 96))


def test_arguments_are_checked():
    backbone = build_backbone("cnn4")
    with pytest.raises(ValueError, match=r"kind must be one of \['own', 'dense'\], got 'fusion'"):
        build_classifier("fusion", "cnn4", backbone, (64, 2, 2), GENRES)
    with pytest.raises(ValueError, match=r"map_shape must have the 64 channels of cnn4, got \(3, 2, 2\)"):
        build_classifier("own", "cnn4", backbone, (3, 2, 2), GENRES)
    with pytest.raises(ValueError, match=r"hidden must be empty where kind is 'own', got \(8,\)"):
        build_classifier("own", "cnn4", backbone, (64, 2, 2), GENRES, hidden=[8])
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
        build_classifier("dense", "cnn4", backbone, (64, 2, 2), GENRES, dropout=1.0)
    with pytest.raises(ValueError, match="num_genres must be at least 1, got 0"):
        Classifier(nn.Flatten(), 4, 0)


def test_weights_without_the_classifiers_layers_are_refused():
    with torch.device("meta"):
        backbone = build_backbone("vgg16")
        state = original_network("vgg16").state_dict()
        without = {key: value for key, value in state.items() if key != "classifier.3.weight"}
        with pytest.raises(ValueError, match=r"classifier's layers of vgg16, got none of classifier.3.weight$"):
            build_classifier("own", "vgg16", backbone, (512, 4, 3), GENRES, state_dict=without)
        state["classifier.0.weight"] = torch.zeros(4096, 512)
        shapes = r"classifier.0.weight \(4096, 512\) in place of \(4096, 25088\)"
        with pytest.raises(ValueError, match=shapes):
            build_classifier("own", "vgg16", backbone, (512, 4, 3), GENRES, state_dict=state)
