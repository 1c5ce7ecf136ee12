"""The one place that settles a configuration: what ``cnn.init=auto`` means, and which network that is, in which size;
and what the reader of words and its ``auto`` mean.

Every door (`train`, `ablate`, `extract`, `pack`, `reproduce`, `doctor`) settles what it is given; all behind it get the
settled configuration, and ask no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmposter.branches import on_images
from mmposter.branches.ocr import BRANCH as WORDS
from mmposter.branches.ocr import NAME as OCR
from mmposter.config import Config, comparable
from mmposter.features.pins import Pins
from mmposter.features.tower import TowerWeights, made_for
from mmposter.shipped import POSTERS, shipped_tower

EARLIER_READER = WORDS.earlier["ocr.reader"]
_UNREAD = {"reader": EARLIER_READER, "enlarge": WORDS.earlier["ocr.enlarge"]}


def settle(config: Config, pins: Pins | None = None, begun: Mapping[str, Any] | None = None) -> Config:
    """The configuration with what ``auto`` means here, so that a run says what it began with.

    Without `ocr` its reader means nothing, and all is what such runs have always said; see `OcrConfig.settled`. Of the
    image network: on a pack that is the network that it was made with. Elsewhere, where no ``cnn.size`` is set and the
    weights are a file of ours that was made for one, that size is set, too. Without an image network ``auto`` means
    nothing, and becomes what such runs have always said: ``imagenet``. What is settled stays as it is.

    Args:
        config: as it was asked for.
        pins: of a pack, see `Pins.of`; None: there are posters, or will be.
        begun: the whole configuration, of any version and in plain values, of what is to go on: its words are read on
            as they were. None: nothing goes on.

    Raises:
        UserError: settings that the reader of words does not have.
    """
    before = comparable(begun) if begun is not None else pins.settings if pins is not None else {}
    if OCR in config.branches:
        config = config.model_copy(update={OCR: config.ocr.settled(before)})
    else:
        unread = {key: was for key, was in _UNREAD.items() if getattr(config.ocr, key) == "auto"}
        config = config.model_copy(update={OCR: config.ocr.model_copy(update=unread)})
    init, size = config.cnn.init, config.cnn.size
    if init == "auto" and pins is not None and pins.init is not None:
        return config.with_network(init=pins.init)
    if not on_images(config.branches):
        return config.with_network(init="imagenet" if init == "auto" else init)
    init = settled_init(config.cnn.backbone, init)
    return config.with_network(init=init, size=made_for(config.cnn.backbone, init) if size is None else size)


def settled_init(backbone: str, init: str) -> str:
    """What ``cnn.init=auto`` means where there are posters: ``posters`` for the backbone of that model, else
    ``imagenet``; any other `init` is returned as it is."""
    if init != "auto":
        return init
    tower = shipped_tower()
    return POSTERS if tower is not None and tower.backbone == backbone else "imagenet"


def image_network(
    config: Config, branches: Iterable[str], pins: Pins | None = None, *, offline: bool = False
) -> TowerWeights | None:
    """The image network of a settled configuration, on a pack what is here of it; None where no branch has one.

    Raises:
        UserError: as in `TowerWeights.find`.
    """
    if not on_images(branches):
        return None
    return TowerWeights.find(config.cnn, seed=config.seed, offline=offline) if pins is None else pins.tower(config)
