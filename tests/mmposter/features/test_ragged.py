"""Boxes and lines without their padding: batches hold what they held with it."""

from __future__ import annotations

import pytest
import torch

from mmposter.features.layout import pack
from mmposter.features.ragged import Ragged, batch_of, take


def _padded(counts, slots=5):
    """Inputs of posters with that many lines, and boxes one more; every filled value is different from zero."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(slots)[None] < torch.tensor(counts)[:, None]
    boxes = torch.arange(slots)[None] < (torch.tensor(counts)[:, None] + 1)
    values = torch.rand(len(counts), slots, 3, generator=generator) + 1
    return {
        "cnn.pooled": torch.rand(len(counts), 4, generator=generator),
        "ocr.document": torch.rand(len(counts), 3, generator=generator),
        "ocr.embeddings": values * mask[..., None],
        "ocr.geometry": values[..., :2] * mask[..., None],
        "ocr.mask": mask,
        "yolo.boxes": values * boxes[..., None],
        "yolo.scores": values[..., 0] * boxes,
        "yolo.labels": (values[..., 0] * 100).long() * boxes,
        "yolo.mask": boxes,
    }


def _parts(inputs, chunk):
    count = len(inputs["ocr.mask"])
    for start in range(0, count, chunk):
        yield {name: values[start : start + chunk] for name, values in inputs.items()}


def _table(inputs, chunk=10):
    """Packed a few posters at a time."""
    return pack(_parts(inputs, chunk), len(inputs["ocr.mask"]))


@pytest.mark.parametrize("counts", [[2, 0, 4, 1], [0, 0, 0], [3]])
@pytest.mark.parametrize("chunk", [1, 2, 10])
def test_a_batch_is_the_padded_one_without_empty_slots(counts, chunk):
    padded = _padded(counts)
    table = _table(padded, chunk)
    assert "ocr.mask" not in table
    assert isinstance(table["ocr.embeddings"], Ragged)
    assert isinstance(table["cnn.pooled"], torch.Tensor)
    for rows in (list(range(len(counts))), [0], list(range(len(counts)))[::-1], [0, 0]):
        batch = batch_of(table, torch.tensor(rows))
        assert batch.keys() == padded.keys()
        lines = max(1, max(counts[row] for row in rows))
        assert batch["ocr.mask"].shape == (len(rows), lines)
        assert batch["yolo.mask"].shape == (len(rows), lines if not max(counts[row] for row in rows) else lines + 1)
        for name, values in batch.items():
            expected = padded[name][rows]
            if name.startswith(("ocr.", "yolo.")) and name != "ocr.document":
                assert not expected[:, values.shape[1] :].any()
                expected = expected[:, : values.shape[1]]
            assert torch.equal(values, expected), name


def test_taken_rows_share_the_values():
    padded = _padded([2, 0, 4, 1])
    table = _table(padded)
    order = torch.tensor([3, 2, 2, 0])
    taken = take(table, order)
    assert taken["ocr.embeddings"].values.data_ptr() == table["ocr.embeddings"].values.data_ptr()
    assert len(taken["ocr.embeddings"]) == 4
    everyone = torch.arange(4)
    for name, values in batch_of(taken, everyone).items():
        assert torch.equal(values, batch_of(table, order)[name]), name


def test_no_posters_and_no_branches():
    assert pack(iter(()), 0) == {}
    assert batch_of({}, torch.tensor([0])) == {}
    table = _table(_padded([2, 1]))
    nobody = batch_of(table, torch.zeros(0, dtype=torch.long))
    assert nobody["ocr.embeddings"].shape == (0, 1, 3)
