"""Lines of text on posters, for the text encoder of the `ocr` branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import READINGS, TextReader
from mmposter.branches.ocr import NAME, OcrConfig, reading_files
from mmposter.errors import UserError
from mmposter.features.extractors.base import Extractor, Poster, Preparation
from mmposter.features.store import Record
from mmposter.images.picture import Picture
from mmposter.pretrained import catalogue, resolver


class OcrExtractor(Extractor):
    """Lines of text: quads (T x 4 x 2 in 0-1), confidences (T), text (UTF-8 bytes of the lines joined by newlines).

    Args:
        config: languages, and how carefully to read.
        device: where it computes.
        offline: never touch the network.
        pinned: the digest of weights that need not be here, as all records are there; None: look for the files.
    """

    name = NAME

    def __init__(self, config: OcrConfig, *, device: str, offline: bool, pinned: str | None = None) -> None:
        self._config, self._device, self._pinned = config, device, pinned
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
        return [
            {"quads": r.quads, "confidences": r.confidences, "text": encode_lines(r.texts)}
            for r in self._model(posters, lumas)
        ]


def pixels_and_luma(picture: Picture) -> tuple[Poster, NDArray[np.uint8] | None]:
    """A poster with the grey picture that `readtext` would read of its file."""
    return picture.pixels, picture.luma()


def pixels_alone(picture: Picture) -> tuple[Poster, None]:
    """A poster however it was given: a file and its pixels give the same lines."""
    return picture.pixels, None


def encode_lines(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Lines as one array of bytes, as a store of arrays wants it; a newline inside a line becomes a space."""
    joined = "\n".join(" ".join(text.split()) for text in texts)
    return np.frombuffer(joined.encode("utf-8"), dtype=np.uint8)


def decode_lines(array: NDArray[np.uint8], count: int) -> list[str]:
    """The inverse of `encode_lines`; `count` tells no line from one empty line."""
    return array.tobytes().decode("utf-8").split("\n") if count else []
