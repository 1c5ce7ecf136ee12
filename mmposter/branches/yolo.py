"""The branch `yolo`: the objects on a poster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mmposter.branches.base import BranchDeclaration
from mmposter.branches.settings import ConfigSection, Name, Slots, Width
from mmposter.files.paths import file_here, last_part

if TYPE_CHECKING:
    from fusion import Branch
    from mmposter.config import Config
    from mmposter.explain.parts import Parts
    from mmposter.features.extractors import BranchExtractors, Making
    from mmposter.features.pins import Pins
    from mmposter.features.sizes import Sizes
    from mmposter.features.store import Record
    from mmposter.pretrained.resolver import WeightSource

NAME = "yolo"
PERSON = "person"
"""The class of persons, as detectors trained on COCO call it."""

_PUBLISHED = re.compile(r"yolo[a-z0-9]+(?:-[a-z0-9]+)*\.pt\Z", re.IGNORECASE)  # as ultralytics calls its own


class YoloConfig(ConfigSection):
    """The objects on the poster."""

    model: Name = "yolo11n.pt"
    """An ultralytics checkpoint: a name that the resolver finds, or a path."""
    size: int = Field(448, ge=32, le=8192, multiple_of=32)
    confidence: float = Field(0.15, ge=0, le=1)
    encoding: Literal["counts", "histogram", "set", "joined"] = "joined"
    """A ``set`` of boxes, a ``histogram`` of their classes (scores and areas), ``counts``; ``joined``: set, histogram
    and 24 numbers of the persons (how many, how large, where), normalised."""
    pooling: Literal["deepsets", "attention"] = "deepsets"
    max_boxes: Slots = 40
    """The most confident boxes that the fusion sees."""
    dim: Width = 64
    dropout: float = Field(0.3, ge=0, lt=1)


class YoloDeclaration(BranchDeclaration):
    """Objects."""

    name = NAME
    meaning = "objects"
    colour = "#D55E00"
    section = YoloConfig
    libraries = ("ultralytics",)
    weights_may_differ = True
    weighted = (NAME,)
    record_keys = ("yolo.model", "yolo.size", "yolo.confidence")
    model_names: ClassVar[Mapping[str, int]] = {"yolo.model": 1}
    items_title = "objects"
    nothing_found = ("object", "found")
    axes = ("yolo.encoding",)

    def describe(self, config: Config) -> str:
        yolo = config.yolo
        return f"objects, found by {yolo.model} at {yolo.size} px, encoded as {yolo.encoding}"

    def sources(self, config: Config) -> Iterator[tuple[str, WeightSource]]:
        from mmposter.pretrained import catalogue

        yield "", catalogue.yolo(config.yolo.model)

    def extractors(self, config: Config, making: Making) -> BranchExtractors:
        from mmposter.features.extractors import BranchExtractors, YoloExtractor

        pinned = making.pins.weights(NAME) if making.pins else None
        yolo = YoloExtractor(config.yolo, device=making.device, offline=making.offline, pinned=pinned)
        return BranchExtractors(self.name, (yolo,), yolo)

    def sizes(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"class_names": tuple(metadata.get("class_names", ()))}

    def module(self, config: Config, sizes: Sizes) -> Branch:
        from fusion import YoloBranch

        yolo, names = config.yolo, sizes.class_names
        return YoloBranch(
            len(names),
            dim=yolo.dim,
            encoding=yolo.encoding,
            pooling=yolo.pooling,
            dropout=yolo.dropout,
            person=names.index(PERSON) if PERSON in names else None,
        )

    def for_others(self, config: Config) -> Mapping[str, Any]:
        model = config.yolo.model
        name = last_part(model)
        if name == model and (_PUBLISHED.match(name) or file_here(name) is None):
            return {}
        if not _PUBLISHED.match(name):
            raise ValueError(
                f"the branch yolo stands behind a detector of your own, yolo.model={model}, which nobody else has.\n"
                "Train a run behind a published one (--set yolo.model=yolo11n.pt), or without it (--branches)"
            )
        return {"model": name}

    def same_records(self, key: str, asked: Any, config: Config, pins: Pins) -> bool | None:
        from mmposter.pretrained import resolver

        if key != "yolo.model":
            return None
        file = file_here(asked)
        same = Path(asked).name == str(pins.settings[key])
        return same if file is None else pins.weights(NAME) == resolver.digest([file])

    def parts(self, extractors: BranchExtractors, record: Record, config: Config, sizes: Sizes) -> Parts | None:
        from mmposter.explain.parts import Objects

        return Objects(extractors, record, sizes.class_names)


BRANCH = YoloDeclaration()
