"""The words on a poster, by EasyOCR's networks: CRAFT finds lines, a CRNN reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detectors.easyocr_models import load_easyocr
from detectors.precision import Precision, resolve_precision
from detectors.records import TextLines

if TYPE_CHECKING:
    from detectors.line_recognition import Crop


@dataclass(frozen=True)
class Reading:
    """How carefully to read.

    Attributes:
        scale: of the poster in which lines are looked for; 1 is the poster's own size.
        max_side: pixels of the longer side of that picture at most.
        precision: ``auto``, ``fp32`` or ``bf16``, of the convolutions (see `detectors.precision`).
        as_easyocr: easyocr's own padding and, on a CPU, its LSTM in 8 bits that takes lines one by one.
        second_look: read doubtful lines once more with more contrast, as easyocr does.
        turned: read lines that are much taller than wide also turned by a quarter to either side.
    """

    scale: float = 1.0
    max_side: int = 1280
    precision: Precision = "auto"
    as_easyocr: bool = False
    second_look: bool = False
    turned: bool = False

    def __post_init__(self) -> None:
        if not 0.1 <= self.scale <= 4.0:
            raise ValueError(f"scale must lie in 0.1-4; got {self.scale}")
        if self.max_side < 32:
            raise ValueError(f"max_side must be 32 or more; got {self.max_side}")


READINGS = {
    # What `easyocr.Reader.readtext` gives for the same pixels, in less time.
    "exact": Reading(max_side=2560, precision="fp32", as_easyocr=True, second_look=True),
    # The lines of easyocr, read once, by the LSTM that it has before it cuts it to 8 bits.
    "default": Reading(),
    # Looked for in less than the poster's own size: small print is lost first.
    "fast": Reading(scale=0.75, max_side=640),
    # Looked for in an enlarged poster: more titles are found than easyocr finds.
    "careful": Reading(scale=1.5, max_side=1920, second_look=True),
    # As default, and words that run up or down the poster, which easyocr takes for one tall letter.
    "turned": Reading(turned=True),
}


class TextReader:
    """EasyOCR's networks over batches of posters.

    Args:
        folder: where the weight files lie (see `reader_files`).
        languages: easyocr's language codes; those of one call must share a script.
        device: a torch device name.
        reading: how carefully; one of `READINGS`, or your own.

    Raises:
        ValueError: for unknown languages, and for missing or damaged files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        languages: Sequence[str] = ("en",),
        device: str = "cpu",
        reading: Reading = READINGS["default"],
    ) -> None:
        self.languages, self.reading = tuple(languages), reading
        quantize = reading.as_easyocr and device == "cpu"  # easyocr too leaves a GPU's LSTM as it is
        easyocr = load_easyocr(folder, languages, quantize=quantize)
        from detectors.line_detection import LineDetector
        from detectors.line_recognition import LineRecogniser

        dtype = resolve_precision(reading.precision, device)
        self._detector = LineDetector(
            easyocr.detector,
            device=device,
            dtype=dtype,
            scale=reading.scale,
            max_side=reading.max_side,
            stride=32 if reading.as_easyocr else 16,
        )
        self._recogniser = LineRecogniser(
            easyocr,
            device=device,
            dtype=dtype,
            as_easyocr=quantize,
            second_look=reading.second_look,
            turned=reading.turned,
        )

    def __call__(
        self, posters: Sequence[NDArray[np.uint8]], lumas: Sequence[NDArray[np.uint8] | None] | None = None
    ) -> list[TextLines]:
        """Read text.

        Args:
            posters: arrays H x W x 3, uint8, RGB; sizes may differ.
            lumas: the same posters in grey, H x W; None: made from `posters`. Of a JPEG, ``readtext(path)`` reads the
                letters off the file's own luma, which decoded RGB does not hold any more (it differs by up to 20 of
                255 at strong colours); one doubtful line in five is then spelt another way.

        Returns:
            One record a poster, in order; lines in easyocr's order (horizontal ones first, from top to bottom).
        """
        import cv2

        from detectors.line_recognition import cut_lines

        found = self._detector(posters)
        greys = [
            cv2.cvtColor(poster, cv2.COLOR_RGB2GRAY) if luma is None else luma
            for poster, luma in zip(posters, lumas or [None] * len(posters), strict=True)
        ]
        crops = [cut_lines(grey, lines) for grey, lines in zip(greys, found, strict=True)]
        read = iter(self._recogniser([crop for lines in crops for crop in lines]))
        return [
            self._record(poster.shape[:2], lines, [next(read) for _ in lines])
            for poster, lines in zip(posters, crops, strict=True)
        ]

    def _record(self, size: tuple[int, ...], crops: Sequence[Crop], read: Sequence[tuple[str, float]]) -> TextLines:
        lines: list[tuple[Any, str, float]] = [
            (crop.quad, text, confidence) for crop, (text, confidence) in zip(crops, read, strict=True) if text.strip()
        ]
        if not lines:
            return TextLines.empty()
        height, width = size
        quads = np.array([quad for quad, _, _ in lines], np.float32) / np.array([width, height], np.float32)
        return TextLines(
            np.clip(quads, 0.0, 1.0),
            tuple(text for _, text, _ in lines),
            np.array([min(max(confidence, 0.0), 1.0) for _, _, confidence in lines], np.float32),
        )
