"""Every network of every published system trains, whatever is added to the registry."""

from __future__ import annotations

import shutil

import pytest

from mmposter.config import load_config
from mmposter.published import reproduce as reproduce_module
from mmposter.published.reproduce import reproduce, wish
from mmposter.published.systems import VARIANTS, find_published, published_names
from mmposter.training import train as train_module

# Small pictures: the networks are those of the papers, the time is not. What no size is named for takes 32 x 32.
SIZES = {"inception_v3": "[96,96]", "alexnet": "[64,64]", "cnn4": "[96,80]"}
CASES = [
    (name, variant)
    for name in published_names()
    for variant in (VARIANTS if find_published(name).has_variants else VARIANTS[1:])
]


@pytest.fixture
def figures(monkeypatch, name, variant):
    """They take longer to draw than most of these networks to train, and know nothing of them: one network has them."""
    if (name, variant) != CASES[0]:
        monkeypatch.setattr(train_module, "write_plots", lambda *_: None)
        monkeypatch.setattr(reproduce_module, "write_evaluation", lambda *_: None)


@pytest.mark.usefixtures("figures")
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_one_short_epoch(posters, yolo_override, tmp_path, name, variant):
    published = find_published(name)
    backbone = published.config(variant).cnn.backbone
    quick = [
        f"cnn.size={SIZES.get(backbone, '[32,32]')}",
        "train.epochs=1",
        "train.batch_size=20",
        "evaluation.bootstrap=100",
        "crops.target=10",
        yolo_override,
    ]
    asked = wish(published, variant, quick, init="none")
    vocabulary = published.system.vocabulary
    result = reproduce(asked, vocabulary, posters, tmp_path, published=name, device="cpu", offline=True, quiet=True)
    assert result.data["vocabulary"] == vocabulary
    assert result.changed["train.epochs"] == [published.config(variant).train.epochs, 1]
    if result.diverged is not None:  # a learning rate of .5, as published, may do that
        assert name.startswith("p1/densenet")
        assert "training diverged in epoch 1" in result.diverged
        return
    assert result.epochs == 1
    assert set(published.system.metrics) <= set(result.metrics)
    assert all(0 <= result.metrics[metric]["value"] <= 1 for metric in published.system.metrics)
    shutil.rmtree(tmp_path / name.split("/")[0])  # VGG19's weights and moments are a gigabyte


@pytest.mark.parametrize("name", published_names())
def test_each_recipe_is_an_ordinary_one(name):
    config = load_config(f"published/{name}")
    clean = find_published(name).config("clean")
    assert config == clean, "what makes a network clean stands in its recipe, so that train and reproduce agree"
