"""`mmposter ablate`: train what is missing of a grid, compare, report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmposter.ablation.analysis import Bootstrap, analyse
from mmposter.ablation.grid import Plan
from mmposter.ablation.identity import identity
from mmposter.ablation.scores import Scores, finished_folders, load_scores
from mmposter.ablation.training import GridTask, Unit, UnitId, UnitResult
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.engines import Workers, run
from mmposter.engines.device import resolve_device
from mmposter.errors import UserError
from mmposter.evaluation.ablation import AblationResult
from mmposter.features.pins import Pins
from mmposter.features.settled import settle
from mmposter.features.table import extract_dataset
from mmposter.files.atomic import write_json
from mmposter.files.strict_json import mapping, read_json
from mmposter.outputs import claim
from mmposter.outputs.kinds import ABLATION
from mmposter.progress import progress
from mmposter.training.inputs import cached_branches

PLAN = "plan.json"


@dataclass(frozen=True)
class AblationSettings:
    """How a grid is run."""

    seeds: tuple[int, ...]  # every configuration is trained with each of them
    split: str = "test"  # the posters that are measured, ``test`` or ``val``
    device: str = "auto"  # ``auto``, ``cpu``, ``cuda`` or ``mps``
    jobs: Workers = "auto"  # trainings side by side; ``auto``: one a GPU, without one one a core
    offline: bool = False  # never touch the network
    keep_models: bool = False  # leave a run folder of every training, for `predict` and `compare`
    command: str = ""  # what was typed, for the report
    workers: Workers = "auto"  # processes that extract features that the store lacks
    threads: int | None = None  # CPU threads of each of these, and of each training; None: the cores, shared out


def ablate(
    plan: Plan,
    dataset: Dataset,
    out: Path,
    settings: AblationSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> AblationResult:
    """Train every cell of `plan` that `out` does not hold yet, with every seed, and compare them.

    Features that the store lacks are extracted first. A training that cannot be done is left out, and named in the
    result; all others go on.

    Raises:
        UserError: for an `out` that holds an ablation already, another data set's on resuming, a split without posters,
            if not one training of the reference could be finished, or for an `out` that another process is writing.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    if settings.split not in ("val", "test"):
        raise UserError(f"--split of an ablation must be test or val; got {settings.split!r}")
    begun = _plan_there(out / PLAN).get("base") if resume else None
    plan = plan.settled(partial(settle, pins=Pins.of(dataset), begun=begun if isinstance(begun, dict) else None))
    device = resolve_device(settings.device)
    units = [Unit(training, seed) for training in plan.trainings() for seed in settings.seeds]
    with claim(out, ABLATION, go_on=resume, overwrite=overwrite):
        if (out / PLAN).exists() and _plan_there(out / PLAN).get("manifest") != dataset.info["manifest_sha256"]:
            raise UserError(f"{out} was started on another state of {dataset.folder}; give another --out")
        _write_plan(out / PLAN, plan, dataset, settings)
        failed = _train(units, dataset, out, settings, device, quiet=quiet)
        found = _finished(units, dataset, out, settings)
    bootstrap = Bootstrap(plan.base.evaluation.bootstrap, plan.base.seed)
    return analyse(
        plan,
        dataset,
        units,
        found,
        failed,
        bootstrap,
        split=settings.split,
        command=settings.command,
        quiet=quiet,
    )


def _train(
    units: Sequence[Unit], dataset: Dataset, out: Path, settings: AblationSettings, device: str, *, quiet: bool
) -> dict[UnitId, str]:
    """Train what is missing; what could not be trained, with the reason."""
    finished = _finished(units, dataset, out, settings)
    missing = [unit for unit in units if finished[unit.id] is None]
    missing, failed = _with_features(missing, dataset, settings, device, quiet=quiet)
    if not missing:
        return failed
    task = GridTask(
        dataset.folder, dataset.root, out, split=settings.split, device=device, keep_models=settings.keep_models
    )
    with progress("ablate", len(units), done=len(units) - len(missing), unit="training", quiet=quiet) as ticker:
        for result in run(task, missing, workers=settings.jobs, threads=settings.threads):
            ticker.advance(1, _note(result))
            if result.error is not None:
                failed[result.unit.id] = result.error
    return failed


def _with_features(
    units: Sequence[Unit], dataset: Dataset, settings: AblationSettings, device: str, *, quiet: bool
) -> tuple[list[Unit], dict[UnitId, str]]:
    """The units whose features are in the store, extracted now where they were not; the others with the reason."""
    checked: dict[str, str | None] = {}
    ready: list[Unit] = []
    failed: dict[UnitId, str] = {}
    for unit in units:
        key = _perception(unit.config)
        if key not in checked:
            checked[key] = None
            try:
                branches = cached_branches(unit.config, dataset, device=device, offline=settings.offline)
                extract_dataset(dataset, branches, workers=settings.workers, threads=settings.threads, quiet=quiet)
            except UserError as error:
                checked[key] = str(error)
        problem = checked[key]
        if problem is None:
            ready.append(unit)
        else:
            failed[unit.id] = problem
    return ready, failed


def _perception(config: Config) -> str:
    """What the frozen parts of a configuration depend on, and a little more."""
    sections = [(name, config.section(name).model_dump(mode="json")) for name in config.branches]
    seed = config.seed if config.cnn.init == "none" else None
    return json.dumps([config.regime, seed, config.cnn.model_dump(mode="json"), sections], sort_keys=True)


def _finished(
    units: Sequence[Unit], dataset: Dataset, out: Path, settings: AblationSettings
) -> dict[UnitId, Scores | None]:
    """The scores of each unit, from the first folder with its settings that has all; None: it is to be trained."""
    folders = finished_folders(out)

    def scores(unit: Unit) -> Scores | None:
        for folder in folders.get((identity(unit.config), unit.seed), ()):
            manifest, genres = dataset.info["manifest_sha256"], len(dataset.vocabulary)
            found = load_scores(folder, unit.config, manifest, settings.split, posters=len(dataset), genres=genres)
            if found is not None and all(cell.name in found.probs for cell in unit.training.cells):
                return found
        return None

    return {unit.id: scores(unit) for unit in units}


def _note(result: UnitResult) -> str:
    name = f"{result.unit.training.cells[0].label}, seed {result.unit.seed}"
    if result.error is not None:
        return f"{name}: failed ({result.error.splitlines()[0]})"
    return f"{name}: val mAP {result.val_map:.3f}"


def _write_plan(path: Path, plan: Plan, dataset: Dataset, settings: AblationSettings) -> None:
    """What the folder holds; it is the first file, and says that an ablation is there."""
    write_json(
        path,
        {
            "manifest": dataset.info["manifest_sha256"],
            "data": dataset.folder.resolve().name,
            "split": settings.split,
            "seeds": list(settings.seeds),
            "base": plan.base.model_dump(mode="json"),
            "cells": {
                cell.name: {"label": cell.label, "section": cell.section, "mode": cell.mode} for cell in plan.cells
            },
        },
    )


def _plan_there(path: Path) -> Mapping[str, Any]:
    """What the plan of a folder says; nothing where there is none, or a damaged one."""
    try:
        return mapping(read_json(path), PLAN)
    except (UserError, ValueError, OSError):
        return {}
