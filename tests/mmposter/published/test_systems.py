"""What is known of published systems, and how a network is asked for."""

from __future__ import annotations

from importlib import resources

import pytest
from torch import nn

from fusion import build_backbone
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.evaluation.metrics import METRICS
from mmposter.evaluation.single_label import SINGLE_LABEL_METRICS
from mmposter.published.reproduce import wish
from mmposter.published.systems import VARIANTS, find_published, parse_names, parse_variants, published_names, systems
from mmposter.runs.building import build_image_classifier


def test_every_recipe_file_is_a_network_of_its_system():
    root = resources.files("mmposter.configs") / "published"
    files = {
        f"{folder.name}/{item.name.removesuffix('.yaml')}"
        for folder in root.iterdir()
        for item in folder.iterdir()
        if item.name != "system.yaml"
    }
    assert files == set(published_names())


@pytest.mark.parametrize("key", list(systems()))
def test_facts_name_known_metrics_and_genres(key):
    system = systems()[key]
    assert len(Vocabulary.load(system.vocabulary)) > 1
    printed = [found for net in system.models.values() for found in (net.published, net.training)]
    numbers = [*system.constant.items(), *(pair for found in printed for pair in found.items())]
    assert set(system.metrics) <= {metric.name for metric in (*METRICS, *SINGLE_LABEL_METRICS)}
    assert all(0 < value < 1 for _, value in numbers)
    assert {name for name, _ in numbers} <= set(system.metrics)


def test_rows_that_the_papers_print_are_there():
    wanted = "densenet121 densenet169 densenet201 resnet34 resnet50 resnet101 resnet152 vgg16 vgg19 alexnet "
    wanted += "inception_v3 efficientnet_b0 cnn3 cnn4 cnn6 pixels gram_resnet34 resnet18"
    found = {find_published(name).config(variant).cnn.backbone for name in published_names() for variant in VARIANTS}
    assert set(wanted.split()) <= found


def test_faults_are_kept_as_published_and_mended_when_clean():
    leaky, clean = (find_published("p1/densenet121").config(variant) for variant in VARIANTS)
    assert (leaky.loss.name, clean.loss.name) == ("double_sigmoid_bce", "bce")
    assert [find_published("p1/cnn6").order(variant) for variant in VARIANTS] == ["crops_first", "split_first"]
    named, meant = (find_published("p3/resnet18").config(variant) for variant in VARIANTS)
    assert (named.cnn.backbone, meant.cnn.backbone) == ("resnet152", "resnet18")
    assert (named.evaluation.thresholds, meant.evaluation.thresholds) == (0.6225, 0.5)
    assert [find_published("p7/resnet50").watches_test(variant) for variant in VARIANTS] == [True, False]
    assert not find_published("p4/cnn4").has_variants


def test_the_custom_network_of_p3_has_one_dropout_layer():
    """And that of P4 one after each hidden layer, as published."""
    counts = {}
    for name in ("p3/cnn3", "p4/cnn4"):
        config = find_published(name).config("clean")
        backbone = build_backbone(config.cnn.backbone)
        dense = build_image_classifier(config, backbone, config.cnn.size, 5).classifier
        counts[name] = [sum(isinstance(layer, kind) for layer in dense.modules()) for kind in (nn.Linear, nn.Dropout)]
    assert counts == {"p3/cnn3": [3, 1], "p4/cnn4": [3, 2]}


def test_names():
    assert [published.name for published in parse_names("P4, p1/cnn6,p4/cnn4")] == ["p4/cnn4", "p4/vgg16", "p1/cnn6"]
    assert [published.name for published in parse_names("all")] == published_names()
    for bad in ("p9", "p1/resnet", "", "p1/cnn6,nothing"):
        with pytest.raises(UserError, match="p1 \\(DenseNet on 20 genres\\): densenet121"):
            parse_names(bad)
    assert parse_variants("both") == VARIANTS
    with pytest.raises(UserError, match="as_published, clean or both; got 'leaky'"):
        parse_variants("leaky")


def test_what_a_user_changes_is_told():
    asked = wish(find_published("p1/cnn6"), "clean", ["crops.target=30", "train.epochs=2"])
    assert asked.target == 30
    assert asked.changed() == {"train.epochs": [10, 2], "crops.target": [3000, 30]}
    assert wish(find_published("p4/cnn4"), "clean", ["crops.target=30"]).target is None
    with pytest.raises(UserError, match=r"crops\.target takes a number from 1; got 'x'"):
        wish(find_published("p1/cnn6"), "clean", ["crops.target=x"])
    with pytest.raises(UserError, match=r"train\.epocs: unknown key"):
        wish(find_published("p1/cnn6"), "clean", ["train.epocs=3"])


def test_networks_that_the_papers_took_from_imagenet_do_so():
    """Whatever travels with the package: `auto` would start some of them from our own tower."""
    configs = [find_published(name).config("clean") for name in published_names()]
    assert {config.cnn.init for config in configs if "cnn" in config.branches} == {"imagenet", "none"}


def test_init_leaves_networks_without_published_weights_alone():
    for init in ("imagenet", "auto"):
        assert wish(find_published("p4/cnn4"), "clean", init=init).config.cnn.init == "none"
    assert wish(find_published("p1/densenet121"), "clean", init="posters").config.cnn.init == "posters"
    assert wish(find_published("p4/vgg16"), "clean", init="none").config.cnn.init == "none"
    assert wish(find_published("p4/cnn4"), "clean", init="mine.safetensors").config.cnn.init == "mine.safetensors"
