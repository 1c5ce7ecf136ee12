"""Two networks of a few hundred weights, posters that are drawn, and the keys of a distillation that takes no time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from fusion import BackboneSpec, register_backbone
from fusion.backbones import catalogue
from mmposter.data import Dataset, write_dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.distillation import card
from mmposter.distillation.config import DistillationConfig, load_distillation_config

SPLITS = ("train", "train", "train", "val", "test")
QUICK = (
    "teacher_size=[64,48]",
    "strides=[4,8]",
    "phases=[{size: [32, 32], posters: 48, batch_size: 8}, {size: [48, 32], posters: 40, batch_size: 8}]",
    "warmup=3",
    "report_steps=4",
)


def _stage(channels: int, width: int) -> nn.Module:
    # The dropout draws from torch's own generator, whose state a resumed training must find again.
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Dropout2d(0.1)
    )


class _Network(nn.Module):
    def __init__(self, widths: tuple[int, ...], classifier: nn.Module) -> None:
        super().__init__()
        channels = (3, *widths)
        self.stages = nn.ModuleList(_stage(channels[k], channels[k + 1]) for k in range(len(widths)))
        self.fc = classifier


def _enter(monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[], nn.Module], file: str | None) -> None:
    spec = BackboneSpec(name, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), (64, 48), file, None, None, "MIT")
    monkeypatch.setattr(catalogue._BACKBONES, "_entries", dict(catalogue._BACKBONES._entries))
    register_backbone(name, spec, lambda network: {f"s{k}": s for k, s in enumerate(network.stages)})(make)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`tiny` learns from `sage`, which has weights and a linear classifier, or `mute`, which has another one."""
    folder = tmp_path_factory.mktemp("weights")
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(folder))
    makes = {
        "tiny": lambda: _Network((6, 8, 10), nn.Identity()),
        "sage": lambda: _Network((5, 7, 9), nn.Linear(9, 4)),
        "mute": lambda: _Network((5, 7, 9), nn.Sequential(nn.Linear(9, 5), nn.Linear(5, 4))),
    }
    for name, make in makes.items():
        _enter(monkeypatch, name, make, None if name == "tiny" else f"{name}.pth")
        torch.manual_seed(len(name))
        original = make()
        with torch.no_grad():
            for part in original.modules():
                if isinstance(part, nn.Conv2d):
                    part.weight.mul_(3)  # a random network's map is nearly flat
        torch.save(original.state_dict(), folder / f"{name}.pth")


@dataclass(frozen=True)
class Posters:
    """A data set of drawn posters."""

    dataset: Dataset

    def files(self, *splits: str) -> set[Path]:
        table = self.dataset.table
        return {self.dataset.root / path for path in table["path"][table["split"].isin(splits)]}


@pytest.fixture
def posters_of(poster_files, tmp_path_factory) -> Callable[..., Posters]:
    """Makes data sets of drawn posters; `splits` are dealt in turn, and genres where they are wanted."""

    def make(count: int = 20, splits: tuple[str, ...] = SPLITS, *, genres: bool = False) -> Posters:
        paths = poster_files(count)
        vocabulary = Vocabulary("two", ("Even", "Third")) if genres else None
        names = [[name for name, n in (("Even", 2), ("Third", 3)) if genres and k % n == 0] for k in range(count)]
        rows = [
            {
                "id": path.stem,
                "path": path.name,
                "title": None,
                "year": 2000,
                "genres": names[number],
                "raw_genres": names[number],
                "actors": [],
                "split": splits[number % len(splits)],
                "group": path.stem,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "width": 40,
                "height": 48,
            }
            for number, path in enumerate(paths)
        ]
        data = tmp_path_factory.mktemp("data")
        write_dataset(data, pd.DataFrame(rows), vocabulary, {"root": str(paths[0].parent)})
        return Posters(Dataset.load(data))

    return make


@pytest.fixture
def quick(networks: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DistillationConfig]:
    """The configuration of a few steps, with further overrides. Nothing is drawn, which would take longest."""
    monkeypatch.setattr(card, "save_png", lambda figure, path: None)
    monkeypatch.setattr(card, "plot_curves", lambda history: None)
    return lambda *more: load_distillation_config([*QUICK, *more], student="tiny", teachers="sage")


@pytest.fixture
def quick_overrides() -> tuple[str, ...]:
    return QUICK
