"""Pooled features and Gram statistics of a frozen backbone, for the branches `cnn`, `photo` and `style`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fusion.backbones import global_average
from mmposter.branches.cnn import NAME as CNN
from mmposter.branches.cnn import CnnConfig
from mmposter.branches.photo import NAME as PHOTO
from mmposter.branches.style import NAME as STYLE
from mmposter.branches.style import StyleConfig
from mmposter.features.extractors.base import FeatureExtractor, Preparation
from mmposter.features.pins import Pins
from mmposter.features.store import Record
from mmposter.features.tower import SharedTower, TowerWeights, measured_stage


class _TowerExtractor(FeatureExtractor):
    """What all three share: the frozen backbone and its input, 3 x H x W tensors.

    Args:
        tower: which other extractors may look through too.
    """

    def __init__(self, tower: SharedTower) -> None:
        self._tower, self._device = tower, tower.device

    def fingerprint(self) -> dict[str, Any]:
        found = {"version": 1, **self._tower.weights.identity(), "size": list(self._tower.input.size)}
        # The backbone's own normalisation goes without saying, so that stores from before there was another stay valid.
        own = self._tower.normalisation == "backbone"
        return found if own else {**found, "normalisation": self._tower.normalisation}

    @property
    def preparation(self) -> Preparation:
        return self._tower.input

    def empty(self) -> None:
        return None  # a poster without a picture cannot be looked at


class CnnExtractor(_TowerExtractor):
    """Global average of the backbone's final feature map: pooled (1 x C)."""

    name = CNN

    def start(self) -> None:
        self._tower.start()
        self._tower.watch(self._tower.backbone.last_stage)

    def metadata(self) -> dict[str, Any]:
        return {"num_features": self._tower.backbone.num_features}

    def __call__(self, batch: Sequence[torch.Tensor]) -> list[Record]:
        with torch.inference_mode():
            pooled = global_average(self._tower.map(batch, self._tower.backbone.last_stage)).float().cpu().numpy()
        return [{"pooled": row[None]} for row in pooled]

    def collate(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        return {f"{self.name}.pooled": torch.from_numpy(np.concatenate([record["pooled"] for record in records]))}


class PhotoExtractor(CnnExtractor):
    """The same of a second backbone."""

    name = PHOTO

    @classmethod
    def of(cls, network: CnnConfig, pins: Pins | None, *, device: str, offline: bool) -> PhotoExtractor:
        """One that looks through a network of its own.

        Args:
            network: which, with its published weights.
            pins: what stands in for them where the records come from a pack; None: look for the file.
            device: where it computes.
            offline: never touch the network.

        Raises:
            UserError: for an unknown backbone, or files that are nowhere.
        """
        if pins is not None:
            network, weights = pins.network(PHOTO, network)
        else:
            weights = TowerWeights.find(network, offline=offline, section=PHOTO)
        return cls(SharedTower(network, weights, device=device))


class StyleExtractor(_TowerExtractor):
    """Gram statistics of one stage: gram (1 x R(R+1)/2, the upper triangle), mean and std (1 x C').

    Where none is set, the stage is the last one that gives a map (`fusion.Backbone.map_stage`).
    """

    name = STYLE

    def __init__(self, tower: SharedTower, style: StyleConfig) -> None:
        super().__init__(tower)
        self._style = style

    def fingerprint(self) -> dict[str, Any]:
        return {
            **super().fingerprint(),
            "stage": self._style.stage or "last",  # the last with a map; said without loading the backbone
            "reduced": self._style.reduced,
            "normaliser": self._style.normaliser,
        }

    def start(self) -> None:
        self._tower.start()
        backbone = self._tower.backbone
        self._stage, statistics = measured_stage(backbone, self._style)
        self._tower.watch(self._stage)
        self._statistics = statistics.to(self._device).eval()

    def metadata(self) -> dict[str, Any]:
        return {
            "channels": self._statistics.channels,
            "gram_size": self._statistics.gram_size,
            "tap_is_last": self._stage == self._tower.backbone.last_stage,
        }

    def __call__(self, batch: Sequence[torch.Tensor]) -> list[Record]:
        with torch.inference_mode():
            stage = self._tower.map(batch, self._stage)
            values = {key: value.float().cpu() for key, value in self._statistics(stage).items()}
            size = values["gram"].shape[1]
            rows, columns = torch.triu_indices(size, size)
            gram = values["gram"][:, rows, columns].numpy()
        mean, std = values["mean"].numpy(), values["std"].numpy()
        return [
            {"gram": gram[row : row + 1], "mean": mean[row : row + 1], "std": std[row : row + 1]}
            for row in range(len(batch))
        ]

    def collate(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        packed = {
            field: torch.from_numpy(np.concatenate([record[field] for record in records]))
            for field in ("gram", "mean", "std")
        }
        # R(R+1)/2 numbers of the upper triangle back to a symmetric R x R matrix.
        size = int((np.sqrt(8 * packed["gram"].shape[1] + 1) - 1) / 2)
        rows, columns = torch.triu_indices(size, size)
        gram = torch.zeros(len(records), size, size)
        gram[:, rows, columns] = packed["gram"]
        gram[:, columns, rows] = packed["gram"]
        return {"style.gram": gram, "style.mean": packed["mean"], "style.std": packed["std"]}
