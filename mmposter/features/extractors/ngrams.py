"""Character n-grams of what was read, for the `ocr` branch: no model, and so no file, is behind them.

A word that is read with a wrong letter shares most of its n-grams with the right one, and a name or a tagline needs no
dictionary. They are hashed (Weinberger et al. 2009, Feature Hashing, arXiv 0902.2206): no list of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmposter.features.extractors.base import FeatureExtractor, pad, slot_mask
from mmposter.features.extractors.lines import decode_lines, reading_order
from mmposter.features.layout import Inputs, pack
from mmposter.features.ragged import Features
from mmposter.features.store import Record

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import HashingVectorizer

    from mmposter.branches.ocr import OcrConfig

MOST = 4096
"""N-grams of one poster; a page of small print has more, and is cut."""

_LENGTHS = (3, 5)
_CHUNK = 512  # texts that are padded at a time


class NgramFeature(FeatureExtractor):
    """An extractor whose records are lines of text, of which the fusion reads the n-grams of the whole text.

    Args:
        config: how many buckets, and which lines are sure enough.
    """

    def __init__(self, config: OcrConfig) -> None:
        self._buckets, self._min_confidence = config.buckets, config.min_confidence

    def empty(self) -> Record:
        return {
            "quads": np.zeros((0, 4, 2), np.float32),
            "confidences": np.zeros(0, np.float32),
            "text": np.zeros(0, np.uint8),
        }

    def collating(self) -> dict[str, Any]:
        return {"buckets": self._buckets, "min_confidence": self._min_confidence}

    def collate(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        return ngram_inputs([whole_text(record, self._min_confidence) for record in records], self._buckets)


def whole_text(record: Record, min_confidence: float) -> str:
    """The lines that are sure enough, joined in reading order."""
    confidences = record["confidences"]
    lines = decode_lines(record["text"], len(confidences))
    kept = np.flatnonzero(confidences >= min_confidence)
    if not len(kept):
        return ""
    quads = record["quads"][kept]
    boxes = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
    return " ".join(lines[kept[index]] for index in reading_order(boxes))


def ngram_inputs(texts: Sequence[str], buckets: int) -> dict[str, torch.Tensor]:
    """The fusion's n-grams of B texts.

    Args:
        texts: B of them; one without a letter has no n-grams.
        buckets: numbers that n-grams are hashed to.

    Returns:
        ``ocr.ngrams`` (B x S, int64, numbers in 0..buckets-1), ``ocr.ngram_counts`` (B x S, float) and
        ``ocr.ngram_mask`` (B x S, bool).

    Examples:
        >>> ngram_inputs(["the godfather", ""], 64)["ocr.ngram_mask"].any(dim=1).tolist()
        [True, False]
    """
    counted = _hashing(buckets).transform(texts)
    starts, found = counted.indptr.tolist(), counted.indices.astype(np.int64)
    # Those of a page that is too long which stand most often on it, as the rest is cut.
    rows = [slice(start, stop) for start, stop in pairwise(starts)]
    longest = min(MOST, max((row.stop - row.start for row in rows), default=0))
    numbers, counts = [], []
    for row in rows:
        mine, times = found[row], counted.data[row].astype(np.float32)
        if len(mine) > longest:
            most = np.sort(np.argsort(-times, kind="stable")[:longest])
            mine, times = mine[most], times[most]
        numbers.append(mine)
        counts.append(times)
    slots = max(1, longest)
    return {
        "ocr.ngrams": pad(numbers, slots),
        "ocr.ngram_counts": pad(counts, slots),
        "ocr.ngram_mask": slot_mask([len(mine) for mine in numbers], slots),
    }


def ngram_table(texts: Sequence[str], buckets: int) -> Features:
    """As `ngram_inputs`, without the padding."""

    def parts() -> Iterator[Inputs]:
        for start in range(0, len(texts), _CHUNK):
            yield ngram_inputs(texts[start : start + _CHUNK], buckets)

    return pack(parts(), len(texts))


@cache
def _hashing(buckets: int) -> HashingVectorizer:
    from sklearn.feature_extraction.text import HashingVectorizer

    # Within words, with a blank at both ends of each, so that an end is seen.
    return HashingVectorizer(
        analyzer="char_wb", ngram_range=_LENGTHS, n_features=buckets, alternate_sign=False, norm=None
    )
