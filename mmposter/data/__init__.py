"""Data preparation: source readers, cleaning, near-duplicates, split, and the prepared folder."""

from __future__ import annotations

from mmposter.data.dataset import Dataset, write_dataset
from mmposter.data.preparation import PrepareReport
from mmposter.data.prepare import prepare
from mmposter.data.sources import source_formats

__all__ = ["Dataset", "PrepareReport", "prepare", "source_formats", "write_dataset"]
