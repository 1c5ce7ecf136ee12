"""Boxes and lines of many posters without their padding.

A poster has 0 to 40 lines of text, 7 on average: padded, the lines' embeddings of 5600 posters take 346 MB, and most of
every batch is zeros that are copied and multiplied like content.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmposter.features.windowed import Windowed

SLOTS = {
    "yolo.mask": ("yolo.boxes", "yolo.scores", "yolo.labels"),
    "ocr.mask": ("ocr.embeddings", "ocr.geometry"),
    "ocr.ngram_mask": ("ocr.ngrams", "ocr.ngram_counts"),
}
"""The fusion's inputs that have slots, by the mask that says which are filled (see the table in `fusion`)."""


class Ragged:
    """N posters with different numbers of slots; indexed by rows it gives a padded tensor.

    Args:
        values: the filled slots of all posters, one poster after another: n x ...
        counts: how many of them each poster has: N.
        starts: where each poster's begin: N; None: one behind the other.
    """

    def __init__(
        self, values: torch.Tensor | Windowed, counts: torch.Tensor, starts: torch.Tensor | None = None
    ) -> None:
        self.values, self.counts = values, counts
        self.starts = counts.cumsum(0) - counts if starts is None else starts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows' slots: B x T x ..., T the most that a row of them has (at least 1), zeros behind the end."""
        filled = self.filled(rows)
        places = (self.starts[rows, None] + torch.arange(filled.shape[1]))[filled]
        padded = self.values.new_zeros(*filled.shape, *self.values.shape[1:])
        padded[filled] = self.values.index_select(0, places)
        return padded

    def filled(self, rows: torch.Tensor) -> torch.Tensor:
        """The mask over what indexing by `rows` gives: B x T."""
        counts = self.counts[rows]
        width = max(1, int(counts.max())) if len(counts) else 1
        return torch.arange(width) < counts[:, None]

    def take(self, rows: torch.Tensor) -> Ragged:
        """These rows in this order; the values are shared, not copied."""
        return Ragged(self.values, self.counts[rows], self.starts[rows])


def slots_of(counts: torch.Tensor, places: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """How many slots each of N posters has and where they begin, by the posters' `places` (None: their own order)."""
    starts = counts.cumsum(0) - counts
    counts = counts.int()  # of millions of posters, half as large
    return (counts, starts) if places is None else (counts[places], starts[places])


Features = Mapping[str, torch.Tensor | Windowed | Ragged]
"""The fusion's inputs by name, N posters each; without the masks, which follow from the slots."""


def batch_of(features: Features, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """The fusion's inputs of these rows, with their masks and with no more slots than they fill."""
    # index_select copies whole rows, and is several times faster than indexing.
    inputs = {
        name: values[rows] if isinstance(values, Ragged) else values.index_select(0, rows)
        for name, values in features.items()
    }
    for mask, names in SLOTS.items():
        values = features.get(names[0])
        if isinstance(values, Ragged):
            inputs[mask] = values.filled(rows)
    return inputs


def places_of(features: Features) -> torch.Tensor | None:
    """Where each poster lies in tables that are read by windows; None where they are not."""
    values = (value.values if isinstance(value, Ragged) else value for value in features.values())
    return next((value.places for value in values if isinstance(value, Windowed) and value.places is not None), None)


def take(features: Features, rows: torch.Tensor) -> dict[str, torch.Tensor | Windowed | Ragged]:
    """These posters in this order."""
    return {
        name: values.take(rows) if isinstance(values, Ragged) else values[rows] for name, values in features.items()
    }
