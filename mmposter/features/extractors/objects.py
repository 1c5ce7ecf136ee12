"""Objects on posters, for the `yolo` branch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detectors import UnsafeCheckpointError, YoloDetector
from mmposter.branches.yolo import NAME, YoloConfig
from mmposter.errors import UserError
from mmposter.features.extractors.base import FeatureExtractor, Poster, pad, slot_mask
from mmposter.features.store import Record
from mmposter.files.paths import file_here
from mmposter.pretrained import catalogue, resolver
from mmposter.pretrained.trust import is_trusted
from mmposter.progress import step_on

_CPU_SLICE = 2  # posters at a time on a CPU: the maps of more do not stay in its cache


class YoloExtractor(FeatureExtractor):
    """Objects: boxes (N x 4 xyxy in 0-1), scores (N), labels (N).

    Args:
        config: which detector, and how it looks.
        device: where it computes.
        offline: never touch the network.
        pinned: the digest of weights that need not be here, as all records are there; None: look for the file.
    """

    name = NAME

    def __init__(self, config: YoloConfig, *, device: str, offline: bool, pinned: str | None = None) -> None:
        self._config, self._device, self._offline, self._pinned = config, device, offline, pinned
        self._trust = is_trusted()  # kept here, as workers in other processes get the extractor alone
        if pinned is not None:
            return
        # A path that is not here may be one of another machine: its file is looked for as any published one is.
        source = catalogue.yolo(config.model if file_here(config.model) else Path(config.model).name)
        self._file = resolver.resolve(source, offline=offline) / source.files[0]

    def fingerprint(self) -> dict[str, Any]:
        return {
            "version": 1,
            "weights": self._pinned or resolver.digest([self._file]),
            "size": self._config.size,
            "confidence": self._config.confidence,
        }

    def start(self) -> None:
        try:
            self._model = YoloDetector(
                self._file,
                size=self._config.size,
                confidence=self._config.confidence,
                device=self._device,
                offline=self._offline,
                **({"trust": True} if self._trust else {}),
            )
        except UnsafeCheckpointError as error:
            raise UserError(
                f"{self._file} was not loaded, as that could run code: {error}.\nCheckpoints of ultralytics' own, such "
                "as yolo11n.pt, load as they are. If you know who made this one, type the same command with --trust "
                "(in Python: with mmposter.trusting())"
            ) from error
        except ValueError as error:
            raise UserError(f"the yolo branch cannot be used: {error}") from error

    def metadata(self) -> dict[str, Any]:
        return {"class_names": list(self._model.class_names)}

    def __call__(self, batch: Sequence[Poster]) -> list[Record]:
        size = _CPU_SLICE if self._device == "cpu" else len(batch)
        found = []
        for start in range(0, len(batch), size):
            records = self._model(batch[start : start + size])
            found += records
            step_on(len(records))
        return [{"boxes": r.boxes, "scores": r.scores, "labels": r.labels} for r in found]

    @property
    def slots(self) -> int:
        return self._config.max_boxes

    def empty(self) -> Record:
        return {
            "boxes": np.zeros((0, 4), np.float32),
            "scores": np.zeros(0, np.float32),
            "labels": np.zeros(0, np.int64),
        }

    def collate(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        slots = self.slots
        # Boxes come by falling confidence, so cutting at `slots` keeps the surest.
        return {
            "yolo.boxes": pad([record["boxes"] for record in records], slots),
            "yolo.scores": pad([record["scores"] for record in records], slots),
            "yolo.labels": pad([record["labels"] for record in records], slots),
            "yolo.mask": slot_mask([len(record["scores"]) for record in records], slots),
        }
