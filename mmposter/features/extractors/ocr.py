"""Lines of text on posters, for the text encoder of the `ocr` branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import TextReader, reader_files
from mmposter import pretrained, weights
from mmposter.config import OcrConfig
from mmposter.errors import UserError
from mmposter.features.extractors.base import Extractor, Poster
from mmposter.features.store import Record


class OcrExtractor(Extractor):
    """Lines of text: quads (T x 4 x 2 in 0-1), confidences (T), text (UTF-8 bytes of the lines joined by newlines)."""

    name = "ocr"
    batch_size = 8

    def __init__(self, config: OcrConfig, *, device: str, offline: bool) -> None:
        self._config, self._device = config, device
        try:
            self._files = reader_files(config.languages)
        except ValueError as error:
            raise UserError(f"ocr.{error}") from error
        self._folder = weights.resolve(pretrained.easyocr(self._files), offline=offline)

    def fingerprint(self) -> dict[str, Any]:
        return {
            "version": 1,
            "weights": weights.digest([self._folder / file for file in self._files]),
            "languages": list(self._config.languages),
        }

    def start(self) -> None:
        try:
            self._model = TextReader(self._folder, languages=self._config.languages, device=self._device)
        except ValueError as error:
            raise UserError(f"the ocr branch cannot be used: {error}") from error

    def __call__(self, batch: Sequence[Poster]) -> list[Record]:
        return [
            {"quads": r.quads, "confidences": r.confidences, "text": encode_lines(r.texts)} for r in self._model(batch)
        ]


def encode_lines(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Lines as one array of bytes, as a store of arrays wants it; a newline inside a line becomes a space."""
    joined = "\n".join(" ".join(text.split()) for text in texts)
    return np.frombuffer(joined.encode("utf-8"), dtype=np.uint8)


def decode_lines(array: NDArray[np.uint8], count: int) -> list[str]:
    """The inverse of `encode_lines`; `count` tells no line from one empty line."""
    return array.tobytes().decode("utf-8").split("\n") if count else []
