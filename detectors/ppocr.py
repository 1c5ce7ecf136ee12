"""The words on a poster, by PP-OCR: the classes of the package rapidocr, with settings of ours, on onnxruntime.

Source: PaddleOCR's PP-OCRv6, detector and recogniser "small", https://github.com/PaddlePaddle/PaddleOCR. The wheel of
rapidocr carries their files, and nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.glued_words import split_glued
from detectors.records import TextLines

PPOCR_FILES = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")
"""The weights: detector, recogniser, and the classifier that knows lines that stand on their head."""

# easyocr's codes of the languages of which the recogniser has all letters (of Chinese and Japanese all but a few signs,
# of Serbian the digraphs in two letters).
_LATIN = (
    "af az bs cs cy da de en es et fr ga hr hu id is it ku la lt lv mi ms mt nl no oc pl pt ro rs_latin sk sl sq sv sw "
    "tl tr uz"
)
PPOCR_LANGUAGES = ("ch_sim", "ch_tra", "ja", *_LATIN.split())
"""Languages that it reads, all of them at once."""

_CUDA = "CUDAExecutionProvider"
_LONGEST = 40  # a picture so many times as long as wide has no side left when it is scaled down
_ENLARGED = 1.75  # beyond it, small print is blurred and no easier to read


@dataclass(frozen=True)
class PpocrReading:
    """How carefully to read.

    Attributes:
        max_side: pixels of the longer side, in which lines are looked for, at most.
        enlarge: posters whose longer side has fewer pixels are read at 1.75 times their size; 0: none.
        both_ways: ask of each line whether it stands on its head: of lines turned by a right angle, the one half does.
        min_confidence: lines that the recogniser trusts less are no lines.
    """

    max_side: int = 960
    both_ways: bool = False
    min_confidence: float = 0.5
    enlarge: int = 400

    def __post_init__(self) -> None:
        if not 32 <= self.max_side <= 2000:
            raise ValueError(f"max_side must lie in 32-2000; got {self.max_side}")
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ValueError(f"min_confidence must lie in 0-1; got {self.min_confidence}")
        if not 0 <= self.enlarge <= self.max_side:
            raise ValueError(f"enlarge must lie in 0-{self.max_side}, max_side; got {self.enlarge}")


PPOCR_READINGS = {
    "default": PpocrReading(),
    # Small print of large posters, and lines that run up or down in both directions.
    "careful": PpocrReading(max_side=1600, both_ways=True, enlarge=800),
}


class PpocrReader:
    """PP-OCR over posters, each on its own: a poster has the same lines alone and among others.

    Args:
        folder: where `PPOCR_FILES` lie.
        reading: how carefully; one of `PPOCR_READINGS`, or your own.
        split: take words apart that were read as one (`detectors.glued_words`).
        device: a torch device name. On a ``cuda`` device the networks run there where onnxruntime has its CUDA
            provider, else on the CPU.
        workers: posters that are read side by side on a CPU, each by one thread.

    Raises:
        ValueError: for missing or damaged files, or without rapidocr.
    """

    def __init__(
        self,
        folder: Path,
        *,
        reading: PpocrReading = PPOCR_READINGS["default"],
        split: bool = True,
        device: str = "cpu",
        workers: int = 1,
    ) -> None:
        self.reading, self.split = reading, split
        for name in PPOCR_FILES:
            if not (folder / name).is_file():
                raise ValueError(f"folder must hold {name}; got {folder}")
        on_gpu = device.startswith("cuda") and cuda_provider()
        self._workers = 1 if on_gpu else max(1, workers)
        self._model = _load(folder, reading, on_gpu)

    def __call__(
        self, posters: Sequence[NDArray[np.uint8]], *, each: Callable[[], None] | None = None
    ) -> list[TextLines]:
        """Read text.

        Args:
            posters: arrays H x W x 3, uint8, RGB; sizes may differ.
            each: called after every poster, in the thread of the caller.

        Returns:
            One record a poster, in order; lines from top to bottom.
        """
        workers = min(self._workers, len(posters))
        if workers <= 1:
            return _told(map(self._read, posters), each)
        with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:  # onnxruntime lets other threads run
            return _told(pool.map(self._read, posters), each)

    def _read(self, poster: NDArray[np.uint8]) -> TextLines:
        height, width = poster.shape[:2]
        if max(height, width) > _LONGEST * min(height, width):
            return TextLines.empty()
        poster = self._enlarged(poster)
        height, width = poster.shape[:2]
        # rapidocr takes numpy pictures as BGR, as OpenCV reads them.
        found = self._model(np.ascontiguousarray(poster[..., ::-1]))
        texts, boxes, scores = (getattr(found, name, None) for name in ("txts", "boxes", "scores"))
        if texts is None or boxes is None or scores is None or not len(texts):
            return TextLines.empty()
        quads = np.asarray(boxes, np.float32).reshape(-1, 4, 2) / np.array([width, height], np.float32)
        return TextLines(
            np.clip(quads, 0.0, 1.0),
            tuple(split_glued(text) if self.split else str(text) for text in texts),
            np.clip(np.array(scores, np.float32), 0.0, 1.0),
        )

    def _enlarged(self, poster: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import cv2

        height, width = poster.shape[:2]
        if max(height, width) >= self.reading.enlarge:
            return poster
        size = round(width * _ENLARGED), round(height * _ENLARGED)
        return np.asarray(cv2.resize(poster, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _told(found: Iterable[TextLines], each: Callable[[], None] | None) -> list[TextLines]:
    lines = []
    for one in found:
        lines.append(one)
        if each is not None:
            each()
    return lines


def cuda_provider() -> bool:
    """Whether the onnxruntime that is installed computes on NVIDIA's GPUs."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return onnxruntime.get_device() == "GPU" and _CUDA in onnxruntime.get_available_providers()


def ppocr_package() -> str:
    """rapidocr with its version: another one may cut or scale lines in another way.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    return f"rapidocr {version('rapidocr')}"


def _load(folder: Path, reading: PpocrReading, on_gpu: bool) -> Any:
    """rapidocr's pipeline, its networks loaded; it says nothing, and is told where all of its files are."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise ValueError(f"the text reader needs rapidocr; run: pip install rapidocr onnxruntime ({error})") from error
    detector, recogniser, classifier = (str(folder / name) for name in PPOCR_FILES)
    settings: dict[str, Any] = {
        "Global.log_level": "critical",
        "Global.use_cls": reading.both_ways,
        "Global.text_score": reading.min_confidence,
        "Det.model_path": detector,
        "Det.limit_type": "max",
        "Det.limit_side_len": reading.max_side,
        "Rec.model_path": recogniser,
        # Each line in its own width: six together, padded to the longest, take a third longer and are read no better.
        "Rec.rec_batch_num": 1,
        "Rec.rec_img_shape": [3, 48, 48],
        "Cls.model_path": classifier,
        # One thread a poster: posters are shared out, not their pictures, and no thread waits for another.
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "EngineConfig.onnxruntime.use_cuda": on_gpu,
        # Every poster has another size: to try all ways of a convolution for each would take longer than to read it.
        "EngineConfig.onnxruntime.cuda_ep_cfg.cudnn_conv_algo_search": "HEURISTIC",
    }
    model = RapidOCR(params=settings)
    try:  # now, and not by the first of several threads
        model._load_det_model()
        model._load_rec_model()
        if reading.both_ways:
            model._load_cls_model()
    except Exception as error:  # of a damaged file, anything that onnxruntime raises
        raise ValueError(f"folder must hold rapidocr's own, undamaged files; got {folder} ({error})") from error
    return model
