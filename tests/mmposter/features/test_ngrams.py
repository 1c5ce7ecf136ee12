"""The n-grams of what was read: from a record of lines to the fusion's entries."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.feature_extraction.text import HashingVectorizer

from mmposter.config import OcrConfig
from mmposter.features.extractors import OcrExtractor
from mmposter.features.extractors.lines import encode_lines
from mmposter.features.extractors.ngrams import MOST, ngram_inputs, ngram_table, whole_text
from mmposter.features.ragged import batch_of

BUCKETS = 512


def record(*lines: tuple[str, float, float]) -> dict[str, np.ndarray]:
    """Lines as (text, y of their middle, confidence)."""
    quads = [[[0.1, y - 0.05], [0.9, y - 0.05], [0.9, y + 0.05], [0.1, y + 0.05]] for _, y, _ in lines]
    return {
        "quads": np.array(quads, np.float32).reshape(-1, 4, 2),
        "confidences": np.array([sure for _, _, sure in lines], np.float32),
        "text": encode_lines([text for text, _, _ in lines]),
    }


def counted(text: str) -> dict[int, float]:
    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=BUCKETS, alternate_sign=False, norm=None
    )
    row = hashing.transform([text])
    return dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))


def found(inputs: dict[str, torch.Tensor], row: int) -> dict[int, float]:
    mask = inputs["ocr.ngram_mask"][row]
    return dict(
        zip(inputs["ocr.ngrams"][row][mask].tolist(), inputs["ocr.ngram_counts"][row][mask].tolist(), strict=True)
    )


def test_they_are_those_of_the_whole_text_in_reading_order():
    read = record(("GODFATHER", 0.8, 0.9), ("The", 0.2, 0.9))
    assert whole_text(read, 0.0) == "The GODFATHER"
    inputs = ngram_inputs(["The GODFATHER"], BUCKETS)
    assert found(inputs, 0) == counted("the godfather")


def test_a_line_that_is_not_sure_enough_gives_none():
    assert whole_text(record(("sure", 0.2, 0.9), ("not", 0.8, 0.1)), 0.5) == "sure"
    assert whole_text(record(("not", 0.8, 0.1)), 0.5) == ""


def test_a_poster_without_text_has_none():
    inputs = ngram_inputs(["", "a poster"], BUCKETS)
    assert not inputs["ocr.ngram_mask"][0].any()
    assert inputs["ocr.ngram_mask"][1].any()
    assert not ngram_inputs([""], BUCKETS)["ocr.ngram_mask"].any()


def test_of_a_page_of_small_print_those_stay_that_stand_most_often(monkeypatch):
    monkeypatch.setattr("mmposter.features.extractors.ngrams.MOST", 10)
    text = "poster poster poster " + " ".join(f"w{number}x{number}" for number in range(50))
    kept, all_of_them = found(ngram_inputs([text], BUCKETS), 0), counted(text)
    assert len(kept) == 10 < MOST
    assert min(kept.values()) >= max(count for number, count in all_of_them.items() if number not in kept)
    assert all(all_of_them[number] == count for number, count in kept.items())


def test_a_table_without_padding_gives_the_same_batches():
    texts = ["the godfather", "", "jaws", "a longer title of a film"]
    whole = ngram_inputs(texts, BUCKETS)
    batch = batch_of(ngram_table(texts, BUCKETS), torch.arange(4))
    assert batch.keys() == whole.keys()
    assert all(found(batch, row) == found(whole, row) for row in range(4))


def test_the_extractor_of_lines_hands_them_to_the_fusion():
    config = OcrConfig(reader="easyocr", buckets=BUCKETS, min_confidence=0.5)
    pinned = {"weights": "0"}
    reader = OcrExtractor(config, device="cpu", offline=True, pinned=pinned)
    inputs = reader.collate([record(("sure", 0.2, 0.9), ("not", 0.8, 0.1)), reader.empty()])
    assert found(inputs, 0) == counted("sure")
    assert not inputs["ocr.ngram_mask"][1].any()
    assert reader.collating() == {"buckets": BUCKETS, "min_confidence": 0.5}
