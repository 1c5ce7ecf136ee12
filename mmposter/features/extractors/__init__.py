"""The frozen extractors, and which of them each branch needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmposter.config import Config
from mmposter.features.extractors.base import Extractor, FeatureExtractor, RecordExtractor
from mmposter.features.extractors.objects import YoloExtractor
from mmposter.features.extractors.ocr import OcrExtractor
from mmposter.features.extractors.pictures import CnnExtractor, StyleExtractor
from mmposter.features.extractors.text import TextExtractor
from mmposter.features.tower import TowerWeights

__all__ = [
    "BranchExtractors",
    "CnnExtractor",
    "Extractor",
    "FeatureExtractor",
    "OcrExtractor",
    "RecordExtractor",
    "StyleExtractor",
    "TextExtractor",
    "YoloExtractor",
    "build_extractors",
]


@dataclass(frozen=True)
class BranchExtractors:
    """What one branch needs: extractors in the order in which they run; the last one's records go to the fusion."""

    branch: str
    steps: tuple[Extractor, ...]
    feature: FeatureExtractor


def build_extractors(
    config: Config, branches: Iterable[str] | None = None, *, device: str = "cpu", offline: bool = False
) -> dict[str, BranchExtractors]:
    """The extractors behind `branches` (None: all that the configuration has on), by branch.

    Raises:
        UserError: where pretrained files are missing.
    """
    return {name: _build(name, config, device, offline) for name in (config.branches if branches is None else branches)}


def _build(name: str, config: Config, device: str, offline: bool) -> BranchExtractors:
    if name in ("cnn", "style"):
        weights = TowerWeights.find(config.cnn, seed=config.seed, offline=offline)
        tower: FeatureExtractor = (
            CnnExtractor(config.cnn, weights, device=device)
            if name == "cnn"
            else StyleExtractor(config.cnn, config.style, weights, device=device)
        )
        return BranchExtractors(name, (tower,), tower)
    if name == "yolo":
        yolo = YoloExtractor(config.yolo, device=device, offline=offline)
        return BranchExtractors(name, (yolo,), yolo)
    reader = OcrExtractor(config.ocr, device=device, offline=offline)
    text = TextExtractor(config.ocr, reader, device=device, offline=offline)
    return BranchExtractors(name, (reader, text), text)
