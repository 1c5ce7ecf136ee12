"""The frozen extractors, and which of them each branch needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmposter.branches import declared
from mmposter.config import Config
from mmposter.features.extractors.base import (
    BranchExtractors,
    Extractor,
    FeatureExtractor,
    Preparation,
    RecordExtractor,
)
from mmposter.features.extractors.masking import MaskedExtractor, Phrases, phrases_to_mask
from mmposter.features.extractors.objects import YoloExtractor
from mmposter.features.extractors.ocr import LinesExtractor, OcrExtractor, PpocrExtractor
from mmposter.features.extractors.pictures import CnnExtractor, PhotoExtractor, StyleExtractor
from mmposter.features.extractors.text import TextExtractor
from mmposter.features.pins import Pins
from mmposter.features.settled import image_network
from mmposter.features.tower import SharedTower

__all__ = [
    "BranchExtractors",
    "CnnExtractor",
    "Extractor",
    "FeatureExtractor",
    "LinesExtractor",
    "Making",
    "MaskedExtractor",
    "OcrExtractor",
    "PhotoExtractor",
    "Phrases",
    "PpocrExtractor",
    "Preparation",
    "RecordExtractor",
    "StyleExtractor",
    "TextExtractor",
    "YoloExtractor",
    "build_extractors",
    "phrases_to_mask",
]


@dataclass(frozen=True)
class Making:
    """What a branch needs beside its settings to make its extractors."""

    device: str = "cpu"  # where they compute
    offline: bool = False  # never touch the network
    tower: SharedTower | None = None  # the image network; None where no branch looks through it
    # What is taken out of each poster's words, if anything; see `phrases_to_mask`.
    phrases: Mapping[str, Phrases] | None = None
    pins: Pins | None = None  # what stands in for pretrained files; None: look for the files


def build_extractors(
    config: Config,
    branches: Iterable[str] | None = None,
    *,
    device: str = "cpu",
    offline: bool = False,
    phrases: Mapping[str, Phrases] | None = None,
    pins: Pins | None = None,
) -> dict[str, BranchExtractors]:
    """The extractors behind `branches`, by branch.

    Args:
        config: their settings, settled.
        branches: None takes all that the configuration has on.
        device: where they compute.
        offline: never touch the network.
        phrases: what `config.ocr.mask` takes out of each poster, from `phrases_to_mask`; not looked at where it is
            ``none``.
        pins: what stands in for pretrained files where the records come from a pack; None: look for the files.

    Raises:
        UserError: where pretrained files are missing, or `phrases` that `config.ocr.mask` needs, or `pins` are of other
            settings.
    """
    wanted = tuple(config.branches if branches is None else branches)
    if pins is not None:
        pins.require(config, wanted)
    weights = image_network(config, wanted, pins, offline=offline)
    tower = None if weights is None else SharedTower(config.cnn, weights, device=device)
    making = Making(device, offline, tower, phrases, pins)
    built = {name: declared(name).extractors(config, making) for name in wanted}
    if pins is not None:
        pins.require_same(built.values())
    return built
