"""A tiny batch with every entry, and models to match; the sizes all differ, so that none can stand for another."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from fusion import Branch, FusionModel, build_branch, build_head, gram_matrix


@dataclass(frozen=True)
class Sizes:
    posters: int = 6
    features: int = 12  # C
    photo: int = 9  # C of the second network
    reduced: int = 5  # R
    detections: int = 4  # N
    classes: int = 7
    lines: int = 3  # T
    words: int = 10  # E
    genres: int = 4  # G


SIZES = Sizes()

OPTIONS = {
    "cnn": {"num_features": SIZES.features, "dim": 8},
    "style": {"channels": SIZES.features, "reduced": SIZES.reduced, "dim": 16},
    "yolo": {"num_classes": SIZES.classes, "dim": 12},
    "ocr": {"embedding_dim": SIZES.words, "dim": 4},
    "photo": {"num_features": SIZES.photo, "dim": 6},
}


def batch(seed: int = 0, posters: int = SIZES.posters) -> dict[str, Tensor]:
    """A batch whose poster 0 has neither box nor line; the others have at least one of each."""
    g = torch.Generator().manual_seed(seed)
    n, t = SIZES.detections, SIZES.lines
    low = torch.rand(posters, n, 2, generator=g) * 0.5
    size = 0.05 + torch.rand(posters, n, 2, generator=g) * 0.4
    boxes = torch.arange(posters).unsqueeze(1) % (n + 1) > torch.arange(n)
    lines = torch.arange(posters).unsqueeze(1) % (t + 1) > torch.arange(t)
    boxes[1:, 0] = True
    lines[1:, 0] = True
    return {
        "cnn.pooled": torch.rand(posters, SIZES.features, generator=g),
        "style.gram": gram_matrix(torch.randn(posters, SIZES.reduced, 6, 4, generator=g)),
        "style.mean": torch.rand(posters, SIZES.features, generator=g),
        "style.std": torch.rand(posters, SIZES.features, generator=g),
        "yolo.boxes": torch.cat([low, low + size], dim=2),
        "yolo.scores": torch.rand(posters, n, generator=g),
        "yolo.labels": torch.randint(SIZES.classes, (posters, n), generator=g),
        "yolo.mask": boxes,
        "ocr.document": torch.randn(posters, SIZES.words, generator=g),
        "ocr.embeddings": torch.randn(posters, t, SIZES.words, generator=g),
        "ocr.geometry": torch.rand(posters, t, 5, generator=g),
        "ocr.mask": lines,
        "photo.pooled": torch.rand(posters, SIZES.photo, generator=g),
    }


def branches(names: tuple[str, ...] = ("cnn", "style", "yolo", "ocr")) -> dict[str, Branch]:
    return {name: build_branch(name, **OPTIONS[name]) for name in names}


def fusion_model(
    names: tuple[str, ...] = ("cnn", "style", "yolo", "ocr"), head: str = "concat", branch_dropout: float = 0.0
) -> FusionModel:
    parts = branches(names)
    dims = [part.output_dim for part in parts.values()]
    return FusionModel(
        nn.ModuleDict(parts), build_head(head, dims=dims, num_genres=SIZES.genres), branch_dropout=branch_dropout
    )


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def sizes():
    return SIZES


@pytest.fixture
def make_batch():
    return batch


@pytest.fixture
def make_fusion():
    return fusion_model


@pytest.fixture
def branch_options_small():
    return OPTIONS
