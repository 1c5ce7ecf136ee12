"""A branch from outside: the colours of a poster, as histograms of HSV and Lab over a grid of 4 x 3 cells.

    mmposter --plugin examples/colour_branch.py train DATA --branches colour --out RUN

Nothing of mmposter is changed for it. `BRANCH`, at the end, is what mmposter reads of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from fusion import Branch
from fusion.base import Inputs
from mmposter.branches import BranchDeclaration
from mmposter.branches.settings import ConfigSection, Width
from mmposter.config import Config
from mmposter.features.extractors import BranchExtractors, FeatureExtractor, Making
from mmposter.features.sizes import Sizes
from mmposter.features.store import Record

ROWS, COLUMNS, CHANNELS = 4, 3, 6
# From sRGB without its gamma to XYZ, divided by the white point D65: white becomes (1, 1, 1).
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_TO_XYZ /= _TO_XYZ.sum(axis=1, keepdims=True)


class ColourConfig(ConfigSection):
    """The colours of the poster: keys of the configuration, such as ``--set colour.bins=12``."""

    bins: int = Field(8, ge=2, le=64)
    """Of each channel's histogram"""
    dim: Width = 64
    dropout: float = Field(0.2, ge=0, lt=1)


class ColourExtractor(FeatureExtractor):
    """The frozen half: histograms 1 x (4 * 3 * 6 * bins), the sum over the bins of a channel in a cell is 1.

    Args:
        bins: of each channel.
    """

    name = "colour"

    def __init__(self, bins: int) -> None:
        self._bins = bins

    def fingerprint(self) -> dict[str, Any]:
        return {"version": 1, "bins": self._bins}

    def start(self) -> None:
        """There is no model to load."""

    def metadata(self) -> dict[str, Any]:
        return {"width": ROWS * COLUMNS * CHANNELS * self._bins}

    def __call__(self, batch: Sequence[NDArray[np.uint8]]) -> list[Record]:
        return [{"histograms": self._histograms(poster)[None]} for poster in batch]

    def empty(self) -> Record | None:
        return None  # every poster that can be read has colours

    def collate(self, records: Sequence[Record]) -> dict[str, Tensor]:
        return {"colour.histograms": torch.from_numpy(np.concatenate([record["histograms"] for record in records]))}

    def _histograms(self, poster: NDArray[np.uint8]) -> NDArray[np.float32]:
        hsv = np.asarray(Image.fromarray(poster).convert("HSV"), dtype=np.float64) / 255
        channels = np.concatenate([hsv, lab(poster)], axis=2)
        found = []
        for row in np.array_split(channels, ROWS, axis=0):
            for cell in np.array_split(row, COLUMNS, axis=1):
                for channel in range(CHANNELS):
                    counts, _ = np.histogram(cell[..., channel], self._bins, (0, 1))
                    found.append(counts / max(counts.sum(), 1))
        return np.concatenate(found).astype(np.float32)


def lab(poster: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE Lab of a poster H x W x 3 in sRGB, each channel brought into 0-1 (a and b: -128 to 128 before)."""
    values = poster / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T
    bent = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(bent, 2, 0)
    stacked = np.stack([(116 * y - 16) / 100, (500 * (x - y) + 128) / 256, (200 * (y - z) + 128) / 256], axis=2)
    clipped: NDArray[np.float64] = stacked.clip(0, 1)
    return clipped


class ColourBranch(Branch):
    """The half that learns: layer norm, dropout and a linear layer on the histograms.

    Args:
        width: of the histograms.
        dim: D, length of the embedding.
        dropout: in [0, 1).
    """

    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__(dim)
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, dim), nn.GELU())

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        return self.layers(inputs["colour.histograms"]), self.present(inputs)


class ColourDeclaration(BranchDeclaration):
    """All that mmposter needs to know of the branch."""

    name = "colour"
    meaning = "its colours"
    colour = "#56B4E9"
    section = ColourConfig
    record_keys = ("colour.bins",)
    widths = {"colour.histograms": ("width",)}  # noqa: RUF012

    def describe(self, config: Config) -> str:
        return f"colours, as histograms of {_settings(config).bins} bins over {ROWS} x {COLUMNS} cells"

    def extractors(self, config: Config, making: Making) -> BranchExtractors:
        extractor = ColourExtractor(_settings(config).bins)
        return BranchExtractors(self.name, (extractor,), extractor)

    def module(self, config: Config, sizes: Sizes) -> Branch:
        settings = _settings(config)
        return ColourBranch(sizes.further[self.name]["width"], settings.dim, settings.dropout)


def _settings(config: Config) -> ColourConfig:
    settings = config.section("colour")
    assert isinstance(settings, ColourConfig)
    return settings


BRANCH = ColourDeclaration()
