"""Which files of EasyOCR's are needed, and its networks loaded from them. easyocr itself is imported only on use."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DETECTOR_FILE = "craft_mlt_25k.pth"


def reader_files(languages: Sequence[str]) -> tuple[str, ...]:
    """The names of the weight files that easyocr loads for `languages` (the detector's, then the recogniser's).

    Raises:
        ValueError: for a language that easyocr does not know, or a combination that it cannot read together.
    """
    if tuple(languages) == ("en",):  # by far the most used; spares the import of easyocr and torch
        return (DETECTOR_FILE, "english_g2.pth")
    easyocr = import_easyocr()
    unknown = sorted(set(languages) - set(easyocr.config.all_lang_list))
    if unknown or not languages:
        raise ValueError(f"languages must be among {sorted(easyocr.config.all_lang_list)}; got {list(languages)}")
    return (DETECTOR_FILE, _recogniser_file(easyocr, list(languages)))


def recogniser_urls() -> dict[str, str]:
    """The address of the archive that holds each recogniser of easyocr, by file name, as easyocr publishes it."""
    generations = import_easyocr().config.recognition_models.values()
    return {model["filename"]: model["url"] for models in generations for model in models.values()}


def load_easyocr(folder: Path, languages: Sequence[str], *, quantize: bool) -> Any:
    """An ``easyocr.Reader`` over the files in `folder`, its networks on the CPU.

    Never on a GPU: there easyocr would spread each network over all the GPUs it sees. Whoever takes a network moves it.
    `quantize` brings its recogniser's LSTM to 8 bits, which can run on a CPU only.

    Raises:
        ValueError: for unknown languages, and for missing or damaged files.
    """
    for name in reader_files(languages):
        if not (folder / name).is_file():
            raise ValueError(f"folder must hold {name}; got {folder}")
    easyocr = import_easyocr()
    try:
        return easyocr.Reader(
            list(languages),
            gpu=False,
            model_storage_directory=str(folder),
            download_enabled=False,
            verbose=False,
            quantize=quantize,
        )
    except FileNotFoundError as error:  # also easyocr's word for a wrong checksum
        raise ValueError(f"folder must hold easyocr's own, undamaged files; got {folder} ({error})") from error


def import_easyocr() -> Any:
    """The easyocr package; ValueError where it is not installed."""
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
        except ValueError as error:  # "Japanese is only compatible with English, try lang_list=["ja","en"]"
            together = str(error).partition("lang_list=")[2].replace('"', "") or "languages of one script"
            message = f"languages must be some that one model of easyocr reads, such as {together}; got {languages}"
            raise ValueError(message) from error
    for generation in easyocr.config.recognition_models.values():
        for model in generation.values():
            if model["characters"] == reader.character:
                return str(model["filename"])
    raise ValueError(f"languages must be readable by one easyocr model; got {languages}")
