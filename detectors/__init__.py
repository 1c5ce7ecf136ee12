"""Perception: posters in, records out. Knows nothing of genres, training or files beyond its own weights.

Neither ultralytics nor easyocr is loaded by ``import detectors``: each waits for its detector to be built.
"""

from detectors.records import Detections, TextLines
from detectors.text import TextReader, reader_files, recogniser_urls
from detectors.yolo import YoloDetector

__all__ = ["Detections", "TextLines", "TextReader", "YoloDetector", "reader_files", "recogniser_urls"]
