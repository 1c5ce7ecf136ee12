"""The words on a poster, by EasyOCR. The only file that imports easyocr, and only on use."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.records import TextLines


def reader_files(languages: Sequence[str]) -> tuple[str, ...]:
    """The names of the weight files that easyocr loads for `languages` (the detector's, then the recogniser's).

    Raises:
        ValueError: for a language that easyocr does not know, or a combination that it cannot read together.
    """
    if tuple(languages) == ("en",):  # by far the most used; spares the import of easyocr and torch
        return ("craft_mlt_25k.pth", "english_g2.pth")
    easyocr = _import_easyocr()
    unknown = sorted(set(languages) - set(easyocr.config.all_lang_list))
    if unknown or not languages:
        raise ValueError(f"languages must be among {sorted(easyocr.config.all_lang_list)}; got {list(languages)}")
    return ("craft_mlt_25k.pth", _recogniser_file(easyocr, list(languages)))


def recogniser_urls() -> dict[str, str]:
    """The address of the archive that holds each recogniser of easyocr, by file name, as easyocr publishes it."""
    generations = _import_easyocr().config.recognition_models.values()
    return {model["filename"]: model["url"] for models in generations for model in models.values()}


class TextReader:
    """EasyOCR over posters: CRAFT finds lines, a CRNN reads them (``easyocr.Reader.readtext`` with its defaults).

    Args:
        folder: where the weight files lie (see `reader_files`).
        languages: easyocr's language codes; those of one call must share a script.
        device: a torch device name.
        min_confidence: lines below it are left out; 0 keeps all that easyocr returns.

    Raises:
        ValueError: for unknown languages, and for missing or damaged files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        languages: Sequence[str] = ("en",),
        device: str = "cpu",
        min_confidence: float = 0.0,
    ) -> None:
        for name in reader_files(languages):
            if not (folder / name).is_file():
                raise ValueError(f"folder must hold {name}; got {folder}")
        self.languages, self.min_confidence = tuple(languages), min_confidence
        easyocr = _import_easyocr()
        try:
            self._reader = easyocr.Reader(
                list(languages),
                # easyocr takes False for the CPU and a device name otherwise.
                gpu=False if device == "cpu" else device,
                model_storage_directory=str(folder),
                download_enabled=False,
                verbose=False,
            )
        except FileNotFoundError as error:  # also easyocr's word for a wrong checksum
            raise ValueError(f"folder must hold easyocr's own, undamaged files; got {folder} ({error})") from error

    def __call__(self, posters: Sequence[NDArray[np.uint8]]) -> list[TextLines]:
        """Read text.

        Args:
            posters: arrays H x W x 3, uint8, RGB; sizes may differ.

        Returns:
            One record a poster, in order; lines in easyocr's order (horizontal ones first, from top to bottom).
        """
        return [self._read(poster) for poster in posters]

    def _read(self, poster: NDArray[np.uint8]) -> TextLines:
        import cv2

        grey = cv2.cvtColor(poster, cv2.COLOR_RGB2GRAY)
        # `readtext` would take a numpy image for BGR in one place and for RGB in another; its two halves do not.
        horizontal, free = self._reader.detect(poster, reformat=False)
        if not horizontal[0] and not free[0]:
            return TextLines.empty()
        found = self._reader.recognize(grey, horizontal[0], free[0], reformat=False)
        found = [(quad, text, score) for quad, text, score in found if text.strip() and score >= self.min_confidence]
        if not found:
            return TextLines.empty()
        height, width = grey.shape
        quads = np.array([quad for quad, _, _ in found], np.float32) / np.array([width, height], np.float32)
        return TextLines(
            np.clip(quads, 0.0, 1.0),
            tuple(text for _, text, _ in found),
            np.array([min(max(float(score), 0.0), 1.0) for _, _, score in found], np.float32),
        )


def _import_easyocr() -> Any:
    try:
        import easyocr
        import easyocr.config
    except ImportError as error:
        raise ValueError(f"the text reader needs easyocr; run: pip install easyocr ({error})") from error
    return easyocr


def _recogniser_file(easyocr: Any, languages: list[str]) -> str:
    """Ask easyocr which recogniser it would take: a Reader that loads none still chooses one."""
    with tempfile.TemporaryDirectory() as nowhere:  # easyocr makes its folder even when it reads nothing from it
        try:
            reader = easyocr.Reader(
                languages, gpu=False, model_storage_directory=nowhere, detector=False, recognizer=False, verbose=False
            )
        except FileNotFoundError as error:  # easyocr lists a few languages that it has no characters for
            raise ValueError(f"languages must be readable by easyocr; got {languages} ({error})") from error
    for generation in easyocr.config.recognition_models.values():
        for model in generation.values():
            if model["characters"] == reader.character:
                return str(model["filename"])
    raise ValueError(f"languages must be readable by one easyocr model; got {languages}")
