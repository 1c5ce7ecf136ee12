"""The posters of a training: read anew each time, or decoded once and seen through random views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.config import TrainConfig
from mmposter.data.dataset import Dataset
from mmposter.data.pixels import DecodedPosters, Resized, decode_posters
from mmposter.errors import BadImageError
from mmposter.features.tower import TowerInput
from mmposter.images.reading import crop_image, load_image
from mmposter.images.views import BOX_DRAWS, COLOUR_DRAWS, boxes, cut, recoloured
from mmposter.training.processes import part_of
from mmposter.training.seeds import mixed_seed

FOLDER = "posters"
"""In a run's folder, while it is trained: its posters, decoded."""

_ROW_DRAWS = BOX_DRAWS + COLOUR_DRAWS + 1  # the last one: whether it is mirrored


class Pictures(Protocol):
    """Posters by their row in the manifest."""

    def batch(
        self, rows: Sequence[int], epoch: int, sharing: tuple[int, int] = (0, 1)
    ) -> tuple[list[int], torch.Tensor]:
        """Those of the rows that can be decoded, B of them, and their normalised pictures B x 3 x H x W.

        Args:
            sharing: rank and number of the processes that share them; the pictures are those of the rank's part.
        """
        ...


@dataclass(frozen=True)
class ReadPosters:
    """Whole posters, decoded each time: for one pass over them."""

    dataset: Dataset
    looks: TowerInput

    def batch(
        self, rows: Sequence[int], epoch: int, sharing: tuple[int, int] = (0, 1)
    ) -> tuple[list[int], torch.Tensor]:
        crops, transform = self.dataset.crops, self.looks.transform()
        good, images = [], []
        for row in rows:
            try:
                poster = load_image(self.dataset.image_path(row))
                crop = None if crops is None else crops[row]
                poster = poster if crop is None else crop_image(poster, crop)
            except BadImageError:
                continue
            good.append(row)
            images.append(transform(np.asarray(poster)))
        own = images[part_of(len(good), *sharing).rows]
        return good, torch.stack(own) if own else torch.zeros(0, 3, *self.looks.size)


@dataclass(frozen=True)
class RandomViews:
    """A part of a poster, mirrored or not, in other colours: a function of the seed, the epoch and the row alone.

    Only the size, which a batch shares, also hangs on the row that is its first.
    """

    sizes: Sequence[tuple[int, int]]  # heights and widths in pixels, of which each batch has one
    scale: tuple[float, float]  # the smallest and the largest part of the poster
    seed: int

    def __call__(self, pixels: torch.Tensor, rows: Sequence[int], epoch: int, first: int | None = None) -> torch.Tensor:
        """Views B x 3 x H' x W' in 0-255 of posters B x H x W x 3, uint8.

        Args:
            first: row of the batch that they are a part of; None: these are all of it.
        """
        draws = np.stack([self._generator(epoch, row).random(_ROW_DRAWS) for row in rows], axis=1)
        first = rows[0] if first is None else first
        size = self.sizes[int(self._generator(epoch, first, 1).integers(len(self.sizes)))]
        images = cut(pixels, boxes(draws[:BOX_DRAWS], self.scale), size)
        mirrored = torch.from_numpy(draws[-1] < 0.5)
        images[mirrored] = images[mirrored].flip(3)
        return recoloured(images.to(torch.float32, memory_format=torch.contiguous_format), draws[BOX_DRAWS:-1])

    def _generator(self, epoch: int, *numbers: int) -> np.random.Generator:
        return np.random.default_rng((mixed_seed(self.seed, epoch, numbers[0]), *numbers[1:]))


@dataclass(frozen=True, eq=False)
class MappedPosters:
    """Posters that were decoded before."""

    pixels: NDArray[np.uint8]  # N x H x W x 3
    usable: NDArray[np.bool_]  # N
    places: Mapping[int, int]  # by a row of the manifest the number of the poster
    looks: TowerInput
    views: RandomViews | None = None  # None: as they are

    def __getstate__(self) -> dict[str, Any]:
        """For processes that are no copies of this one: the file's name, where all of it would be sent."""
        file = getattr(self.pixels, "filename", None)  # None where they are in memory
        return {**vars(self), "pixels": self.pixels if file is None else Path(file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pixels = state["pixels"]
        vars(self).update(state, pixels=np.load(pixels, mmap_mode="r") if isinstance(pixels, Path) else pixels)

    def batch(
        self, rows: Sequence[int], epoch: int, sharing: tuple[int, int] = (0, 1)
    ) -> tuple[list[int], torch.Tensor]:
        good = [row for row in rows if self.usable[self.places[row]]]
        if not good:
            return good, torch.zeros(0, 3, *self.looks.size)
        own = good[part_of(len(good), *sharing).rows]
        pixels = torch.from_numpy(self.pixels[[self.places[row] for row in own]])
        seen = pixels.permute(0, 3, 1, 2).float() if self.views is None else self.views(pixels, own, epoch, good[0])
        # Convolutions on a CPU are faster where a place's channels lie side by side.
        return good, self.looks.normalised(seen).contiguous(memory_format=torch.channels_last)


def training_pictures(
    dataset: Dataset,
    rows: Sequence[int],
    looks: TowerInput,
    settings: TrainConfig,
    seed: int,
    folder: Path,
    *,
    threads: int | None = None,
    quiet: bool = False,
) -> MappedPosters:
    """The posters to learn from, decoded by so many threads; without ``train.augment`` they are seen as in use."""
    if not settings.augment:
        return whole_pictures(dataset, rows, looks, folder, "train", threads=threads, quiet=quiet)
    sizes = settings.sizes or (looks.size,)
    # So large that the smallest part still has as many pixels as it is shown with.
    zoom = settings.crop[0] ** -0.5
    largest = (round(max(size[0] for size in sizes) * zoom), round(max(size[1] for size in sizes) * zoom))
    enlarged = TowerInput(looks.mean, looks.std, largest, looks.resize)
    decoded = _decoded(dataset, rows, enlarged, folder, "train", threads, quiet)
    return _mapped(decoded, rows, looks, RandomViews(sizes, settings.crop, seed))


def whole_pictures(
    dataset: Dataset,
    rows: Sequence[int],
    looks: TowerInput,
    folder: Path,
    name: str,
    *,
    threads: int | None = None,
    quiet: bool = False,
) -> MappedPosters:
    """Posters as they are seen in use, to the last bit; `name` begins the names of their files in `folder`."""
    return _mapped(_decoded(dataset, rows, looks, folder, name, threads, quiet), rows, looks)


def _decoded(
    dataset: Dataset,
    rows: Sequence[int],
    looks: TowerInput,
    folder: Path,
    name: str,
    threads: int | None,
    quiet: bool,
) -> DecodedPosters:
    transform = looks.transform()
    made = {FOLDER: Resized(looks.size, lambda poster: transform.resized(np.asarray(poster)))}
    return decode_posters(dataset, rows, made, folder, name, threads=threads, quiet=quiet)


def _mapped(
    decoded: DecodedPosters, rows: Sequence[int], looks: TowerInput, views: RandomViews | None = None
) -> MappedPosters:
    places = {row: place for place, row in enumerate(rows)}
    return MappedPosters(decoded.pixels[FOLDER], decoded.usable, places, looks, views)
