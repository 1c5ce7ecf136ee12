"""What was read: by the loop, by us, how far they agree, and how many words of the titles it holds."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Boxes = dict[tuple[int, ...], str]
"""Corners in pixels (x, y of four), and the text of the line there."""


@dataclass
class Measured:
    """One run over the posters.

    Attributes:
        rate: posters a second, without the start.
        wall: seconds of the whole run.
        peak_gb: the most memory at a time.
        parts: of the loop, seconds a poster by model.
        boxes: what was read on each poster.
    """

    rate: float
    wall: float
    peak_gb: float
    boxes: list[Boxes]
    parts: dict[str, float] = field(default_factory=dict)


def their_boxes(lines: Sequence[Sequence[Any]]) -> list[Boxes]:
    """From what `readtext` returned; corners outside the poster are cut, as ours are."""
    return [{_key(np.maximum(quad, 0)): text for quad, text, _ in poster if text.strip()} for poster in lines]


def our_boxes(data: Path, config: Sequence[str]) -> list[Boxes]:
    """From the store of a data set.

    Args:
        data: with the store in it.
        config: a recipe and its overrides.
    """
    from PIL import Image

    from mmposter.config import load_config
    from mmposter.data import Dataset
    from mmposter.features.extractors import build_extractors
    from mmposter.features.extractors.lines import decode_lines
    from mmposter.features.settled import settle
    from mmposter.features.store import ExtractorStore
    from mmposter.features.table import dataset_posters

    settled = settle(load_config(config[0], config[1:]))
    reader = build_extractors(settled, ("ocr",), device="cpu", offline=True)["ocr"].steps[0]
    dataset = Dataset.load(data)
    posters = dataset_posters(dataset)
    store = ExtractorStore(dataset.features_folder, reader.name, reader.fingerprint())
    found = []
    for poster, record in zip(posters, store.read([poster.sha256 for poster in posters]), strict=True):
        assert record is not None, poster.id
        size = Image.open(poster.path).size
        texts = decode_lines(record["text"], len(record["confidences"]))
        found.append({_key(quad * size): text for quad, text in zip(record["quads"], texts, strict=True)})
    return found


def title_words(boxes: Sequence[Boxes], titles: Iterable[str]) -> str:
    """Of the words of three letters and more in the titles, how many were read, in percent."""
    wanted = [{word for word in _words(title) if len(word) >= 3} for title in titles]
    read = [{word for text in poster.values() for word in _words(text)} for poster in boxes]
    hits = sum(len(title & found) for title, found in zip(wanted, read, strict=True))
    return f"{100 * hits / sum(map(len, wanted)):.1f} % of {sum(map(len, wanted))}"


def false_words(boxes: Sequence[Boxes], titles: Iterable[str], known: Container[str]) -> str:
    """Of the words of three letters and more that were read, how many are no word of the title and in no list of
    words, in percent; `known` holds such lists, in lower case (numbers are words)."""
    read = false = 0
    for poster, title in zip(boxes, titles, strict=True):
        own = set(_words(title))
        words = [word for text in poster.values() for word in _words(text) if len(word) >= 3]
        read += len(words)
        false += sum(not word.isdigit() and word not in own and word not in known for word in words)
    return f"{100 * false / read:.1f} % of {read}" if read else "- of 0"


def agreement(ours: Sequence[Boxes], theirs: Sequence[Boxes]) -> str:
    """Of the boxes that both found (corners within a pixel), how many say the same."""
    both = [(mine[key], other[key]) for mine, other in zip(ours, theirs, strict=True) for key in mine if key in other]
    found = f"{len(both)} of {sum(map(len, theirs))} boxes"
    return f"{100 * sum(a == b for a, b in both) / len(both):.1f} % ({found})" if both else f"- ({found})"


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _key(quad: Any) -> tuple[int, ...]:
    return tuple(np.rint(np.asarray(quad, np.float64)).astype(int).reshape(-1).tolist())
