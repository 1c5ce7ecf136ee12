"""What a finished training of a grid leaves behind: the probabilities of its cells, and how they came about."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion import backbone_spec
from fusion.backbones import HF, of_library
from mmposter.ablation.identity import identity
from mmposter.branches import on_images
from mmposter.branches.cnn import NAME as CNN
from mmposter.config import Config, parse_stored
from mmposter.errors import UserError
from mmposter.features.tower import EARLIER_RESIZE
from mmposter.files.atomic import atomic_path, write_json
from mmposter.files.strict_json import mapping, number, read_json, shown, text, whole
from mmposter.shipped import POSTERS

CELLS = "cells"
_PROBS, _UNSEEN = "probs:", "unseen:"
_SCORES, _FACTS = "scores.npz", "training.json"
# What reading a file ends in that is damaged, or not there.
_DAMAGE = (UserError, OSError, ValueError, TypeError, LookupError, RuntimeError, SyntaxError, zipfile.BadZipFile)


@dataclass(frozen=True)
class TrainingFacts:
    """How one training of one seed went."""

    config: dict[str, Any]  # as resolved, with its seed
    manifest: str  # sha256 of the data set's manifest
    split: str  # of the posters that were scored
    thresholds: list[float]  # G, tuned on the validation posters
    epochs: int  # finished ones
    best_epoch: int  # from 0
    val_map: float  # the best validation mAP; NaN where no validation poster has a genre
    seconds: float  # of the training

    def parsed(self) -> Config:
        """`config` by the schema of this version, with the defaults of keys that it did not have then.

        Raises:
            UserError: it has keys or values that this version does not know.
        """
        config = parse_stored(self.config)
        said = "resize" in self.config.get(CNN, {}) or not on_images(config.branches)
        return config if said or _was_bicubic(config) else config.with_network(resize=EARLIER_RESIZE)


@dataclass(frozen=True)
class Scores:
    """The probabilities that one trained model gave."""

    facts: TrainingFacts  # how it was trained
    rows: NDArray[np.int64]  # the M rows of the manifest that were scored
    probs: Mapping[str, NDArray[np.float32]]  # M x G by the name of the cell
    # M by the name of the cell, of which posters its branches saw nothing; an earlier version kept no such thing.
    unseen: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write both files; the facts last, as they say that all is there."""
        with atomic_path(folder / _SCORES) as temporary, temporary.open("wb") as stream:
            arrays: dict[str, Any] = {f"{_PROBS}{name}": values for name, values in self.probs.items()}
            arrays |= {f"{_UNSEEN}{name}": values.astype(np.int64) for name, values in self.unseen.items()}
            np.savez(stream, rows=self.rows, **arrays)
        facts = asdict(self.facts)
        write_json(folder / _FACTS, {**facts, "val_map": facts["val_map"] if math.isfinite(facts["val_map"]) else None})


def _was_bicubic(config: Config) -> bool:
    """Whether ``cnn.resize=backbone`` means today what all versions did that did not have that key: bicubic."""
    name, init = config.cnn.backbone, config.cnn.init
    if init == POSTERS or (init.endswith(".safetensors") and not of_library(name)):
        return True  # a file of ours that says nothing of a filter
    return not name.startswith(HF) and backbone_spec(name).resize == EARLIER_RESIZE


def seed_folder(out: Path, key: str, seed: int) -> Path:
    """Where the training `key` with this seed is written."""
    return out / CELLS / key / f"seed-{seed}"


def finished_folders(out: Path) -> dict[tuple[str, int], list[Path]]:
    """The folders of finished trainings by identity and seed, whatever an earlier version called them."""
    found: dict[tuple[str, int], list[Path]] = {}
    for folder in sorted((out / CELLS).glob("*/seed-*")):
        try:
            config = _read_facts(folder).parsed()
        except _DAMAGE:
            continue
        found.setdefault((identity(config), config.seed), []).append(folder)
    return found


def load_scores(folder: Path, config: Config, manifest: str, split: str, *, posters: int, genres: int) -> Scores | None:
    """What lies in `folder`; None if it is not whole, or of another configuration, data set or split.

    Nothing is taken on trust: files that are damaged, or whose numbers no training can leave, are as good as none, and
    the training is done again.

    Args:
        folder: of one training and seed.
        config: that it must have.
        manifest: sha256 of the data set's manifest.
        split: whose posters were scored.
        posters: rows of the manifest.
        genres: G.
    """
    try:
        facts = _read_facts(folder)
        there = facts.parsed()
        if (facts.manifest, facts.split) != (manifest, split):
            return None
        if (identity(there), there.seed) != (identity(config), config.seed):
            return None
        arrays = _arrays(folder / _SCORES)
        rows = arrays.pop("rows")
    except _DAMAGE:
        return None
    probs = {name.removeprefix(_PROBS): values for name, values in arrays.items() if name.startswith(_PROBS)}
    unseen = {name.removeprefix(_UNSEEN): values for name, values in arrays.items() if name.startswith(_UNSEEN)}
    if not _are_rows(rows, posters) or len(facts.thresholds) != genres:
        return None
    if not all(_are_probabilities(values, (len(rows), genres)) for values in probs.values()):
        return None
    if not all(_are_marks(values, len(rows)) for values in unseen.values()):
        return None
    return Scores(facts, rows, probs, {name: values.astype(np.bool_) for name, values in unseen.items()})


def _read_facts(folder: Path) -> TrainingFacts:
    said = mapping(read_json(folder / _FACTS), _FACTS)
    thresholds = said["thresholds"]
    if not isinstance(thresholds, list):
        raise ValueError(f"thresholds must be a list, got {shown(thresholds)}")
    return TrainingFacts(
        config=dict(mapping(said["config"], "config")),
        manifest=text(said["manifest"], "manifest"),
        split=text(said["split"], "split"),
        thresholds=[number(value, "a threshold") for value in thresholds],
        epochs=whole(said["epochs"], "epochs"),
        best_epoch=whole(said["best_epoch"], "best_epoch"),
        val_map=math.nan if said["val_map"] is None else number(said["val_map"], "val_map"),
        seconds=number(said["seconds"], "seconds"),
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that `Scores.save` wrote; no more is taken into memory than the file has.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: the file is damaged, or was written by something else.
    """
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("an array is compressed")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("the arrays overlap")
        for entry in entries:
            stream = io.BytesIO(archive.read(entry))
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("an array has another version")
            shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
            if by_column or dtype not in (np.dtype(np.int64), np.dtype(np.float32)):
                raise ValueError(f"an array has the type {dtype}")
            # Refuses bytes that are not those of the shape.
            found[entry.filename.removesuffix(".npy")] = np.frombuffer(stream.read(), dtype).reshape(shape)
    return found


def _are_rows(rows: NDArray[Any], posters: int) -> bool:
    """Rising places among so many rows."""
    if rows.ndim != 1 or rows.dtype != np.int64 or not len(rows):
        return False
    return bool(rows[0] >= 0 and rows[-1] < posters and (np.diff(rows) > 0).all())


def _are_marks(values: NDArray[Any], posters: int) -> bool:
    return values.shape == (posters,) and values.dtype == np.int64 and bool(((values == 0) | (values == 1)).all())


def _are_probabilities(values: NDArray[Any], shape: tuple[int, int]) -> bool:
    return values.shape == shape and values.dtype == np.float32 and bool(((values >= 0) & (values <= 1)).all())
