# This package belongs to mmposter (see mmposter/siblings.py, which looks for this line).

"""Perception: posters in, records out. Knows nothing of genres, training or files beyond its own weights.

None of ultralytics, easyocr and rapidocr is loaded by ``import detectors``: each waits for its detector to be built.
"""

from detectors.easyocr_models import reader_files, recogniser_urls
from detectors.errors import UnsafeCheckpointError
from detectors.glued_words import split_glued, splitter
from detectors.ppocr import (
    PPOCR_FILES,
    PPOCR_LANGUAGES,
    PPOCR_READINGS,
    PpocrReader,
    PpocrReading,
    cuda_provider,
    ppocr_package,
)
from detectors.precision import resolve_precision
from detectors.records import Detections, TextLines
from detectors.text import READINGS, Reading, TextReader
from detectors.yolo import YoloDetector

__all__ = [
    "PPOCR_FILES",
    "PPOCR_LANGUAGES",
    "PPOCR_READINGS",
    "READINGS",
    "Detections",
    "PpocrReader",
    "PpocrReading",
    "Reading",
    "TextLines",
    "TextReader",
    "UnsafeCheckpointError",
    "YoloDetector",
    "cuda_provider",
    "ppocr_package",
    "reader_files",
    "recogniser_urls",
    "resolve_precision",
    "split_glued",
    "splitter",
]
