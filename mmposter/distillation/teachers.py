"""What the teachers see in whole posters, computed once and kept on disk while the training is unfinished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fusion import Backbone, Hint, backbone_spec, linear_classifier, match_stages, stage_shapes
from fusion.backbones import of_library
from mmposter.config import CnnConfig
from mmposter.data.dataset import Dataset
from mmposter.data.pixels import Resized, decode_posters
from mmposter.data.row_arrays import RowArrays
from mmposter.data.splitting import SPLIT_ADVICE
from mmposter.distillation.config import DistillationConfig
from mmposter.distillation.views import PosterMaps
from mmposter.errors import UserError
from mmposter.features.tower import EARLIER_RESIZE, SharedTower, TowerWeights
from mmposter.images.picture import Picture

FOLDER = "teachers"
_PART = 16  # posters shown to a teacher between two looks at the clock
_LARGEST = 60_000.0  # float16 ends at 65504


@dataclass(frozen=True)
class Teacher:
    """A pretrained network that is learnt from."""

    weights: TowerWeights  # with its file
    hints: tuple[Hint, ...]  # which of its stages the student predicts
    shapes: Mapping[str, tuple[int, int, int]]  # C, H and W of the map of each hint, by its name
    # weight K x C and bias K on the average of its last map; None where it has no such
    classifier: tuple[Tensor, Tensor] | None

    @property
    def name(self) -> str:
        return self.weights.backbone

    @classmethod
    def find(cls, name: str, student: Backbone, config: DistillationConfig, *, offline: bool = False) -> Teacher:
        """Look for its weights, and measure which stages meet.

        Raises:
            UserError: an unknown name, no published weights, or stages that cannot meet.
        """
        try:
            if not of_library(name) and backbone_spec(name).weights_file is None:
                raise ValueError(f"{name} has no published weights, so there is nothing to learn from it")
            wanted = CnnConfig(backbone=name, init="imagenet", size=config.teacher_size)
            weights = TowerWeights.find(wanted, offline=offline)
            backbone = weights.build()
            hints = match_stages(student, backbone, config.teacher_size, config.strides)
        except ValueError as error:
            raise UserError(f"--teachers: {error}") from error
        shapes = stage_shapes(backbone, config.teacher_size)
        classifier = None
        if backbone.map_stage == backbone.last_stage:  # else it reads more than the map's average
            classifier = linear_classifier(weights.original() or {}, backbone.num_features)
        return cls(weights, hints, {hint.name: shapes[hint.teacher_stage] for hint in hints}, classifier)


def poster_maps(
    dataset: Dataset,
    teachers: Sequence[Teacher],
    config: DistillationConfig,
    folder: Path,
    *,
    device: str,
    resize: str = EARLIER_RESIZE,
    quiet: bool = False,
) -> PosterMaps:
    """Train and validation posters with the teachers' maps; what `folder` lacks is computed first.

    Posters of other splits are not opened. Those that cannot be read are left out, and named.

    Args:
        config: says at which size, how many validation posters are watched, and whether genres are looked at.
        folder: for this data set, these teachers and this size alone.
        resize: the filter of the student's pictures; each teacher sees those of its own.

    Raises:
        UserError: too few posters.
    """
    splits = np.array(dataset.table["split"], dtype=object)
    train, val = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
    count = min(len(val), config.val_posters)
    val = val[np.arange(count) * len(val) // max(count, 1)]  # evenly, as the manifest is sorted
    _require_posters(dataset, len(train), count)
    rows = np.concatenate([train, val])
    filters = {resize, *(teacher.weights.filter for teacher in teachers)}
    made = {name: _resized(config.teacher_size, name) for name in sorted(filters)}
    posters = decode_posters(dataset, rows, made, folder, "posters", quiet=quiet)
    maps: dict[str, NDArray[np.float16]] = {}
    for teacher in teachers:
        pixels = posters.pixels[teacher.weights.filter]
        maps |= _look(teacher, pixels, config.teacher_size, folder, device=device, quiet=quiet)
    usable = posters.usable
    to_learn = np.arange(len(rows)) < len(train)
    learnt, watched = np.flatnonzero(usable & to_learn), np.flatnonzero(usable & ~to_learn)
    _require_posters(dataset, len(learnt), len(watched))
    labels, groups = None, None
    if dataset.has_labels and config.genre_weight > 0:
        labels, groups = dataset.labels()[rows], np.array(dataset.table["group"], dtype=object)[rows]
    unreadable = tuple(str(name) for name in dataset.table["id"].iloc[rows[~usable]])
    return PosterMaps(posters.pixels[resize], maps, learnt, watched, labels, groups, unreadable)


def _require_posters(dataset: Dataset, train: int, val: int) -> None:
    if train < 2 or val < 1:
        raise UserError(
            f"{dataset.folder} has {train} posters to train on and {val} to watch; both are needed.\n{SPLIT_ADVICE}"
        )


def _resized(size: tuple[int, int], name: str) -> Resized:
    how = Image.Resampling[name.upper()]
    return Resized(size, lambda poster: np.asarray(poster.resize(size[::-1], how)))


def _look(
    teacher: Teacher, pixels: NDArray[np.uint8], size: tuple[int, int], folder: Path, *, device: str, quiet: bool
) -> dict[str, NDArray[np.float16]]:
    """The maps of all posters by a hint's name."""
    stages = {hint.teacher_stage: hint.name for hint in teacher.hints}
    shapes = {stage: (teacher.shapes[name], np.dtype(np.float16)) for stage, name in stages.items()}
    arrays = RowArrays(folder, teacher.name.replace("/", "--"), shapes, len(pixels))
    if not arrays.filled:
        tower = SharedTower(CnnConfig(backbone=teacher.name, size=size), teacher.weights, device=device)
        tower.start()
        for stage in stages:
            tower.watch(stage)

        @torch.inference_mode()
        def look(part: range) -> dict[str, NDArray[Any]]:
            batch = [tower.input(Picture(pixels[number])) for number in part]
            maps = {stage: tower.map(batch, stage).clamp(-_LARGEST, _LARGEST) for stage in stages}
            return {stage: values.half().cpu().numpy() for stage, values in maps.items()}

        arrays.fill(look, _PART, title=teacher.name, quiet=quiet)
    return {name: arrays.load(stage) for stage, name in stages.items()}
