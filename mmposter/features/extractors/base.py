"""What every frozen extractor offers: from pictures (or another extractor's records) to records for the store.

An extractor is cheap to make: it knows its fingerprint from files and settings alone and loads its model on `start`,
so a complete store is recognised without loading anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.features.store import Record

Poster = NDArray[np.uint8]


class Extractor(ABC):
    """One frozen model over posters.

    Attributes:
        name: under which its records lie in the store.
        batch_size: how many posters it takes at a time; also what a kill can cost.
    """

    name: ClassVar[str]
    batch_size: ClassVar[int]

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """All that decides its records: weights' hash, settings, version of the code."""

    @abstractmethod
    def start(self) -> None:
        """Load the model. Called once, before the first batch."""

    def metadata(self) -> dict[str, Any]:
        """What a reader of the records must know beside them; asked for after `start`."""
        return {}

    @abstractmethod
    def __call__(self, batch: Sequence[Any]) -> list[Record]:
        """The records of a batch, in order.

        Args:
            batch: arrays H x W x 3, uint8, RGB; for a `RecordExtractor` the records of its `source`.
        """


class RecordExtractor(Extractor):
    """An extractor that looks at the records of another one, never at the picture."""

    source: Extractor


class FeatureExtractor(Extractor):
    """An extractor whose records a branch of the fusion reads."""

    @abstractmethod
    def empty(self) -> Record | None:
        """What a poster that could not be computed counts as; None if it cannot go into the fusion at all."""

    @abstractmethod
    def collate(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        """Stack the records of B posters into the fusion's inputs, each with B rows."""


def pad(arrays: Sequence[NDArray[Any]], slots: int) -> torch.Tensor:
    """Stack arrays n_i x ... into B x slots x ..., zeros behind the end; longer ones are cut.

    `slots` is fixed by the configuration, not by the batch, so that a model sees one shape always.
    """
    padded = np.zeros((len(arrays), slots, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        kept = array[:slots]
        padded[row, : len(kept)] = kept
    return torch.from_numpy(padded)


def slot_mask(lengths: Sequence[int], slots: int) -> torch.Tensor:
    """B x slots, True where a slot is real."""
    return torch.arange(slots)[None, :] < torch.tensor(list(lengths))[:, None]
