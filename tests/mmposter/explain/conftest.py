"""Small untrained runs, and eyes that find the same on every poster: nothing is trained or downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmposter.config import Config, load_config
from mmposter.data.vocabulary import Vocabulary
from mmposter.evaluation.scaling import Scaling
from mmposter.evaluation.scored import file_hash
from mmposter.features.extractors import OcrExtractor, TextExtractor, YoloExtractor, build_extractors
from mmposter.features.extractors.lines import encode_lines
from mmposter.features.sizes import Sizes
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.runs.building import build_image_classifier, build_model, build_tower, tower_sizes
from mmposter.runs.decisions import SUBSETS, Decision
from mmposter.runs.run import TOWER, WEIGHTS, Run
from mmposter.training.train import fingerprints

GENRES = ("Action", "Comedy", "Drama", "Horror")
CLASSES = ("person", "dog", "horse")
DIM = 8
TINY = (
    "ocr.reader=easyocr",  # of which files that stand in will do
    "cnn.backbone=cnn4",
    "cnn.init=none",
    "cnn.size=[128,96]",
    "style.reduced=8",
    "yolo.encoding=set",  # in which a box of another kind stands out
    "ocr.encoding=embedded",  # in which a word of another vector does
    "ocr.dim=128",
    "ocr.buckets=256",
    "fusion.hidden=16",
    "evaluation.thresholds=0.5",
)
PLANTED = "PLANTED"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that stand in for the pretrained ones; they are looked for and hashed, never loaded."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("craft_mlt_25k.pth", "english_g2.pth", "model.safetensors", "tokenizer.json", "yolo11n.pt"):
        (folder / name).write_bytes(b"stands in for " + name.encode())
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": DIM}))
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(folder))


@pytest.fixture
def eyes(weights: None, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The extractors of yolo and ocr without their models: what they find is in `boxes` and `lines`.

    `boxes` holds (class, left), each box as large as the others; `lines` holds (text, confidence). The text encoder
    knows one word: a text with `PLANTED` in it is one vector, every other text another.
    """
    found = SimpleNamespace(
        boxes=[("person", 0.1), ("person", 0.1), ("horse", 0.6), ("person", 0.1)],
        lines=[("the", 0.9), ("film", 0.8), (PLANTED, 0.7), ("of", 0.6), ("noise", 0.1)],
        fails=False,
        encoded=[],
        started=[],
    )

    def boxes(self: Any, batch: Any) -> list[dict[str, np.ndarray]]:
        record = {
            "boxes": np.array([[left, 0.2, left + 0.3, 0.8] for _, left in found.boxes], np.float32).reshape(-1, 4),
            "scores": 0.9 - 0.1 * np.arange(len(found.boxes), dtype=np.float32),
            "labels": np.array([CLASSES.index(name) for name, _ in found.boxes], np.int64),
        }
        return [record for _ in batch]

    def lines(self: Any, batch: Any) -> list[dict[str, np.ndarray]]:
        if found.fails:
            raise RuntimeError("the reader is ill")
        quad = np.array([[0.1, 0.1], [0.9, 0.2], [0.9, 0.3], [0.1, 0.25]], np.float32)
        record = {
            "quads": np.repeat(quad[None], len(found.lines), axis=0),
            "confidences": np.array([score for _, score in found.lines], np.float32),
            "text": encode_lines([text for text, _ in found.lines]),
        }
        return [record for _ in batch]

    def encode(self: Any, texts: Any) -> np.ndarray:
        found.encoded += list(texts)
        vectors = np.random.default_rng(0).normal(size=(2, DIM)).astype(np.float32)
        return vectors[[int(PLANTED in text) for text in texts]] if texts else np.zeros((0, DIM), np.float32)

    for extractor in (YoloExtractor, OcrExtractor, TextExtractor):
        monkeypatch.setattr(extractor, "start", lambda self: found.started.append(self.name))
    monkeypatch.setattr(YoloExtractor, "__call__", boxes)
    monkeypatch.setattr(OcrExtractor, "__call__", lines)
    monkeypatch.setattr(TextExtractor, "_encode", encode)
    return found


@pytest.fixture
def make_run(weights: None, tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder with random weights.

    Args of the function: overrides of the configuration; `calibrated`: with a ``subsets.json``; `name` of the folder.
    """

    def make(*overrides: str, calibrated: bool = False, name: str = "run", **direct: Any) -> Path:
        config = load_config(None, [*TINY, *overrides], **direct)
        folder = tmp_path / name
        folder.mkdir()
        run, model = _untrained(folder, config)
        run.save()
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / WEIGHTS)
        if calibrated:
            _write_subsets(run)
        return folder

    return make


def _untrained(folder: Path, config: Config) -> tuple[Run, torch.nn.Module]:
    torch.manual_seed(0)
    tower, sizes = None, Sizes(class_names=CLASSES, embedding_dim=DIM)
    weights = TowerWeights.find(config.cnn, seed=config.seed, offline=True)
    genres = len(GENRES)
    if {"cnn", "style"} & set(config.branches):
        tower = build_tower(config, weights.build())
        sizes = Sizes(**{**sizes.to_json(), **tower_sizes(tower)})
        weights.save(folder / TOWER)
    if config.cnn.classifier != "fusion":
        size = TowerInput.of(config.cnn, weights).size
        model: torch.nn.Module = build_image_classifier(config, weights.build(), size, genres)
    else:
        model = build_model(config, sizes, genres, tower if config.regime == "finetune" else None)
        for name, values in model.named_parameters():
            if name.endswith("ngrams.weight"):  # which begin at zero
                torch.nn.init.normal_(values)
    learnt = ("cnn", "style") if config.regime == "finetune" else ()
    extractors = build_extractors(config, [name for name in config.branches if name not in learnt], offline=True)
    single = config.evaluation.thresholds == "top1"
    thresholds = np.full(genres, 2.0) if single else np.linspace(0.45, 0.55, genres)
    run = Run(
        folder,
        config,
        Vocabulary("tiny", GENRES, {}),
        sizes,
        fingerprints(extractors, None if tower is None else weights),
        thresholds,
    )
    # Batch norms that know the pictures' scale: with fresh statistics a random network gives logits near 0.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.fill_(0.05)
    return run, model.eval()


def decision_of(names: tuple[str, ...]) -> Decision:
    """What the calibrated runs here do with the probabilities of these branches."""
    return Decision(np.linspace(0.2, 0.6, len(GENRES)), Scaling(0.5 + 0.25 * len(names), np.linspace(-0.4, 0.8, 4)))


def _write_subsets(run: Run) -> None:
    measured = {"value": 0.5, "ci95": None}
    metrics = dict.fromkeys(("mean_average_precision", "macro_f1", "r_precision"), measured)
    error = {"before": measured, "after": measured}
    subsets = {}
    for size in range(1, len(run.config.branches) + 1):
        for names in combinations(run.config.branches, size):
            decision = decision_of(names)
            assert decision.scaling is not None
            subsets[",".join(names)] = {
                "slope": decision.scaling.slope,
                "offsets": decision.scaling.offsets.tolist(),
                "thresholds": decision.thresholds.tolist(),
                "metrics": metrics,
                "calibration_error": error,
                "difference": metrics,
            }
    posters = {"data": "tiny", "manifest": "0", "split": "test", "count": 1}
    values = {
        "format": 1,
        "weights": file_hash(run.folder / WEIGHTS),
        "genres": list(GENRES),
        "fitted": posters,
        "measured": posters,
        "constant": dict.fromkeys([*metrics, "expected_calibration_error"], 0.5),
        "subsets": subsets,
    }
    (run.folder / SUBSETS).write_text(json.dumps(values))


@pytest.fixture
def poster(tmp_path: Path, make_drawn: Callable[..., Any]) -> Path:
    """A poster that is not square."""
    path = tmp_path / "poster.png"
    make_drawn(3, 60, 90).save(path)
    return path


@pytest.fixture(name="decision_of")
def decision_of_fixture() -> Callable[[tuple[str, ...]], Decision]:
    return decision_of
