"""Embeddings of the read lines, for the `ocr` branch: a text encoder over what was read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectors import READINGS, resolve_precision
from mmposter.config import OcrConfig
from mmposter.errors import UserError
from mmposter.features.extractors.base import FeatureExtractor, RecordExtractor, pad, slot_mask
from mmposter.features.extractors.encoders import encoder_width, load_encoder
from mmposter.features.extractors.lines import decode_lines, reading_order
from mmposter.features.extractors.masking import MaskedExtractor
from mmposter.features.extractors.ocr import LinesExtractor
from mmposter.features.store import Record
from mmposter.pretrained import catalogue, resolver

# Lines at a time: on a CPU, more do not stay in its cache.
_CPU_BATCH, _GPU_BATCH = 16, 256


class TextExtractor(RecordExtractor, FeatureExtractor):
    """Embeddings (T+1 x E) and geometry (T+1 x 5: centre x, centre y, width, height, confidence) of a poster's lines.

    The first row is the whole text in reading order, with the box around all of it: a title broken over lines makes
    sense only when joined. A poster without text has no rows.

    Args:
        config: how to encode.
        source: the reader, or what masks words of the lines that it read.
        device: of the encoder.
        offline: never touch the network.
        pinned: of an encoder that is looked for only when it has something to do, the digest of its weights and its
            width; None: look for it now.
    """

    name = "text"

    def __init__(
        self,
        config: OcrConfig,
        source: LinesExtractor | MaskedExtractor,
        *,
        device: str,
        offline: bool,
        pinned: tuple[str, int] | None = None,
    ) -> None:
        self.source, self._config, self._device = source, config, device
        self._precision, self._offline = READINGS[config.reading].precision, offline
        self._pinned = pinned
        self._folder = self._find() if pinned is None else None

    def fingerprint(self) -> dict[str, Any]:
        return {
            "version": 3,
            "weights": self._digest(self._found) if self._pinned is None else self._pinned[0],
            "precision": self._precision,
            "min_confidence": self._config.min_confidence,
            "source": self.source.fingerprint(),
        }

    def identity(self) -> dict[str, Any]:
        return {**self.fingerprint(), "source": self.source.identity()}

    def find_encoder(self) -> None:
        """Look for the encoder's files, where only their digest was known.

        Raises:
            UserError: they are nowhere, or are another encoder's.
        """
        if self._folder is not None:
            return
        folder, wanted = self._find(), self.fingerprint()["weights"]
        if (found := self._digest(folder)) != wanted:
            raise UserError(
                f"{folder} holds another text encoder than the one that the other records were made with: its digest "
                f"is {found[:12]}, wanted is {wanted[:12]}.\nGive it the same files, or use --set ocr.mask=none"
            )
        self._folder = folder

    @property
    def _found(self) -> Path:
        assert self._folder is not None, "find_encoder() comes first"
        return self._folder

    def _find(self) -> Path:
        return resolver.resolve(catalogue.text_encoder(self._config.encoder), offline=self._offline)

    def _digest(self, folder: Path) -> str:
        return resolver.digest(folder / file for file in catalogue.text_encoder(self._config.encoder).files)

    @property
    def embedding_dim(self) -> int:
        """E, the width of the encoder."""
        if self._pinned is not None:
            return self._pinned[1]
        return encoder_width(self._found)

    def start(self) -> None:
        self.find_encoder()
        self._encoder = load_encoder(self._found, self._device, resolve_precision(self._precision, self._device))
        self._width = self._encoder.width

    def metadata(self) -> dict[str, Any]:
        return {"embedding_dim": self._width}

    def __call__(self, batch: Sequence[Record]) -> list[Record]:
        lines = [self._lines(record) for record in batch]
        vectors = self._encode([text for texts, _ in lines for text in texts])
        records: list[Record] = []
        start = 0
        for texts, geometry in lines:
            records.append({"embeddings": vectors[start : start + len(texts)], "geometry": geometry})
            start += len(texts)
        return records

    @property
    def slots(self) -> int:
        return self._config.max_lines

    def empty(self) -> Record:
        return {
            "embeddings": np.zeros((0, self.embedding_dim), np.float32),
            "geometry": np.zeros((0, 5), np.float32),
        }

    def collate(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        slots = self.slots
        nothing = np.zeros((1, records[0]["embeddings"].shape[1]), np.float32)
        documents = [record["embeddings"][:1] if len(record["embeddings"]) else nothing for record in records]
        return {
            "ocr.document": torch.from_numpy(np.concatenate(documents)),
            "ocr.embeddings": pad([record["embeddings"] for record in records], slots),
            "ocr.geometry": pad([record["geometry"] for record in records], slots),
            "ocr.mask": slot_mask([len(record["embeddings"]) for record in records], slots),
        }

    def _lines(self, record: Record) -> tuple[list[str], NDArray[np.float32]]:
        quads, confidences = record["quads"], record["confidences"]
        texts = decode_lines(record["text"], len(confidences))
        kept = [index for index, score in enumerate(confidences) if score >= self._config.min_confidence]
        if not kept:
            return [], np.zeros((0, 5), np.float32)
        boxes = np.concatenate([quads[kept].min(axis=1), quads[kept].max(axis=1)], axis=1)  # T x 4 xyxy
        whole = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        joined = " ".join(texts[kept[index]] for index in reading_order(boxes))
        geometry = _geometry(np.vstack([whole, boxes]), np.concatenate([[confidences[kept].mean()], confidences[kept]]))
        return [joined, *(texts[index] for index in kept)], geometry

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """N x E, each of length one."""
        vectors = np.zeros((len(texts), self._width), np.float32)
        # Equal lengths together: padding costs as much as text.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        size = _CPU_BATCH if self._device == "cpu" else _GPU_BATCH
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            vectors[chosen] = self._encoder([texts[index] for index in chosen]).cpu().numpy()
        return vectors


def _geometry(boxes: NDArray[np.float32], confidences: NDArray[np.float32]) -> NDArray[np.float32]:
    left, top, right, bottom = boxes.T
    return np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, confidences], axis=1).astype(
        np.float32
    )
