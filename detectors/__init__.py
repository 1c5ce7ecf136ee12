"""Perception: posters in, records out. Knows nothing of genres, training or files beyond its own weights.

Neither ultralytics nor easyocr is loaded by ``import detectors``: each waits for its detector to be built.
"""

from detectors.easyocr_models import reader_files, recogniser_urls
from detectors.errors import UnsafeCheckpointError
from detectors.precision import resolve_precision
from detectors.records import Detections, TextLines
from detectors.text import READINGS, Reading, TextReader
from detectors.yolo import YoloDetector

__all__ = [
    "READINGS",
    "Detections",
    "Reading",
    "TextLines",
    "TextReader",
    "UnsafeCheckpointError",
    "YoloDetector",
    "reader_files",
    "recogniser_urls",
    "resolve_precision",
]
