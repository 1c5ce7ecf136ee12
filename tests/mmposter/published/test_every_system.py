"""Every network of every published system learns, whatever is added to the registry."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
from torch import nn

from fusion import classifier as classifier_module
from mmposter.config import load_config
from mmposter.errors import DivergedError
from mmposter.published.reproduce import reproduce, wish
from mmposter.published.systems import VARIANTS, Variant, find_published, published_names, systems
from mmposter.published.task import task_dataset
from mmposter.training.inputs import load_inputs
from mmposter.training.train import fit

# Small pictures: the networks are those of the papers, the time is not. What no size is named for takes 32 x 32.
SIZES = {"inception_v3": "[96,96]", "alexnet": "[64,64]", "cnn4": "[96,80]"}
# One network of each system, and one of each kind, goes all the way: trained, measured and written as a result.
WHOLE = ("p1/cnn6", "p1/densenet121", "p2/alexnet", "p3/cnn3", "p4/cnn4", "p5/joined", "p6/gram_resnet34")
WHOLE += ("p7/feedforward",)
CASES = [
    (name, variant)
    for name in published_names()
    for variant in (VARIANTS if find_published(name).has_variants else VARIANTS[1:])
]
# The others are trained for a step, as published too where that is another network; what else a variant changes
# belongs to its system.
STEPS = [
    (name, variant)
    for name, variant in CASES
    if name not in WHOLE and (variant == "clean" or find_published(name).network.variants)
]


def quick(name: str, variant: Variant, *more: str) -> list[str]:
    backbone = find_published(name).config(variant).cnn.backbone
    return [f"cnn.size={SIZES.get(backbone, '[32,32]')}", "train.epochs=1", "evaluation.bootstrap=100", *more]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 120 million weights of VGG's own classifier take seconds; tests/fusion/test_image_classifier.py has them."""

    def layers(features: int) -> list[nn.Module]:
        return [nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()]

    for name in ("vgg16", "vgg19", "alexnet"):
        side, _ = classifier_module._OWN[name]
        monkeypatch.setitem(classifier_module._OWN, name, (side, layers))


@pytest.mark.parametrize(("name", "variant"), STEPS)
def test_it_learns(posters, yolo_override, tmp_path, name, variant):
    published = find_published(name)
    asked = wish(published, variant, quick(name, variant, "train.batch_size=8", yolo_override), init="none")
    data = task_dataset(posters, published.system.vocabulary, tmp_path, limit=24)
    inputs = load_inputs(asked.config, data, device="cpu", offline=True, quiet=True)
    (tmp_path / "run").mkdir()
    start = partial(fit, asked.config, data, inputs, tmp_path / "run", device="cpu", offline=True, quiet=True)
    if name.startswith("p1/densenet"):
        with suppress(DivergedError):  # a learning rate of .5, as published, may do that
            start()
        return
    fitted = start()
    assert len(fitted.progress.history) == 1
    assert fitted.validation.probs.shape == (len(inputs.rows("val")), len(data.vocabulary))
    assert fitted.run.config == asked.config


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if case[0] in WHOLE])
def test_the_whole_of_one_short_epoch(posters, yolo_override, tmp_path, name, variant):
    published = find_published(name)
    more = ("train.batch_size=20", "crops.target=10", yolo_override)
    asked = wish(published, variant, quick(name, variant, *more), init="none")
    vocabulary = published.system.vocabulary
    result = reproduce(asked, vocabulary, posters, tmp_path, published=name, device="cpu", offline=True, quiet=True)
    assert result.data["vocabulary"] == vocabulary
    assert result.changed["train.epochs"] == [published.config(variant).train.epochs, 1]
    if result.diverged is not None:  # as above
        assert name.startswith("p1/densenet")
        assert "training diverged in epoch 1" in result.diverged
        return
    assert result.epochs == 1
    assert set(published.system.metrics) <= set(result.metrics)
    assert all(0 <= result.metrics[metric]["value"] <= 1 for metric in published.system.metrics)


def test_each_system_goes_all_the_way_once_and_no_network_is_left_out():
    assert {name.split("/")[0] for name in WHOLE} == set(systems())
    assert {name for name, _ in STEPS} | set(WHOLE) == set(published_names())


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_each_variant_can_be_asked_for(name, variant):
    asked = wish(find_published(name), variant, quick(name, variant), init="none")
    assert asked.config.train.epochs == 1
    assert asked.changed()["train.epochs"] == [find_published(name).config(variant).train.epochs, 1]


@pytest.mark.parametrize("name", published_names())
def test_each_recipe_is_an_ordinary_one(name):
    config = load_config(f"published/{name}")
    clean = find_published(name).config("clean")
    assert config == clean, "what makes a network clean stands in its recipe, so that train and reproduce agree"
