"""One resolver for every pretrained file: where it may lie, in which order, and what to type when it is nowhere.

The order: an explicit path; the folder named by ``MMPOSTER_WEIGHTS``; a Python package that carries the file; the
library's own cache; a download into that cache. Offline, the last step is left out. Nothing falls back to random
weights in silence.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path
from mmposter.files.strict_json import shown
from mmposter.progress import console, say, set_aside

ENVIRONMENT = "MMPOSTER_WEIGHTS"


@dataclass(frozen=True)
class WeightSource:
    """One pretrained thing and the places where it may be. Its name and its files are joined to folders: a name that
    would lead out of them is refused, as it may come from a file of a stranger's.

    Attributes:
        name: what to call it in messages.
        files: the file names that must all be there; a place is the folder that holds them.
        package: an importable module that carries them, with the folder inside it.
        pip: what to install to get that module.
        cache: the folder in which its library keeps its downloads.
        fetch: downloads the files into the given folder, or says into which other one; None where nobody may or can.
        licence: under which terms its owner gives it.
        shared_names: whether other sources' files are called the same (``model.safetensors``): then the files count
            only in a folder called `name` inside ``MMPOSTER_WEIGHTS``, as those beside them may be another model's.
        megabytes: how much a download takes, where its owner says so (10^6 bytes).
        here: the folder that holds it, or the file, where its name is a path; then no other place counts.
    """

    name: str
    files: tuple[str, ...]
    licence: str
    package: tuple[str, str] | None = None
    pip: str | None = None
    cache: Path | None = None
    fetch: Callable[[Path], Path | None] | None = None
    shared_names: bool = False
    megabytes: float | None = None
    here: Path | None = None


def _require_inside(name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if not name.isprintable() or ":" in name or any(part in ("", ".", "..") or len(part) > 200 for part in parts):
        raise UserError(
            f"{shown(name)} is no published name and no file or folder here. Give a name such as yolo11n.pt or "
            "sentence-transformers/all-MiniLM-L6-v2, or the path of what is here"
        )


def resolve(source: WeightSource, *, explicit: Path | None = None, offline: bool = False) -> Path:
    """Find the folder that holds all files of `source`, downloading them as the last resort.

    Args:
        source: what is looked for.
        explicit: a folder, or a file in it, named by the user; then no other place counts.
        offline: never touch the network.

    Raises:
        UserError: naming the file, every place looked in, and the commands that mend it.
    """
    found = locate(source, explicit=explicit)
    if found is not None:
        return found[1]
    looked = [f"{label}: {folder}" for label, folder in _places(source, explicit)]
    if explicit is None and source.cache is not None and source.fetch is not None and not offline:
        try:
            said = f"downloading {source.name} to {source.cache}"
            say(said)
            source.cache.mkdir(parents=True, exist_ok=True)
            with set_aside():  # the bar of the download is its library's
                fetched = source.fetch(source.cache) or source.cache
        except Exception as error:  # any failure of any network library ends in the same advice
            looked.append(f"download: failed ({type(error).__name__}: {error})")
        else:
            # A repository may exist and lack one of the files.
            if not (lacking := [file for file in source.files if not (fetched / file).is_file()]):
                return fetched
            looked.append(f"download: came without {', '.join(lacking)}")
    raise UserError(_advice(source, looked, offline))


def locate(source: WeightSource, *, explicit: Path | None = None) -> tuple[str, Path] | None:
    """The first place with all files of `source`, in words, and the folder; None where none has. Asks no network."""
    for label, folder in _places(source, explicit):
        if folder is not None and all((folder / file).is_file() for file in source.files):
            return label, folder
    return None


def digest(files: Iterable[Path]) -> str:
    """SHA-256 over the contents of `files` in the given order, as 64 hex digits: the weights' identity."""
    total = hashlib.sha256()
    for file in files:
        facts = file.stat()
        total.update(_file_digest(file, facts.st_size, facts.st_mtime_ns))
    return total.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(file: Path, size: int, changed: int) -> bytes:
    """The digest of one state of a file: an ablation asks for those of the same 200 MB again and again."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def download_file(url: str, target: Path) -> None:
    """Download `url` to `target` atomically; a `.zip` is opened and the member named like `target` is taken."""
    from torch.hub import download_url_to_file

    with atomic_path(target) as temporary:
        if not url.endswith(".zip"):
            download_url_to_file(url, str(temporary), progress=console.is_terminal)
            return
        archive = temporary.with_suffix(".zip")
        try:
            download_url_to_file(url, str(archive), progress=console.is_terminal)
            with zipfile.ZipFile(archive) as opened:
                temporary.write_bytes(opened.read(target.name))
        finally:
            archive.unlink(missing_ok=True)


def _places(source: WeightSource, explicit: Path | None) -> Iterable[tuple[str, Path | None]]:
    explicit = source.here if explicit is None else explicit
    if explicit is not None:
        yield "the path given", explicit.parent if explicit.is_file() else explicit
        return
    for name in (source.name, *source.files):
        _require_inside(name)
    if folder := os.environ.get(ENVIRONMENT):
        if not source.shared_names:
            yield ENVIRONMENT, Path(folder)
        yield ENVIRONMENT, Path(folder) / source.name
    if source.package is not None:
        yield f"package {source.package[0]}", _inside_package(*source.package)
    if source.cache is not None:
        yield "its library's cache", source.cache


def _inside_package(module: str, inside: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.submodule_search_locations is None:
        return None
    return Path(spec.submodule_search_locations[0]) / inside


def _advice(source: WeightSource, looked: list[str], offline: bool) -> str:
    lines = [f"{source.name} is not on this machine (needed: {', '.join(source.files)}).", "Looked in:"]
    lines += [f"  {place}".replace(": None", ": not installed") for place in looked]
    lines.append("To mend it:")
    if source.pip:
        lines.append(f"  {source.pip}")
    if source.fetch and offline:
        lines.append("  run once without --offline, with a network")
    inside = f"/{source.name}" if source.shared_names else ""
    if not os.environ.get(ENVIRONMENT):
        folder = f"FOLDER{inside}" if inside else "a folder"
        lines.append(f"  or put the files into {folder} and set {ENVIRONMENT}=FOLDER")
    else:
        lines.append(f"  or put the files into {os.environ[ENVIRONMENT]}{inside}")
    return "\n".join(lines)
