"""What the teachers see in whole posters, computed once and kept on disk while the training is unfinished."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
from mmposter.data.splitting import SPLIT_ADVICE
from mmposter.distillation.config import DistillationConfig
from mmposter.distillation.rows import RowArrays
from mmposter.distillation.views import PosterMaps
from mmposter.engines.machine import memory
from mmposter.errors import BadImageError, UserError
from mmposter.features.tower import EARLIER_RESIZE, SharedTower, TowerWeights
from mmposter.images.picture import Picture
from mmposter.images.reading import crop_image, load_image
from mmposter.progress import say
from mmposter.visible import visible

FOLDER = "teachers"
_PIXELS, _USABLE = "pixels-", "usable"
_PART = 16  # posters decoded, or shown to a teacher, between two looks at the clock
_SHARE = 0.8  # of the memory that maps may take
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
        UserError: too few posters, or more than the memory holds.
    """
    splits = np.array(dataset.table["split"], dtype=object)
    train, val = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
    count = min(len(val), config.val_posters)
    val = val[np.arange(count) * len(val) // max(count, 1)]  # evenly, as the manifest is sorted
    _require_posters(dataset, len(train), count)
    rows = np.concatenate([train, val])
    _require_memory(len(rows), teachers, config)
    # The student's last: its pictures stay in memory.
    filters = [*{teacher.weights.filter for teacher in teachers} - {resize}, resize]
    made = _decode(dataset, rows, config.teacher_size, filters, folder, quiet=quiet)
    maps: dict[str, NDArray[np.float16]] = {}
    for name in filters:
        pixels = made.load(_PIXELS + name)
        for teacher in (one for one in teachers if one.weights.filter == name):
            maps |= _look(teacher, pixels, config.teacher_size, folder, device=device, quiet=quiet)
    usable = made.load(_USABLE)
    to_learn = np.arange(len(rows)) < len(train)
    learnt, watched = np.flatnonzero(usable & to_learn), np.flatnonzero(usable & ~to_learn)
    _require_posters(dataset, len(learnt), len(watched))
    labels, groups = None, None
    if dataset.has_labels and config.genre_weight > 0:
        labels, groups = dataset.labels()[rows], np.array(dataset.table["group"], dtype=object)[rows]
    unreadable = tuple(str(name) for name in dataset.table["id"].iloc[rows[~usable]])
    return PosterMaps(pixels, maps, learnt, watched, labels, groups, unreadable)


def _require_posters(dataset: Dataset, train: int, val: int) -> None:
    if train < 2 or val < 1:
        raise UserError(
            f"{dataset.folder} has {train} posters to train on and {val} to watch; both are needed.\n{SPLIT_ADVICE}"
        )


def _require_memory(posters: int, teachers: Sequence[Teacher], config: DistillationConfig) -> None:
    each = 3 * math.prod(config.teacher_size)
    each += sum(2 * math.prod(shape) for teacher in teachers for shape in teacher.shapes.values())
    needed, here = posters * each, memory()
    if needed > _SHARE * here:
        raise UserError(
            f"the maps of {posters:,} posters take {needed / 1e9:.1f} GB, and this machine has {here / 1e9:.1f} GB.\n"
            "Take fewer teachers, or smaller pictures for them, such as --set teacher_size=[224,160]"
        )


def _decode(
    dataset: Dataset,
    rows: NDArray[np.int64],
    size: tuple[int, int],
    filters: Iterable[str],
    folder: Path,
    *,
    quiet: bool,
) -> RowArrays:
    """Pixels of the posters at one size, by each filter; one that cannot be read is black, and not usable."""
    table, crops = dataset.table, dataset.crops
    shapes = {_PIXELS + name: ((*size, 3), np.dtype(np.uint8)) for name in filters}
    arrays = RowArrays(folder, "posters", {**shapes, _USABLE: ((), np.dtype(bool))}, len(rows))

    def decode(part: range) -> dict[str, NDArray[Any]]:
        usable = np.zeros(len(part), bool)
        pixels = {name: np.zeros((len(part), *size, 3), np.uint8) for name in filters}
        for place, row in enumerate(int(rows[number]) for number in part):
            try:
                poster = load_image(dataset.image_path(row))
                crop = None if crops is None else crops[row]
                poster = poster if crop is None else crop_image(poster, crop)
            except BadImageError as error:
                name = table["id"].iloc[row]
                say(visible(f"left out: {name}: {error.reason} ({error})"))
                continue
            for name, made in pixels.items():
                made[place] = np.asarray(poster.resize(size[::-1], Image.Resampling[name.upper()]))
            usable[place] = True
        return {_USABLE: usable, **{_PIXELS + name: made for name, made in pixels.items()}}

    arrays.fill(decode, _PART, title="posters", quiet=quiet)
    return arrays


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
