"""`mmposter audit`: out-of-fold predictions of all posters of a data set, and what they say about its labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmposter.audit.folds import FOLDS, out_of_fold
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.engines import Workers
from mmposter.engines.device import resolve_device
from mmposter.errors import UserError
from mmposter.evaluation.audited import Audited, AuditedPoster, find_mistakes
from mmposter.features.pins import Pins
from mmposter.features.settled import image_network, settle
from mmposter.files.atomic import write_json
from mmposter.files.strict_json import mapping, read_json
from mmposter.outputs import claim
from mmposter.outputs.kinds import AUDIT
from mmposter.runs.seen import TRAIN, seen_through
from mmposter.training.checkpoint import require_same_config
from mmposter.training.inputs import load_inputs

PLAN = "plan.json"

MOST = 100
"""Findings of each kind, where nobody says how many."""


def audit(
    config: Config,
    dataset: Dataset,
    out: Path,
    *,
    folds: int = FOLDS,
    most: int = MOST,
    device: str = "auto",
    offline: bool = False,
    workers: Workers = 1,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Audited:
    """Find probable label mistakes, misleading posters, near-duplicates that disagree and genres that are confused.

    Each poster of any split is judged by a model that learnt from the posters of other folds alone, see
    `mmposter.audit.folds`. Features that the store lacks are extracted first. Nothing of `dataset` is changed.

    Args:
        config: what is trained, `folds` times; its seed draws the folds.
        dataset: prepared, with labels; a pack will do.
        out: what is finished of each fold is kept there, for `resume`.
        folds: of the posters.
        most: findings of each kind.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        offline: never touch the network.
        workers: processes that extract.

    Raises:
        UserError: data without labels, a network that learns on the posters themselves, too few posters, an `out` that
            holds another audit, or one that another process is writing.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    if config.regime != "features":
        raise UserError(
            "an audit trains heads on cached features, and this configuration is for regime finetune.\n"
            "Leave out that recipe, or add --set regime=features"
        )
    if most < 1:
        raise UserError(f"--most must be 1 or more, got {most}")
    vocabulary = dataset.vocabulary  # refuses data without labels
    begun = _plan_there(out).get("config") if resume else None
    config = settle(config, Pins.of(dataset), begun if isinstance(begun, dict) else None)
    device = resolve_device(device)
    with claim(out, AUDIT, go_on=resume, overwrite=overwrite) as there:
        plan = {
            "manifest": str(dataset.info["manifest_sha256"]),
            "data": dataset.folder.resolve().name,
            "folds": folds,
            "config": config.model_dump(mode="json"),
        }
        if there:
            _require_same(out, plan)
        write_json(out / PLAN, plan)
        inputs = load_inputs(config, dataset, device=device, offline=offline, quiet=quiet, workers=workers)
        probs, rows = out_of_fold(
            config, dataset, inputs, out, folds=folds, device=device, offline=offline, quiet=quiet
        )
        weights = image_network(config, config.branches, Pins.of(dataset), offline=offline)
        taught = 0
        if weights is not None:
            seen = seen_through(weights, config.cnn.init)
            taught = int(seen.among(dataset.table.iloc[rows], [TRAIN]).sum())
        facts = {**plan, "unusable": len(dataset) - len(rows), "taught_network": taught}
        return find_mistakes(
            _posters(dataset, rows.tolist()),
            vocabulary.genres,
            inputs.labels[rows] > 0,
            np.asarray(probs, np.float64),
            most=most,
            facts=facts,
        )


def _posters(dataset: Dataset, rows: list[int]) -> list[AuditedPoster]:
    table = dataset.table.iloc[rows]
    sources = list(table["source"]) if "source" in table else [None] * len(rows)
    columns = (table[name] for name in ("id", "title", "year", "split", "group"))
    return [
        AuditedPoster(row_id, source, title, None if pd.isna(year) else int(year), split, group)
        for (row_id, title, year, split, group), source in zip(zip(*columns, strict=True), sources, strict=True)
    ]


def _require_same(out: Path, plan: Mapping[str, Any]) -> None:
    """Refuse to go on with another audit than the one that was started in `out`."""
    before = _plan_there(out)
    if before.get("manifest") != plan["manifest"]:
        raise UserError(f"{out} was started on another state of the data; give another --out, or --overwrite")
    if before.get("folds") != plan["folds"]:
        raise UserError(f"{out} was started with --folds {before.get('folds')}; give the same, or --overwrite")
    config = before.get("config")
    require_same_config(out, config if isinstance(config, dict) else {}, plan["config"])


def _plan_there(out: Path) -> Mapping[str, Any]:
    """What the plan of a folder says; nothing where there is none, or a damaged one."""
    try:
        return mapping(read_json(out / PLAN), PLAN)
    except (UserError, ValueError, OSError):
        return {}
