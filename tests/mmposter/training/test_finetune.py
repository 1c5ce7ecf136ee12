"""The finetune regime: the tower learns on posters, frozen parts stay as they are, to the last statistic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mmposter.explain.classifier import PosterClassifier
from mmposter.features.sizes import Sizes
from mmposter.features.tower import TowerWeights
from mmposter.measurement.evaluate import evaluate_run
from mmposter.runs.building import build_model, build_tower, tower_sizes
from mmposter.runs.run import WEIGHTS, Run
from mmposter.training.train import train

QUICK = ("train.epochs=1", "train.augment=true")


def _model(config):
    tower = build_tower(config, TowerWeights(config.cnn.backbone, None, config.seed).build())
    sizes = Sizes(**{**Sizes(class_names=("a", "b"), embedding_dim=8).to_json(), **tower_sizes(tower)})
    return build_model(config, sizes, 4, tower)


def _inputs(count: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(count, 3, 64, 48, generator=generator),
        "yolo.boxes": torch.rand(count, 5, 4, generator=generator),
        "yolo.scores": torch.rand(count, 5, generator=generator),
        "yolo.labels": torch.randint(0, 2, (count, 5), generator=generator),
        "yolo.mask": torch.ones(count, 5, dtype=torch.bool),
        "ocr.document": torch.randn(count, 8, generator=generator),
        "ocr.embeddings": torch.randn(count, 3, 8, generator=generator),
        "ocr.geometry": torch.rand(count, 3, 5, generator=generator),
        "ocr.mask": torch.ones(count, 3, dtype=torch.bool),
        "ocr.ngrams": torch.randint(0, 256, (count, 7), generator=generator),
        "ocr.ngram_counts": torch.ones(count, 7),
        "ocr.ngram_mask": torch.ones(count, 7, dtype=torch.bool),
    }


@pytest.mark.parametrize("branches", ["cnn", "cnn,style", "style", "cnn,style,yolo,ocr"])
def test_every_parameter_of_every_enabled_branch_gets_a_gradient(world, branches):
    config = world.config("fusion.branch_dropout=0", regime="finetune", branches=branches)
    model = _model(config).train()
    model(_inputs()).square().sum().backward()
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    if branches == "style":
        # Without the cnn branch the tower is run to the tap only; by default that is its last stage, so all of it.
        assert model.tower.tap_is_last
    # The vectors that stand in for an absent branch get theirs from posters without it.
    assert {name for name in silent if ".absent." not in name} == set()


def test_trainable_names_are_this_exact_set(world):
    config = world.config("cnn.trainable=stage5", regime="finetune", branches="cnn")
    model = _model(config)
    learning = {name.split(".")[3] for name, p in model.named_parameters() if p.requires_grad and "backbone" in name}
    stages = model.tower.backbone.stage_names
    assert learning == set(stages[stages.index("stage5") :])
    frozen = _model(world.config("cnn.trainable=frozen", regime="finetune", branches="cnn"))
    assert not any(p.requires_grad for p in frozen.tower.parameters())


def test_frozen_tower_keeps_weights_and_batch_norm_statistics(world, tmp_path):
    config = world.config(*QUICK, "cnn.trainable=frozen", regime="finetune", branches="cnn,yolo")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    before = TowerWeights(config.cnn.backbone, None, config.seed).build().state_dict()
    after = load_file(tmp_path / "run" / WEIGHTS)
    for key, value in before.items():
        assert torch.equal(after[f"tower.backbone.{key}"], value), key


def test_full_tower_moves_and_the_run_predicts_elsewhere(world, tmp_path):
    config = world.config(*QUICK, regime="finetune", branches="cnn,style")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    before = TowerWeights(config.cnn.backbone, None, config.seed).build().state_dict()
    after = load_file(tmp_path / "run" / WEIGHTS)
    moved = {key for key in before if not torch.equal(after[f"tower.backbone.{key}"], before[key])}
    assert any("running_mean" in key for key in moved)
    assert any(key.endswith("weight") for key in moved)
    moved_run = tmp_path / "elsewhere"
    (tmp_path / "run").rename(moved_run)
    result = evaluate_run(Run.load(moved_run), world.dataset, device="cpu", offline=True)
    assert result.n == 16
    poster = world.dataset.image_path(0)
    from_path, from_pixels = PosterClassifier.load(moved_run, device="cpu", offline=True).predict(
        [poster, np.asarray(Image.open(poster))]
    )
    assert from_path.error is None
    assert from_path.scores == pytest.approx(from_pixels.scores, abs=1e-6)


def test_a_poster_that_vanished_is_left_out_not_fatal(world, tmp_path):
    world.dataset.image_path(0).unlink()
    config = world.config(*QUICK, regime="finetune", branches="cnn")
    result = train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    assert len(result.progress.history) == 1


def test_held_batch_norms_keep_their_statistics_while_weights_learn(world, tmp_path):
    config = world.config(*QUICK, "cnn.batch_norms=held", regime="finetune", branches="cnn")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    before = TowerWeights(config.cnn.backbone, None, config.seed).build().state_dict()
    after = load_file(tmp_path / "run" / WEIGHTS)
    moved = {key for key in before if not torch.equal(after[f"tower.backbone.{key}"], before[key])}
    assert not any("running" in key or "num_batches" in key for key in moved)
    assert any(key.endswith("weight") for key in moved)


def test_averaged_weights_are_kept_and_lie_near_the_start(world, tmp_path):
    moved = {}
    for average in (0.0, 0.9):
        config = world.config(*QUICK, f"train.average={average}", regime="finetune", branches="cnn")
        train(config, world.dataset, tmp_path / str(average), device="cpu", offline=True, quiet=True)
        before = TowerWeights(config.cnn.backbone, None, config.seed).build().state_dict()
        after = load_file(tmp_path / str(average) / WEIGHTS)
        key = next(key for key, value in before.items() if value.ndim == 4)
        moved[average] = float((after[f"tower.backbone.{key}"] - before[key]).norm())
    assert 0 < moved[0.9] < 0.95 * moved[0.0]


def test_decoded_posters_go_when_the_training_is_finished(world, tmp_path):
    config = world.config(*QUICK, regime="finetune", branches="cnn")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    assert not (tmp_path / "run" / "posters").exists()


def test_what_a_tower_learnt_can_be_begun_from(world, tmp_path):
    config = world.config(*QUICK, regime="finetune", branches="cnn,style")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    learnt = load_file(tmp_path / "run" / WEIGHTS)
    tower = tmp_path / "run" / "tower.safetensors"
    for key, value in load_file(tower).items():
        assert torch.equal(learnt[f"tower.backbone.{key}"], value), key
    config = world.config(*QUICK, f"cnn.init={tower}", branches="cnn")
    result = train(config, world.dataset, tmp_path / "next", device="cpu", offline=True, quiet=True)
    assert result.run.config.cnn.init == str(tower)
