"""What every frozen extractor offers: from pictures (or another extractor's records) to records for the store.

An extractor is cheap to make: it knows its fingerprint from files and settings alone and loads its model on `start`,
so a complete store is recognised without loading anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.features.store import Record
from mmposter.images.picture import Picture

Poster = NDArray[np.uint8]

Preparation: TypeAlias = Callable[[Picture], Any]
"""From a decoded poster to what an extractor takes; hashable, and safe in any thread."""


def pixels(picture: Picture) -> Poster:
    """The preparation of an extractor that takes posters as they are: H x W x 3, uint8, RGB."""
    return picture.pixels


class Extractor(ABC):
    """One frozen model over posters. It is picklable until `start`, and is sent to other processes before that.

    Attributes:
        name: under which its records lie in the store.
    """

    name: ClassVar[str]
    _device: str = "cpu"

    @property
    def device(self) -> str:
        """Where it computes: ``cpu``, ``cuda`` or ``mps``."""
        return self._device

    @property
    def preparation(self) -> Preparation:
        """Makes an item of a batch from a decoded poster; equal preparations are computed once for all extractors."""
        return pixels

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """All that decides its records: weights' hash, settings, version of the code."""

    def identity(self) -> dict[str, Any]:
        """What a model that was trained behind it relies on: the fingerprint, without what is one data set's own."""
        return self.fingerprint()

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
            batch: what `preparation` makes of the posters; for a `RecordExtractor` the records of its `source`. As many
                as there are: an extractor that can hold fewer at a time cuts the batch itself.
        """


class RecordExtractor(Extractor):
    """An extractor that looks at the records of another one, never at the picture.

    Attributes:
        source: the other one.
        keyed: whether it must know whose record it looks at: the items of its batches are then pairs of the picture's
            sha256 and the record.
    """

    source: Extractor
    keyed: ClassVar[bool] = False


class FeatureExtractor(Extractor):
    """An extractor whose records a branch of the fusion reads."""

    @property
    def slots(self) -> int | None:
        """How many boxes or lines of a poster `collate` keeps; None where records have none."""
        return None

    def collating(self) -> dict[str, Any]:
        """What `collate` goes by beside the records."""
        return {"slots": self.slots}

    @abstractmethod
    def empty(self) -> Record | None:
        """What a poster that could not be computed counts as; None if it cannot go into the fusion at all."""

    @abstractmethod
    def collate(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        """Stack the records of B posters into the fusion's inputs, each with B rows."""


@dataclass(frozen=True)
class BranchExtractors:
    """What one branch needs: extractors in the order in which they run, each after its source."""

    branch: str
    steps: tuple[Extractor, ...]
    # One of the steps, whose records the fusion reads; its identity tells what the branch was trained behind.
    feature: FeatureExtractor
    also: tuple[FeatureExtractor, ...] = ()  # further steps whose records the fusion reads

    @property
    def features(self) -> tuple[FeatureExtractor, ...]:
        """All steps whose records the fusion reads."""
        return (self.feature, *self.also)

    def metadata(self) -> dict[str, Any]:
        """What a reader of the records must know beside them; asked for after the steps were started."""
        return {key: value for feature in self.features for key, value in feature.metadata().items()}

    def source_of(self, step: Extractor) -> str | None:
        """The name of the step whose records a step looks at; None where it looks at pictures."""
        return step.source.name if isinstance(step, RecordExtractor) else None


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
