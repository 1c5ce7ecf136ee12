"""timm's and the hub's models as image towers: files found, identities kept, runs that need no other folder."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from fusion import StageStatistics, gram_matrix
from mmposter.config import CnnConfig, StyleConfig
from mmposter.errors import UserError
from mmposter.explain.classifier import PosterClassifier
from mmposter.features.extract import extract
from mmposter.features.extractors import CnnExtractor, StyleExtractor, build_extractors
from mmposter.features.store import ExtractorStore
from mmposter.features.tower import SharedTower, TowerInput, TowerWeights
from mmposter.images.picture import Picture
from mmposter.measurement.evaluate import evaluate_run
from mmposter.pretrained import catalogue, resolver
from mmposter.runs.run import Run
from mmposter.training.train import train

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.75)


def write_model(folder: Path, seed: int = 0) -> Path:
    """A folder as `save_pretrained` leaves it: a tiny ViT with the classifier that it was trained with."""
    torch.manual_seed(seed)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    model.save_pretrained(folder)
    size = {"height": 32, "width": 24}
    transformers.ViTImageProcessor(size=size, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(folder)
    return folder


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "tiny-vit")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No weights folder, an empty hub cache, and no network."""
    monkeypatch.delenv(resolver.ENVIRONMENT, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the network was asked for a model")
    )
    return tmp_path / "hub"


def found(backbone: str, init: str = "imagenet", **settings: Any) -> TowerWeights:
    return TowerWeights.find(CnnConfig(backbone=backbone, init=init, **settings), seed=3, offline=True)


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)


# --- what a folder says ---


def test_a_folder_says_size_normalisation_and_weights(model):
    tower = found(f"hf/{model}")
    picture = TowerInput.of(CnnConfig(backbone=f"hf/{model}"), tower)
    assert (picture.mean, picture.std, picture.size) == (MEAN, STD, (32, 24))
    image = picture(Picture(pixels()))
    assert image.shape == (3, 32, 24)
    original = transformers.ViTForImageClassification.from_pretrained(model).vit.eval()
    with torch.no_grad():
        wanted = original(image[None], interpolate_pos_encoding=True).last_hidden_state[:, 0]
        assert torch.allclose(tower.build()(image[None]), wanted, atol=1e-5)


def test_size_and_unit_normalisation_can_be_set(model):
    config = CnnConfig(backbone=f"hf/{model}", init="imagenet", size=(40, 32), normalisation="unit")
    picture = TowerInput.of(config, TowerWeights.find(config, offline=True))
    assert (picture.mean, picture.std, picture.size) == ((0, 0, 0), (1, 1, 1), (40, 32))
    assert TowerWeights.find(config, offline=True).build().input_size == (40, 32)
    assert pickle.loads(pickle.dumps(picture)) == picture
    assert hash(picture) == hash(TowerInput((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (40, 32), "bilinear"))


def test_unit_normalisation_enters_the_fingerprint_and_the_usual_one_does_not():
    config = CnnConfig(backbone="mobilenet_v3_small", init="none", size=(64, 48), resize="bicubic")
    unit = config.model_copy(update={"normalisation": "unit"})
    usual, other = (CnnExtractor(SharedTower(c, TowerWeights.find(c), device="cpu")) for c in (config, unit))
    before = {"version": 1, "backbone": "mobilenet_v3_small", "weights": "random-0", "size": [64, 48]}
    assert usual.fingerprint() == before
    assert other.fingerprint() == {**before, "normalisation": "unit"}
    image = other.preparation(Picture(pixels()))
    assert 0 <= image.min() < 0.1
    assert 0.9 < image.max() <= 1
    style = StyleExtractor(SharedTower(config, TowerWeights.find(config), device="cpu"), StyleConfig(reduced=8))
    assert style.fingerprint() == {**before, "stage": "last", "reduced": 8, "normaliser": "hw"}


def test_identity_is_of_the_content_not_of_the_place(model, tmp_path):
    copied = shutil.copytree(model, tmp_path / "elsewhere")
    here, there = found(f"hf/{model}").identity(), found(f"hf/{copied}").identity()
    assert here == there == json.loads(json.dumps(here))
    assert here["backbone"] == "hf/vit"
    assert str(tmp_path) not in json.dumps(here)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-3}))
    assert found(f"hf/{copied}").identity() != here
    random = found(f"hf/{model}", "none").identity()
    assert random == {**here, "weights": "random-3"}
    assert found(f"hf/{write_model(tmp_path / 'other', 1)}").identity()["weights"] != here["weights"]


def test_random_weights_need_the_description_alone(model):
    (model / "model.safetensors").unlink()
    first, second = (found(f"hf/{model}", "none").build().state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    with pytest.raises(UserError, match=r"model\.safetensors") as error:
        found(f"hf/{model}")
    assert f"the path given: {model}" in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_ones_own(model, tmp_path, suffix):
    state = {key: value * 0.5 for key, value in load_file(model / "model.safetensors").items()}
    path = tmp_path / f"mine{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    mine, published = found(f"hf/{model}", str(path)).build(), found(f"hf/{model}").build()
    for one, other in zip(mine.parameters(), published.parameters(), strict=True):
        assert torch.equal(one, other * 0.5)
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other\.safetensors: state_dict must hold the weights of hf/"):
        found(f"hf/{model}", str(tmp_path / "other.safetensors")).build()


def test_a_saved_tower_needs_nothing_else(model, tmp_path, nowhere):
    tower = found(f"hf/{model}", size=(40, 32))
    tower.save(tmp_path / "tower.safetensors")
    expected, identity = tower.build(), tower.identity()
    shutil.rmtree(model)
    saved = found(f"hf/{model}", str(tmp_path / "tower.safetensors"), size=(40, 32))
    assert saved.identity() == identity
    assert saved.architecture == tower.architecture
    images = torch.randn(2, 3, 40, 32)
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(saved)).build()(images), expected(images))
    saved.save(tmp_path / "again.safetensors")
    again = found(f"hf/{model}", str(tmp_path / "again.safetensors"), size=(40, 32))
    assert again.identity() == identity


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_description_is_named(model, content):
    (model / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"tiny-vit.config\.json"):
        found(f"hf/{model}", "none")


# --- where files are looked for ---


def in_cache(cache: Path, repository: str, source: Path) -> Path:
    """A repository as huggingface_hub keeps it."""
    whole = cache / f"models--{repository.replace('/', '--')}"
    (whole / "refs").mkdir(parents=True)
    (whole / "refs" / "main").write_text("abc123")
    return Path(shutil.copytree(source, whole / "snapshots" / "abc123"))


def test_the_hubs_cache_and_the_weights_folder_are_looked_through(model, tmp_path, nowhere, monkeypatch):
    in_cache(nowhere, "org/tiny", model)
    assert found("hf/org/tiny").identity() == found(f"hf/{model}").identity()
    mine = tmp_path / "mine" / "org" / "tiny"
    write_model(mine, seed=1)
    monkeypatch.setenv(resolver.ENVIRONMENT, str(tmp_path / "mine"))
    assert found("hf/org/tiny").file == mine / "model.safetensors"


def test_files_of_common_names_count_in_a_folder_of_their_own_only(model, tmp_path, nowhere, monkeypatch):
    shutil.copytree(model, tmp_path / "flat")
    monkeypatch.setenv(resolver.ENVIRONMENT, str(tmp_path / "flat"))
    with pytest.raises(UserError, match="org/tiny is not on this machine") as error:
        found("hf/org/tiny")
    assert f"or put the files into {tmp_path / 'flat'}/org/tiny" in str(error.value)


def test_offline_names_the_files_the_places_and_the_commands(nowhere):
    with pytest.raises(UserError) as error:
        found("hf/org/tiny")
    said = str(error.value)
    assert "org/tiny is not on this machine" in said
    assert "(needed: config.json, preprocessor_config.json, model.safetensors)" in said
    assert f"{nowhere}/models--org--tiny" in said
    assert "run once without --offline" in said
    assert "or put the files into FOLDER/org/tiny and set MMPOSTER_WEIGHTS=FOLDER" in said
    with pytest.raises(UserError, match=r"needed: config\.json, preprocessor_config\.json\)"):
        found("hf/org/tiny", "none")
    with pytest.raises(UserError, match=r"/gone/folder is no folder here, and no name that the Hugging Face hub"):
        found("hf//gone/folder")


def test_timm_offline_gets_the_resolvers_error_and_no_random_weights(nowhere):
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=r"timm/test_vit\.r160_in1k is not on this machine \(needed: model\.safet"):
        found("timm/test_vit")
    with pytest.raises(UserError, match="timm/coatnet_0_224 has no published weights; use --init none, or --init FILE"):
        found("timm/coatnet_0_224")
    with pytest.raises(UserError, match=r"cnn\.backbone must name a model of timm, got 'timm/tests_vit'; near it"):
        found("timm/tests_vit", "none")


def test_what_is_downloaded_is_found_where_it_lies(model, nowhere, monkeypatch):
    asked = []

    def download(repository, *, cache_dir, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(in_cache(Path(cache_dir), repository, model))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    tower = TowerWeights.find(CnnConfig(backbone="hf/org/tiny", init="imagenet"))
    assert asked == [("org/tiny", ["config.json", "preprocessor_config.json", "model.safetensors"])]
    assert tower.identity() == found(f"hf/{model}").identity()
    again = resolver.resolve(catalogue.hub("org/tiny", ["config.json"], "MIT"), offline=True)
    assert again == tower.file.parent


def test_timms_published_weights_are_found_and_loaded(tmp_path, nowhere):
    timm = pytest.importorskip("timm")
    torch.manual_seed(4)
    original = timm.create_model("test_vit").eval()
    (tmp_path / "files").mkdir()
    save_file(original.state_dict(), tmp_path / "files" / "model.safetensors")
    in_cache(nowhere, "timm/test_vit.r160_in1k", tmp_path / "files")
    tower = found("timm/test_vit")
    images = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        wanted = original.forward_head(original.forward_features(images), pre_logits=True)
        assert torch.allclose(tower.build()(images), wanted, atol=1e-6)
    tower.save(tmp_path / "tower.safetensors")
    saved = found("timm/test_vit", str(tmp_path / "tower.safetensors"))
    assert saved.identity() == tower.identity()
    assert saved.identity()["backbone"] == "timm/test_vit"
    assert saved.identity()["architecture"]["mean"] == [0.5, 0.5, 0.5]
    with torch.no_grad():
        assert torch.allclose(saved.build()(images), wanted, atol=1e-6)


# --- what the branches see ---


def test_style_is_measured_on_the_tokens_and_cnn_on_what_the_model_pools(model):
    config = CnnConfig(backbone=f"hf/{model}", init="imagenet")
    tower = SharedTower(config, TowerWeights.find(config, offline=True), device="cpu")
    cnn, style = CnnExtractor(tower), StyleExtractor(tower, StyleConfig(reduced=4))
    cnn.start()
    style.start()
    assert cnn.metadata() == {"num_features": 32}
    assert style.metadata() == {"channels": 32, "gram_size": 4, "tap_is_last": False}
    batch = [cnn.preparation(Picture(pixels(seed))) for seed in range(3)]
    backbone = TowerWeights.find(config, offline=True).build()
    with torch.inference_mode():
        tokens = backbone.forward_stages(torch.stack(batch), stop="tokens")
        assert tokens.shape == (3, 32, 1 + 4 * 3, 1)
        gram = gram_matrix(StageStatistics(32, 4).reduction(tokens))
        pooled = backbone(torch.stack(batch))
    assert torch.allclose(style.collate(style(batch))["style.gram"], gram, atol=1e-5)
    assert torch.allclose(cnn.collate(cnn(batch))["cnn.pooled"], pooled, atol=1e-5)


# --- runs ---


def scores(folder, poster):
    return PosterClassifier.load(folder, device="cpu", offline=True).predict(poster)[0].scores


@pytest.mark.parametrize("regime", ["features", "finetune"])
@pytest.mark.parametrize("init", ["imagenet", "none"])
def test_a_run_lives_on_without_the_models_folder(world, model, tmp_path, regime, init):
    settings = (f"cnn.backbone=hf/{model}", f"cnn.init={init}", "cnn.size=null", "train.epochs=1")
    config = world.config(*settings, regime=regime, branches="cnn,style")
    result = train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    poster = world.dataset.image_path(0)
    before = scores(tmp_path / "run", poster)
    metrics = evaluate_run(result.run, world.dataset, device="cpu", offline=True).metrics
    shutil.rmtree(model)
    moved = shutil.copytree(tmp_path / "run", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "run")
    assert scores(moved, poster) == before
    run = Run.load(moved)
    assert run.tower_input() == TowerInput(MEAN, STD, (32, 24), "bilinear")
    assert evaluate_run(run, world.dataset, device="cpu", offline=True).metrics == metrics


@pytest.mark.parametrize("regime", ["features", "finetune"])
def test_a_run_of_a_timm_network_lives_on(world, tmp_path, regime):
    pytest.importorskip("timm")
    settings = ("cnn.backbone=timm/test_convnext", "cnn.normalisation=unit", "train.epochs=1")
    # On processors with AMX, bf16 gives NaN for pictures as small as these (oneDNN in torch 2.14).
    config = world.config(*settings, "train.precision=fp32", regime=regime, branches="cnn,style")
    result = train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    assert result.run.fingerprints["tower"]["architecture"]["input_size"] == [160, 160]
    assert result.run.tower_input() == TowerInput((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (64, 48))
    moved = (tmp_path / "run").rename(tmp_path / "elsewhere")
    whole = scores(moved, world.dataset.image_path(0))
    assert whole.keys() == set(world.dataset.vocabulary.genres)


@pytest.mark.slow
def test_other_processes_extract_and_predict_the_same(world, model, tmp_path, make_posters):
    config = world.config(f"cnn.backbone=hf/{model}", "cnn.init=imagenet", "cnn.size=null", "style.reduced=8")
    posters = make_posters(70)
    stores = {}
    for workers in (1, 2):
        branches = build_extractors(config, ["cnn", "style"], offline=True)
        steps = [step for branch in branches.values() for step in branch.steps]
        reports = extract(posters, steps, tmp_path / f"store{workers}", workers=workers, threads=1, quiet=True)
        assert [report.computed for report in reports] == [70, 70]
        stores[workers] = [
            ExtractorStore(tmp_path / f"store{workers}", step.name, step.fingerprint()).read(
                [p.sha256 for p in posters]
            )
            for step in steps
        ]
    for alone, both in zip(*stores.values(), strict=True):
        for one, other in zip(alone, both, strict=True):
            assert all(np.array_equal(one[key], other[key]) for key in one)
    tuned = world.config(
        f"cnn.backbone=hf/{model}", "cnn.size=null", "train.epochs=1", regime="finetune", branches="cnn,style"
    )
    train(tuned, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    shutil.rmtree(model)
    classifier = PosterClassifier.load(tmp_path / "run", device="cpu", offline=True)
    paths = [poster.path for poster in posters]
    alone, both = (classifier.predict(paths, workers=workers) for workers in (1, 2))
    assert [p.scores for p in both] == [pytest.approx(p.scores, abs=1e-6) for p in alone]


def test_a_saved_tower_is_made_of_whatever_memory_holds(model, tmp_path, monkeypatch):
    """torch draws truncated normals until all lie within bounds; weights that are left as found may never do."""
    found(f"hf/{model}").save(tmp_path / "tower.safetensors")
    draws, normal = [], torch.Tensor.normal_

    def counted(tensor, *args, **kwargs):
        draws.append(len(draws))
        assert len(draws) < 500, "it never ends"
        return normal(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "normal_", counted)
    for name in ("empty", "empty_like"):
        make = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *args, make=make, **options: make(*args, **options).fill_(9))
    before = torch.get_rng_state()
    saved = found(f"hf/{model}", str(tmp_path / "tower.safetensors")).build()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(value.isfinite().all() for value in saved.state_dict().values())
