"""Batches for the loop: rows of cached features, and in the finetune regime the posters themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import BatchSampler, Dataset

from mmposter.errors import BadImageError
from mmposter.features.ragged import Features, batch_of
from mmposter.images.reading import Crop, crop_image, load_image
from mmposter.images.transforms import PosterTransform

Batch: TypeAlias = tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]
"""The fusion's inputs (B rows each), labels B x G, and the rows' numbers B."""


class PosterBatches(Dataset[Any]):
    """Posters by number: cached rows, with the decoded picture where `paths` are given.

    Args:
        features: cached inputs with N rows each; may be empty in the finetune regime.
        labels: N x G, 0 or 1.
        paths: where the N posters lie; None in the features regime.
        transform: makes a tensor of a poster; needed with `paths`.
        seed: of the augmentation; a picture is a function of seed, epoch and row, not of what ran before it.
        crops: of each of the N the part of its picture to look at, None for the whole; no list: all are whole.
    """

    def __init__(
        self,
        features: Features,
        labels: torch.Tensor,
        paths: Sequence[Path] | None = None,
        transform: PosterTransform | None = None,
        seed: int = 0,
        crops: Sequence[Crop | None] | None = None,
    ) -> None:
        self.features, self.labels, self.paths, self.crops = dict(features), labels, paths, crops
        self.transform, self.seed, self.epoch = transform, seed, 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor | None]:
        if self.paths is None or self.transform is None:
            return row, None
        crop = None if self.crops is None else self.crops[row]
        try:
            poster = load_image(self.paths[row])
            if crop is not None:
                poster = crop_image(poster, crop)
        except BadImageError:
            return -1, None  # left out by collate; counted by the loop, which misses the row
        return row, self.transform(np.asarray(poster), seed=mixed_seed(self.seed, self.epoch, row))

    def collate(self, items: Sequence[tuple[int, torch.Tensor | None]]) -> Batch:
        """Stack a batch; posters that could not be decoded are left out."""
        good = [(row, image) for row, image in items if row >= 0]
        rows = torch.tensor([row for row, _ in good], dtype=torch.long)
        inputs = batch_of(self.features, rows)
        images = [image for _, image in good if image is not None]
        if images:
            inputs["image"] = torch.stack(images)
        return inputs, self.labels[rows], rows


class EpochSampler(BatchSampler):
    """Batches of `rows`, shuffled as a function of seed and epoch alone, from any batch on.

    The last batch may be smaller; if shuffled, never 1 beside larger ones: a batch norm learns little of one poster.
    """

    def __init__(self, rows: Sequence[int], batch_size: int, *, seed: int = 0, shuffle: bool = True) -> None:
        self.rows, self.batch_size, self.seed, self.shuffle = list(rows), batch_size, seed, shuffle
        self.drop_last = False
        self.epoch, self.start = 0, 0

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches()[self.start :]

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        order = list(self.rows)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch, -1))
            order = [order[i] for i in torch.randperm(len(order), generator=generator).tolist()]
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self.shuffle and self.batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [batches[-2] + batches[-1]]
        return batches


def mixed_seed(seed: int, epoch: int, row: int) -> int:
    """One 63-bit seed from three numbers, far from that of its neighbours."""
    text = f"{seed}/{epoch}/{row}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
