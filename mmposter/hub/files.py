"""The files of a model on the hub, and how large each may be. Nothing else is ever asked for, or sent."""

from __future__ import annotations

from collections.abc import Mapping

from mmposter.files.plain import MEGABYTE

# Kept as text, not imported from mmposter.runs: the look-up of a name should not wait for torch.
MODEL, WEIGHTS, TOWER, SUBSETS, SEEN, CARD = (
    "model.json",
    "best.safetensors",
    "tower.safetensors",
    "subsets.json",
    "seen.parquet",
    "README.md",
)

_GIGABYTE = 1000 * MEGABYTE

FILES: Mapping[str, int] = {
    WEIGHTS: 4 * _GIGABYTE,
    TOWER: 4 * _GIGABYTE,
    SUBSETS: 16 * MEGABYTE,
    SEEN: 512 * MEGABYTE,
    CARD: 1 * MEGABYTE,
    MODEL: 16 * MEGABYTE,
}
"""The largest size of each file in bytes. They are fetched in this order: where the last is, all others are, too."""

NEEDED = (MODEL, WEIGHTS)
"""Without these a repository is no model of ours."""

LARGEST = 4 * _GIGABYTE
"""Bytes of all files together: the largest image networks that we can train behind have 1.2 billion weights."""
