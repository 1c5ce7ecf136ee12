"""The frozen extractors, and which of them each branch needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmposter.config import Config
from mmposter.errors import UserError
from mmposter.features.extractors.base import Extractor, FeatureExtractor, Preparation, RecordExtractor
from mmposter.features.extractors.masking import MaskedExtractor, Phrases, phrases_to_mask
from mmposter.features.extractors.objects import YoloExtractor
from mmposter.features.extractors.ocr import OcrExtractor
from mmposter.features.extractors.pictures import CnnExtractor, StyleExtractor
from mmposter.features.extractors.text import TextExtractor
from mmposter.features.pins import Pins
from mmposter.features.tower import SharedTower, TowerWeights

__all__ = [
    "BranchExtractors",
    "CnnExtractor",
    "Extractor",
    "FeatureExtractor",
    "MaskedExtractor",
    "OcrExtractor",
    "Phrases",
    "Preparation",
    "RecordExtractor",
    "StyleExtractor",
    "TextExtractor",
    "YoloExtractor",
    "build_extractors",
    "phrases_to_mask",
]


@dataclass(frozen=True)
class BranchExtractors:
    """What one branch needs: extractors in the order in which they run; the last one's records go to the fusion."""

    branch: str
    steps: tuple[Extractor, ...]
    feature: FeatureExtractor


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
        config: their settings.
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
    tower = None
    if {"cnn", "style"} & set(wanted):
        weights = pins.tower(config) if pins else TowerWeights.find(config.cnn, seed=config.seed, offline=offline)
        tower = SharedTower(config.cnn, weights, device=device)
    built = {name: _build(name, config, device, offline, tower, phrases, pins) for name in wanted}
    if pins is not None:
        pins.require_same(built.values())
    return built


def _build(
    name: str,
    config: Config,
    device: str,
    offline: bool,
    tower: SharedTower | None,
    phrases: Mapping[str, Phrases] | None,
    pins: Pins | None,
) -> BranchExtractors:
    if tower is not None and name == "cnn":
        cnn = CnnExtractor(tower)
        return BranchExtractors(name, (cnn,), cnn)
    if tower is not None and name == "style":
        style = StyleExtractor(tower, config.style)
        return BranchExtractors(name, (style,), style)
    if name == "yolo":
        pinned = pins.weights("yolo") if pins else None
        yolo = YoloExtractor(config.yolo, device=device, offline=offline, pinned=pinned)
        return BranchExtractors(name, (yolo,), yolo)
    reader = OcrExtractor(config.ocr, device=device, offline=offline, pinned=pins.weights("ocr") if pins else None)
    encoder = (pins.weights("text"), pins.embedding_dim) if pins else None
    if config.ocr.mask == "none":
        text = TextExtractor(config.ocr, reader, device=device, offline=offline, pinned=encoder)
        return BranchExtractors(name, (reader, text), text)
    if phrases is None:
        raise UserError(
            f"ocr.mask={config.ocr.mask} needs the metadata of a prepared data set, and these posters come without; "
            "use --set ocr.mask=none"
        )
    masked = MaskedExtractor(reader, config.ocr.mask, phrases)
    text = TextExtractor(config.ocr, masked, device=device, offline=offline, pinned=encoder)
    return BranchExtractors(name, (reader, masked, text), text)
