"""How carefully words are read, as far as the extractor decides it."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from mmposter.config import OcrConfig
from mmposter.features.extractors import OcrExtractor
from mmposter.images.picture import decode_picture


def test_how_carefully_lines_are_read_is_part_of_their_identity(reader):
    readings = ("exact", "default", "fast", "careful", "turned")
    others = [OcrExtractor(OcrConfig(reading=name), device="cpu", offline=True) for name in readings]
    assert len({json.dumps(other.fingerprint()) for other in others}) == 5
    assert reader.fingerprint() == others[1].fingerprint()
    assert "turned" not in reader.fingerprint()["reading"]  # the stores of before have no such key


def test_the_letters_of_an_exact_reading_come_from_the_files_luma(reader, tmp_path):
    path = tmp_path / "poster.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)).save(path)
    picture = decode_picture(path)
    exact = OcrExtractor(OcrConfig(reading="exact"), device="cpu", offline=True)
    assert np.array_equal(exact.preparation(picture)[1], picture.luma())
    assert reader.preparation(picture)[1] is None
    assert exact.preparation(picture)[0] is picture.pixels
