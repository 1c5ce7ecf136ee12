"""Data preparation: source readers, cleaning, near-duplicates, split, and the prepared folder.

Names are loaded on first use: the command line asks `sources` for its help, and should not wait for numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmposter.data.dataset import Dataset, write_dataset
    from mmposter.data.pipeline import prepare
    from mmposter.data.preparation import PrepareReport
    from mmposter.data.sources import source_formats

__all__ = ["Dataset", "PrepareReport", "prepare", "source_formats", "write_dataset"]

_HOMES = {
    "Dataset": "dataset",
    "PrepareReport": "preparation",
    "prepare": "pipeline",
    "source_formats": "sources",
    "write_dataset": "dataset",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
