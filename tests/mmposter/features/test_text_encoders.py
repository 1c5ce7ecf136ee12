"""The text side of CLIP and SigLIP 2 as the encoder of words, and the recipes that take both sides of one model.

The models are tiny and random, and their tokenizers know letters; files and formats are those of the published ones.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mmposter.config import Config, load_config
from mmposter.errors import UserError
from mmposter.explain.classifier import PosterClassifier
from mmposter.features.extractors import PpocrExtractor
from mmposter.features.extractors.encoders import encoder_width, load_encoder
from mmposter.features.extractors.lines import encode_lines
from mmposter.measurement.evaluate import evaluate_run
from mmposter.pretrained import catalogue, resolver
from mmposter.training.train import train

KINDS = ("clip", "siglip2")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
WIDTH = {"clip": 20, "siglip2": 32}
LONGEST = {"clip": 77, "siglip2": 64}
TEXTS = ["the end", "THE END", "a film by nobody", "x", "", "zebra " * 40]


def write_model(folder: Path, kind: str) -> Path:
    """A folder with what is read of a hub's repository."""
    torch.manual_seed(0)
    model, tokenizer, processor = write_clip() if kind == "clip" else write_siglip2()
    with torch.no_grad():  # fresh norms and zeros hide what is left out
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    if kind == "siglip2":  # transformers 5 writes them no longer
        said = json.loads((folder / "tokenizer_config.json").read_text())
        said |= {"add_bos_token": False, "add_eos_token": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def write_clip() -> tuple[Any, Any, Any]:
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "th", "the</w>", "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: index for index, word in enumerate(words)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocab, merges=[("t", "h"), ("th", "e</w>")])
    text = {**SIDE, "vocab_size": len(words), "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    settings = transformers.CLIPConfig(
        text_config={**text, "max_position_embeddings": LONGEST["clip"]},
        vision_config={**SIDE, "image_size": 32, "patch_size": 8},
        projection_dim=WIDTH["clip"],
    )
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return transformers.CLIPModel(settings), tokenizer, transformers.CLIPImageProcessor(**size)


def write_siglip2() -> tuple[Any, Any, Any]:
    """As published: a model of SigLIP's kind, beside a Gemma tokenizer that leaves capitals alone."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS, *LETTERS.upper()]
    vocab = {word: index for index, word in enumerate(words)}
    options = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
    tokenizer = transformers.GemmaTokenizer(vocab=vocab, merges=[], model_input_names=["input_ids"], **options)
    text = {**SIDE, "vocab_size": len(words), "max_position_embeddings": LONGEST["siglip2"]}
    settings = transformers.SiglipConfig(
        text_config={**text, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0},
        vision_config={**SIDE, "image_size": 32, "patch_size": 8},
    )
    size = {"height": 32, "width": 32}
    return transformers.SiglipModel(settings), tokenizer, transformers.SiglipImageProcessor(size=size, resample=2)


def ids(kind: str, text: str) -> list[int]:
    """Tokens by hand, as each model was trained: all in lower case, cut so that the end stays."""
    if kind == "clip":
        found = []
        for word in text.lower().split():
            letters = [LETTERS.index(letter) for letter in word[:-1]] + [26 + LETTERS.index(word[-1])]
            found += [53] if word == "the" else letters
        return [54, *found[: LONGEST["clip"] - 2], 55]
    found = [5 if letter == " " else 6 + LETTERS.index(letter) for letter in text.lower()]
    found = [*found[: LONGEST["siglip2"] - 1], 1]
    return found + [0] * (LONGEST["siglip2"] - len(found))


def embed(folder: Path, kind: str, text: str) -> torch.Tensor:
    """A second opinion: the whole model, one text at a time."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        found = model.get_text_features(input_ids=torch.tensor([ids(kind, text)]))
    found = found if isinstance(found, torch.Tensor) else found.pooler_output
    return (found / found.norm())[0]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def written(kind, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp(kind) / "tiny", kind)


@pytest.fixture
def folder(written, tmp_path):
    """A copy to be spoiled."""
    return Path(shutil.copytree(written, tmp_path / "mine"))


def loaded(folder: Path) -> Any:
    return load_encoder(folder, "cpu", torch.float32)


# --- the text side ---


def test_texts_are_embedded_as_images_are_compared_with(written, kind):
    encoder = loaded(written)
    found = encoder(TEXTS)
    assert found.shape == (len(TEXTS), WIDTH[kind])
    assert encoder.width == encoder_width(written) == WIDTH[kind]
    for vector, text in zip(found, TEXTS, strict=True):
        torch.testing.assert_close(vector, embed(written, kind, text), atol=1e-5, rtol=1e-4, msg=text)
    assert (found[0] - found[2]).abs().max() > 1e-2


def test_neighbours_and_capitals_make_no_difference(written):
    encoder = loaded(written)
    together = encoder(TEXTS)
    torch.testing.assert_close(together[0], together[1])
    for vector, text in zip(together, TEXTS, strict=True):
        torch.testing.assert_close(encoder([text])[0], vector, atol=1e-5, rtol=1e-4)


def test_only_the_text_side_is_kept(written, kind):
    whole = load_file(written / "model.safetensors")
    text = sum(value.numel() for key, value in whole.items() if key.startswith("text_"))
    assert sum(value.numel() for value in loaded(written)._model.parameters()) == text


def test_loading_says_nothing(written, capfd):
    loaded(written)
    assert capfd.readouterr() == ("", "")


def test_a_text_side_without_some_of_its_weights_is_refused(folder):
    state = load_file(folder / "model.safetensors")
    gone = next(key for key in sorted(state) if key.startswith("text_model.") and "layers.0" in key)
    del state[gone]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"text encoder in .*mine cannot be used.*lacks 1 tensors.*\n?.*ocr\.encoder"):
        loaded(folder)


def test_a_tokenizer_that_does_not_end_a_text_is_refused(folder):
    said = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**said, "post_processor": None}))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    kept = {key: value for key, value in config.items() if not key.startswith("add_")}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    with pytest.raises(UserError, match="its tokenizer does not end a text as"):
        loaded(folder)


def test_what_has_no_width_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam"}))
    with pytest.raises(UserError, match=r"text encoder in .* cannot be used"):
        encoder_width(tmp_path)


# --- where its files lie ---


def test_both_sides_share_one_download(written, kind, tmp_path, monkeypatch):
    monkeypatch.delenv(resolver.ENVIRONMENT, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(catalogue, "_CACHE", tmp_path / "ours")
    asked = []

    def download(repository, *, cache_dir, allow_patterns):
        asked.append(allow_patterns)
        whole = Path(cache_dir) / "models--org--tiny"
        (whole / "refs").mkdir(parents=True, exist_ok=True)
        (whole / "refs" / "main").write_text("abc123")
        inside = whole / "snapshots" / "abc123"
        inside.mkdir(parents=True, exist_ok=True)
        for name in allow_patterns:
            shutil.copy(written / name, inside / name)
        return str(inside)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    image = ("config.json", "preprocessor_config.json", "model.safetensors")
    found = resolver.resolve(catalogue.hub("org/tiny", image, "MIT"))
    assert resolver.resolve(catalogue.text_encoder("org/tiny")) == found
    assert len(asked) == 2
    assert resolver.resolve(catalogue.text_encoder("org/tiny"), offline=True) == found
    earlier = shutil.copytree(written, tmp_path / "ours" / "text" / "org--tiny")
    assert resolver.resolve(catalogue.text_encoder("org/tiny"), offline=True) == earlier


def test_another_models_files_are_not_taken_for_it(written, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(catalogue, "_CACHE", tmp_path / "ours")
    monkeypatch.setenv(resolver.ENVIRONMENT, str(written))
    with pytest.raises(UserError, match=r"org/tiny is not on this machine \(needed: config\.json, model\.safetens"):
        resolver.resolve(catalogue.text_encoder("org/tiny"), offline=True)


# --- the recipes ---


@pytest.mark.parametrize("name", KINDS)
def test_a_recipe_takes_both_sides_of_one_model_and_differs_in_nothing_else(name):
    config = load_config(name)
    assert config.cnn.backbone == f"hf/{config.ocr.encoder}"
    changed = {"cnn.backbone": config.cnn.backbone, "ocr.encoder": config.ocr.encoder}
    assert config == load_config(None, [f"{key}={value}" for key, value in changed.items()])
    assert config != Config()


def lines(self: Any, batch: Any) -> list[dict[str, np.ndarray]]:
    quad = np.array([[0.1, 0.1], [0.9, 0.2], [0.9, 0.3], [0.1, 0.25]], np.float32)
    record = {
        "quads": np.stack([quad, quad + np.float32(0.3)]),
        "confidences": np.array([0.9, 0.8], np.float32),
        "text": encode_lines(["The", "END"]),
    }
    return [record for _ in batch]


def test_a_recipe_extracts_trains_and_predicts(world, written, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(PpocrExtractor, "start", lambda self: None)
    monkeypatch.setattr(PpocrExtractor, "__call__", lines)
    settings = (f"cnn.backbone=hf/{written}", f"ocr.encoder={written}", "branches=cnn,style,ocr", "style.reduced=8")
    quick = ("train.epochs=1", "train.batch_size=16", "evaluation.bootstrap=100", "ocr.buckets=256")
    config = load_config(kind, [*settings, *quick, "ocr.reading=careful"])
    result = train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    assert result.run.sizes.num_features == result.run.sizes.embedding_dim == WIDTH[kind]
    assert result.run.sizes.style_channels == SIDE["hidden_size"]
    evaluate_run(result.run, world.dataset, device="cpu", offline=True)
    classifier = PosterClassifier.load(tmp_path / "run", device="cpu", offline=True)
    (prediction,) = classifier.predict(world.dataset.image_path(0))
    assert prediction.error is None
    assert prediction.scores.keys() == set(world.dataset.vocabulary.genres)
