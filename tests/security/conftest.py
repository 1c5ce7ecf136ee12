"""Small run folders made by hand: no training, no data set, no network behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmposter.config import Config, load_config
from mmposter.data.vocabulary import Vocabulary
from mmposter.evaluation import Difference
from mmposter.evaluation.scaling import Scaling
from mmposter.evaluation.scored import file_hash
from mmposter.features.sizes import Sizes
from mmposter.files.tensors import save_tensors
from mmposter.runs.building import build_model
from mmposter.runs.decisions import ERROR, MEASURED, Decision, PosterCounts, Subset, Subsets, branch_subsets
from mmposter.runs.run import WEIGHTS, Run

GENRES = ("Calm", "Loud")
SMALL = (
    "cnn.backbone=mobilenet_v3_small",
    "cnn.init=none",
    "cnn.size=[64,48]",
    "cnn.dim=4",
    "style.dim=4",
    "style.reduced=4",
    "yolo.dim=4",
    "ocr.dim=4",
    "fusion.hidden=4",
)


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Writes a finished run of random weights: ``write_run(folder, *overrides, **what Run takes)``."""

    def write(folder: Path, *overrides: str, classes: tuple[str, ...] = ("person", "dog"), **more: Any) -> Path:
        config: Config = load_config(None, [*SMALL, *overrides])
        sizes = Sizes(8, 8, 4, True, classes, 8)
        vocabulary = Vocabulary("small", GENRES, {"Noise": "Loud"})
        given = {"fingerprints": {}, "facts": {"data": "drawn"}, **more}
        run = Run(folder, config, vocabulary, sizes, thresholds=np.array([0.5, 0.4]), **given)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        save_tensors(folder / WEIGHTS, build_model(config, sizes, len(GENRES)).state_dict())
        run.save()
        return folder

    return write


@pytest.fixture(scope="session")
def write_subsets() -> Callable[[Path], None]:
    """Writes a ``subsets.json`` that fits a run folder."""

    def write(folder: Path) -> None:
        run = Run.load(folder)
        value = Difference(0.5, (0.4, 0.6))
        decision = Decision(np.array([0.5, 0.4]), Scaling(1.5, np.array([0.1, -0.1])))
        subset = Subset(decision, dict.fromkeys(MEASURED, value), value, value, dict.fromkeys(MEASURED, value))
        names = branch_subsets(run.config.branches)
        posters = PosterCounts("drawn", "0" * 64, "val", 10)
        Subsets(
            weights=file_hash(folder / WEIGHTS),
            genres=GENRES,
            fitted=posters,
            measured=replace(posters, split="test"),
            constant=dict.fromkeys((*MEASURED, ERROR), 0.1),
            subsets=dict.fromkeys(names, subset),
        ).save(folder)

    return write
