"""Batches for the loop: rows of cached features, and in the finetune regime the posters themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, Dataset

from mmposter.features.ragged import SLOTS, Features, Ragged, batch_of
from mmposter.features.windowed import window_order
from mmposter.training.pictures import Pictures
from mmposter.training.processes import part_of
from mmposter.training.seeds import mixed_seed

Batch: TypeAlias = tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]
"""The fusion's inputs (B rows each), labels B x G, and the rows' numbers B.

Where several processes share a batch, the inputs are those of this one's part, and the rest is of the whole batch.
"""


class PosterBatches(Dataset[Any]):
    """Posters by number, a batch at a time: cached rows, with their pictures where these are given.

    Args:
        features: cached inputs with N rows each; may be empty in the finetune regime.
        labels: N x G, 0 or 1.
        pictures: of the N posters; None in the features regime.
        places: where each of the N posters lies in tables that are read by windows; None: they are read in any order.
    """

    def __init__(
        self,
        features: Features,
        labels: torch.Tensor,
        pictures: Pictures | None = None,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.features, self.labels, self.pictures, self.places = dict(features), labels, pictures, places
        self.epoch = 0  # of which random views are
        self.sharing = (0, 1)  # rank and number of the processes that share a batch

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, wanted: Sequence[int]) -> Batch:
        """A batch, as torch's loader asks for it. Posters that cannot be decoded are left out, and missed by row."""
        good, images = list(wanted), None
        if self.pictures is not None:
            good, images = self.pictures.batch(wanted, self.epoch, self.sharing)
        rows = torch.tensor(good, dtype=torch.long)
        inputs = self._part(rows)
        if images is not None and good:
            inputs["image"] = images
        return inputs, self.labels[rows], rows

    def _part(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The inputs of this process's part of a batch, padded as the whole batch would be.

        Of two boxes of one size the larger is found differently among other numbers of slots.
        """
        own = rows[part_of(len(rows), *self.sharing).rows]
        inputs = batch_of(self.features, own)
        if len(own) < len(rows):
            for mask, names in SLOTS.items():
                values = self.features.get(names[0])
                if isinstance(values, Ragged):
                    more = values.filled(rows).shape[1] - inputs[mask].shape[1]
                    for name in {mask, *names} & set(inputs):
                        behind = (0, 0) * (inputs[name].ndim - 2) + (0, more)
                        inputs[name] = F.pad(inputs[name], behind)
        return inputs


def as_it_is(batch: Any) -> Any:
    """What `PosterBatches` made is a batch already."""
    return batch


def read_ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches; each is made in a thread of its own while the one before it is worked on."""
    made = iter(batches)
    with ThreadPoolExecutor(1, "batches") as reader:
        following = reader.submit(next, made, None)
        while (batch := following.result()) is not None:
            following = reader.submit(next, made, None)
            yield batch


class EpochSampler(BatchSampler):
    """Batches of `rows`, shuffled as a function of seed and epoch alone, from any batch on.

    The last batch may be smaller; if shuffled, never 1 beside larger ones: a batch norm learns little of one poster.

    Args:
        places: where all posters lie in tables that are read by windows; they are then shuffled window by window (see
            `mmposter.features.windowed.window_order`).
    """

    def __init__(
        self,
        rows: Sequence[int] | NDArray[np.int64],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.rows, self.batch_size, self.seed, self.shuffle = np.asarray(rows, np.int64), batch_size, seed, shuffle
        self.places = places
        self.drop_last = False
        self.epoch, self.start = 0, 0

    def __iter__(self) -> Iterator[list[int]]:
        order, size, count = self._order(), self.batch_size, len(self)
        for number in range(self.start, count):
            yield order[number * size : None if number + 1 == count else (number + 1) * size].tolist()

    def __len__(self) -> int:
        count, left = divmod(len(self.rows), self.batch_size)
        joined = self.shuffle and self.batch_size > 1 and left == 1 and count
        return count + (left > 0 and not joined)

    def _order(self) -> NDArray[np.int64]:
        if not self.shuffle:
            return self.rows
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch, -1))
        if self.places is not None:
            return window_order(self.rows, self.places, generator)
        mixed: NDArray[np.int64] = self.rows[torch.randperm(len(self.rows), generator=generator).numpy()]
        return mixed
