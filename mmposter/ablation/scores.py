"""What a finished training of a grid leaves behind: the probabilities of its cells, and how they came about."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.atomic import atomic_path, write_json
from mmposter.config import Config
from mmposter.errors import UserError
from mmposter.json_files import read_json

CELLS = "cells"
_SCORES, _FACTS = "scores.npz", "training.json"


@dataclass(frozen=True)
class TrainingFacts:
    """How one training of one seed went.

    Attributes:
        config: as resolved, with its seed.
        manifest: sha256 of the data set's manifest.
        split: of the posters that were scored.
        thresholds: G, tuned on the validation posters.
        epochs: finished ones.
        best_epoch: from 0.
        val_map: the best validation mAP.
        seconds: of the training.
    """

    config: dict[str, Any]
    manifest: str
    split: str
    thresholds: list[float]
    epochs: int
    best_epoch: int
    val_map: float
    seconds: float


@dataclass(frozen=True)
class Scores:
    """The probabilities that one trained model gave.

    Attributes:
        facts: how it was trained.
        rows: the M rows of the manifest that were scored.
        probs: M x G by the name of the cell.
    """

    facts: TrainingFacts
    rows: NDArray[np.int64]
    probs: Mapping[str, NDArray[np.float32]]

    def save(self, folder: Path) -> None:
        """Write both files; the facts last, as they say that all is there."""
        with atomic_path(folder / _SCORES) as temporary, temporary.open("wb") as stream:
            arrays: dict[str, Any] = {f"probs:{name}": values for name, values in self.probs.items()}
            np.savez(stream, rows=self.rows, **arrays)
        write_json(folder / _FACTS, asdict(self.facts))


def seed_folder(out: Path, key: str, seed: int) -> Path:
    """Where the training `key` with this seed lies."""
    return out / CELLS / key / f"seed-{seed}"


def load_scores(folder: Path, config: Config, manifest: str, split: str) -> Scores | None:
    """What lies in `folder`; None if it is not whole, or of another configuration, data set or split."""
    try:
        values = read_json(folder / _FACTS)
        facts = TrainingFacts(**values)
        if (facts.config, facts.manifest, facts.split) != (config.model_dump(mode="json"), manifest, split):
            return None
        with np.load(folder / _SCORES) as arrays:
            probs = {name.removeprefix("probs:"): arrays[name] for name in arrays.files if name != "rows"}
            return Scores(facts, arrays["rows"], probs)
    except (UserError, OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
        return None
