"""The objects and lines of one poster, and what a branch reads where some of them are left out.

What is left out is taken from the record as if it had not been found, and the steps behind that record run again: the
text encoder reads the whole text without a line, and an encoding that adds boxes up adds up the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.explain.values import Item
from mmposter.features.extractors import BranchExtractors
from mmposter.features.extractors.lines import decode_lines, encode_lines
from mmposter.features.store import Record


class Parts(ABC):
    """What one branch found on one poster: its started extractors, and the record of the first of them."""

    items: tuple[Item, ...]
    """That can be left out, in the order of the record."""

    def __init__(self, extractors: BranchExtractors, record: Record) -> None:
        self._extractors, self._record = extractors, record

    def without(self, hidden: Sequence[Collection[int]]) -> dict[str, torch.Tensor]:
        """The branch's entries of a batch, one row for each set of items (by number) that is left out."""
        first, *rest = self._extractors.steps
        left: list[Any] = [self._left(sorted(set(range(len(self.items))) - set(some))) for some in hidden]
        records = {first.name: left}
        for step in rest:
            source = self._extractors.source_of(step)
            assert source is not None  # the first alone looks at pictures
            records[step.name] = step(records[source])
        found: dict[str, torch.Tensor] = {}
        for feature in self._extractors.features:
            found |= feature.collate(records[feature.name])
        return found

    @abstractmethod
    def _left(self, kept: list[int]) -> Record:
        """The first step's record with these items alone."""


class Objects(Parts):
    """The boxes that the `yolo` branch reads, the surest first."""

    def __init__(self, extractors: BranchExtractors, record: Record, class_names: Sequence[str]) -> None:
        super().__init__(extractors, record)
        # Those beyond the slots are not seen, and must not move up where others are left out.
        self.items = tuple(
            Item(extractors.branch, class_names[int(label)], float(score), _four(box))
            for box, score, label in zip(record["boxes"], record["scores"], record["labels"], strict=True)
        )[: extractors.feature.slots]

    def _left(self, kept: list[int]) -> Record:
        return {name: values[kept] for name, values in self._record.items()}


class Lines(Parts):
    """The lines of text that the `ocr` branch reads, in the order in which they were found, but for unsure ones."""

    def __init__(self, extractors: BranchExtractors, record: Record, min_confidence: float) -> None:
        super().__init__(extractors, record)
        self._rows = np.flatnonzero(record["confidences"] >= min_confidence)
        self._texts = decode_lines(record["text"], len(record["confidences"]))
        quads = record["quads"]
        self.items = tuple(
            Item(
                extractors.branch,
                self._texts[row],
                float(record["confidences"][row]),
                _four(np.concatenate([quads[row].min(axis=0), quads[row].max(axis=0)])),
            )
            for row in self._rows
        )

    def _left(self, kept: list[int]) -> Record:
        rows = self._rows[kept]
        return {
            "quads": self._record["quads"][rows],
            "confidences": self._record["confidences"][rows],
            "text": encode_lines([self._texts[row] for row in rows]),
        }


def _four(values: NDArray[np.float32]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom
