"""Lines of text on posters, for the text encoder of the `ocr` branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import (
    PPOCR_FILES,
    PPOCR_READINGS,
    READINGS,
    PpocrReader,
    TextLines,
    TextReader,
    cuda_provider,
    ppocr_package,
    splitter,
)
from mmposter.branches.ocr import NAME, OcrConfig, reading_files
from mmposter.engines.machine import cores
from mmposter.errors import UserError
from mmposter.features.extractors.base import Poster, Preparation
from mmposter.features.extractors.lines import encode_lines
from mmposter.features.extractors.ngrams import NgramFeature
from mmposter.features.store import Record
from mmposter.images.picture import Picture
from mmposter.pretrained import catalogue, resolver
from mmposter.progress import step_on


class LinesExtractor(NgramFeature):
    """Lines of text: quads (T x 4 x 2 in 0-1), confidences (T), text (UTF-8 bytes of the lines joined by newlines)."""

    name = NAME

    @staticmethod
    def _records(lines: Sequence[TextLines]) -> list[Record]:
        return [{"quads": r.quads, "confidences": r.confidences, "text": encode_lines(r.texts)} for r in lines]


class OcrExtractor(LinesExtractor):
    """Lines of text, read by easyocr.

    Args:
        config: languages, and how carefully to read.
        device: where it computes.
        offline: never touch the network.
        pinned: the fingerprint of records that are all there, so that the weights need not be here; None: look for the
            files.
    """

    def __init__(
        self, config: OcrConfig, *, device: str, offline: bool, pinned: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(config)
        self._config, self._device = config, device
        self._pinned = None if pinned is None else str(pinned["weights"])
        self._reading = READINGS[config.reading]
        if pinned is not None:
            return
        self._files = reading_files(config)
        self._folder = resolver.resolve(catalogue.easyocr(self._files), offline=offline)

    def fingerprint(self) -> dict[str, Any]:
        reading = asdict(self._reading)
        if not reading["turned"]:  # stores of before there was a choice have no such key
            del reading["turned"]
        return {
            "version": 2,
            "weights": self._pinned or resolver.digest([self._folder / file for file in self._files]),
            "languages": list(self._config.languages),
            "reading": reading,
        }

    def start(self) -> None:
        try:
            self._model = TextReader(
                self._folder, languages=self._config.languages, device=self._device, reading=self._reading
            )
        except ValueError as error:
            raise UserError(f"the ocr branch cannot be used: {error}") from error

    @property
    def preparation(self) -> Preparation:
        return pixels_and_luma if self._reading.as_easyocr else pixels_alone

    def __call__(self, batch: Sequence[tuple[Poster, NDArray[np.uint8] | None]]) -> list[Record]:
        posters, lumas = zip(*batch, strict=True)
        return self._records(self._model(posters, lumas))


class PpocrExtractor(LinesExtractor):
    """Lines of text, read by PP-OCR; its arguments are those of `OcrExtractor`."""

    def __init__(
        self, config: OcrConfig, *, device: str, offline: bool, pinned: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(config)
        self._device, self._pinned = device, pinned
        enlarge = int(config.settled().enlarge)
        self._reading = replace(PPOCR_READINGS[config.reading], enlarge=enlarge)
        self._split = config.split
        self._folder = None if pinned is not None else resolver.resolve(catalogue.ppocr(), offline=offline)

    def fingerprint(self) -> dict[str, Any]:
        known, reading = self._pinned, asdict(self._reading)
        if not reading["enlarge"]:  # stores of before posters were enlarged have no such key
            del reading["enlarge"]
        return {
            "version": 1,
            "reader": "ppocr",
            "weights": self._digest() if known is None else known["weights"],
            # Other versions cut and split in other ways; a store does not mix them.
            "package": ppocr_package() if known is None else known.get("package"),
            "reading": reading,
            "split": (splitter() if known is None else known.get("split")) if self._split else None,
        }

    def identity(self) -> dict[str, Any]:
        # A new version of a package reads much the same, and shall not end the life of a trained model.
        known = self.fingerprint()
        return {**{key: value for key, value in known.items() if key != "package"}, "split": self._split}

    def _digest(self) -> str:
        assert self._folder is not None
        return resolver.digest([self._folder / file for file in PPOCR_FILES])

    def start(self) -> None:
        import torch

        folder = self._folder or resolver.resolve(catalogue.ppocr(), offline=True)
        # A worker's share of the cores; beside a GPU that cannot read, all of them.
        workers = torch.get_num_threads() if self._device == "cpu" or cuda_provider() else cores()
        try:
            self._model = PpocrReader(
                folder, reading=self._reading, split=self._split, device=self._device, workers=workers
            )
        except ValueError as error:
            raise UserError(f"the ocr branch cannot be used: {error}") from error

    @property
    def preparation(self) -> Preparation:
        return pixels_alone

    def __call__(self, batch: Sequence[tuple[Poster, None]]) -> list[Record]:
        return self._records(self._model([poster for poster, _ in batch], each=step_on))


def pixels_and_luma(picture: Picture) -> tuple[Poster, NDArray[np.uint8] | None]:
    """A poster with the grey picture that `readtext` would read of its file."""
    return picture.pixels, picture.luma()


def pixels_alone(picture: Picture) -> tuple[Poster, None]:
    """A poster however it was given: a file and its pixels give the same lines."""
    return picture.pixels, None
