"""Random views of posters, and what the teachers see in them, cut out of their maps of the whole poster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion import crop_maps
from fusion.distillation import GENRES
from mmposter.distillation.config import DistillationConfig
from mmposter.images.views import BOX_DRAWS, COLOUR_DRAWS, boxes, recoloured

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels of pictures, or of a map."""
Places: TypeAlias = Mapping[str, Size]
"""By a hint's name the size of its map."""
Batch: TypeAlias = tuple[Tensor, dict[str, Tensor]]
"""Pictures B x 3 x H x W, normalised; by a hint's name B x C x H' x W', with soft genres B x G."""

_PLAIN_SCALE = (0.3, 1.0)


@dataclass(frozen=True, eq=False)
class PosterMaps:
    """Posters with their teachers' maps, mapped from disk."""

    pixels: NDArray[np.uint8]  # N x H x W x 3, uint8
    maps: Mapping[str, NDArray[np.float16]]  # by a hint's name N x C x H' x W', float16
    train: NDArray[np.int64]  # rows to learn from
    val: NDArray[np.int64]  # rows to watch
    labels: NDArray[np.float32] | None = None  # N x G of 0 and 1; None where no genre is looked at
    groups: NDArray[Any] | None = None  # N names, the same for posters that belong together; with labels alone
    unreadable: tuple[str, ...] = ()  # ids of posters that are in neither


class Views:
    """Makes batches: pictures for the student, and its targets.

    Args:
        mean: of the student's pictures in 0-1, by channel.
        std: of the same.
        genres: makes probabilities B x G of the targets by their hints' names, and of the posters' rows; None: no soft
            genres.
    """

    def __init__(
        self,
        posters: PosterMaps,
        config: DistillationConfig,
        mean: Sequence[float],
        std: Sequence[float],
        device: str = "cpu",
        genres: Callable[[Mapping[str, Tensor], NDArray[np.int64]], Tensor] | None = None,
    ) -> None:
        self.posters, self.config, self.device = posters, config, device
        self.genres = genres
        self._mean, self._std = (torch.tensor(values, device=device)[:, None, None] * 255 for values in (mean, std))

    def random(self, step: int, batch: int, size: Size, places: Places, scale: tuple[float, float]) -> Batch:
        """Random crops of random training posters, flipped, coloured and mixed: a function of seed and step alone.

        Mixed: pictures and targets alike, as in L. Beyer et al., "Knowledge distillation: A good teacher is patient and
        consistent", CVPR 2022, arXiv 2106.05237, who call it function matching.

        Args:
            batch: B.
            scale: the smallest and the largest part of a poster that a crop shows.
        """
        rng = np.random.default_rng((self.config.seed, step))
        rows = rng.choice(self.posters.train, batch, replace=False)
        images, targets = self._cut(rows, boxes(rng.random((BOX_DRAWS, batch)), scale), size, places)
        flipped = torch.from_numpy(rng.random(batch) < 0.5).to(self.device)
        for values in (images, *targets.values()):
            values[flipped] = values[flipped].flip(3)
        targets = self._with_genres(targets, rows)
        images = recoloured(images, rng.random((COLOUR_DRAWS, batch)))
        if rng.random() < self.config.mixup:
            share = float(rng.uniform(0.5, 1.0))  # Beta(1, 1), its larger side
            order = torch.from_numpy(rng.permutation(batch)).to(self.device)
            images = share * images + (1 - share) * images[order]
            targets = {name: share * values + (1 - share) * values[order] for name, values in targets.items()}
        return (images - self._mean) / self._std, targets

    def whole(self, rows: NDArray[np.int64], size: Size, places: Places) -> Batch:
        """Posters as they are; arguments and results as of `random`."""
        images, targets = self._cut(rows, torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(rows), 1), size, places)
        return (images - self._mean) / self._std, self._with_genres(targets, rows)

    def plain(self, number: int, batch: int, size: Size) -> Tensor:
        """Pictures of random crops, neither coloured nor mixed: a function of the seed and the batch's number alone."""
        rng = np.random.default_rng((self.config.seed, number, 1))  # other draws than those of a step
        rows = rng.choice(self.posters.train, batch, replace=False)
        images = self._pictures(rows, boxes(rng.random((BOX_DRAWS, batch)), _PLAIN_SCALE), size)
        return (images - self._mean) / self._std

    def _cut(self, rows: NDArray[np.int64], boxes: Tensor, size: Size, places: Places) -> Batch:
        images = self._pictures(rows, boxes, size)
        targets = {
            name: crop_maps(self._take(values, rows).float(), boxes, places[name])
            for name, values in self.posters.maps.items()
        }
        return images, targets

    def _pictures(self, rows: NDArray[np.int64], boxes: Tensor, size: Size) -> Tensor:
        return crop_maps(self._take(self.posters.pixels, rows).permute(0, 3, 1, 2).float(), boxes, size)

    def _with_genres(self, targets: dict[str, Tensor], rows: NDArray[np.int64]) -> dict[str, Tensor]:
        return targets if self.genres is None else {**targets, GENRES: self.genres(targets, rows)}

    def _take(self, values: NDArray[Any], rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values[rows]).to(self.device)
