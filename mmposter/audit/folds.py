"""Out-of-fold predictions: what is said of each poster by a model that learnt from others.

No film's poster, and no near-duplicate of one, is in the training of the model that is asked about it: groups are never
parted. In each fold an eighth of the other posters is watched for early stopping, so the fold itself chooses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmposter.ablation.scores import Scores, TrainingFacts, load_scores
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.data.splitting import draw, stratified_parts
from mmposter.errors import UserError
from mmposter.outputs import remove_folder
from mmposter.outputs.kinds import RUN
from mmposter.progress import progress
from mmposter.training.inputs import Inputs
from mmposter.training.train import fit

FOLDS = 5
"""Folds where nobody says how many: each model learns from 70 % of the posters, as a training does."""

WATCHED = 0.125
"""Share of the other folds' posters on which early stopping looks."""

_CELL, _RUN = "audit", "run"


def fold_of(inputs: Inputs, groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each poster, from 0: N; -1 for a poster without features. Stratified over all genres.

    Args:
        inputs: N posters with labels.
        groups: N names; posters of one group are in one fold.
        folds: how many.
        seed: of the drawing.

    Raises:
        UserError: fewer than two folds, or too few groups for so many.
    """
    usable, names = inputs.features.usable, np.asarray(groups, dtype=object)
    count = len(set(names[usable]))
    if not 2 <= folds <= max(count // 2, 2) or count < 6:
        raise UserError(
            f"--folds must be 2 to {max(count // 2, 2)} for {count} films (6 films are the least), got {folds}.\n"
            f"Type for example: --folds {FOLDS}"
        )
    parts = stratified_parts(names[usable].tolist(), inputs.labels[usable], [1 / folds] * folds, seed)
    return np.array([parts[str(name)] if use else -1 for name, use in zip(names, usable, strict=True)], np.int64)


def splits_of(
    fold: int, places: NDArray[np.int64], inputs: Inputs, groups: Sequence[str], seed: int
) -> NDArray[np.object_]:
    """The splits of one fold's training: N of ``test`` (the fold), ``train``, ``val`` and ``left out``."""
    names = np.asarray(groups, dtype=object).astype(str)
    rest = (places >= 0) & (places != fold)
    parts = stratified_parts(names[rest].tolist(), inputs.labels[rest], [1 - WATCHED, WATCHED], seed)
    if 1 not in parts.values():  # so few that the eighth is none
        parts[min(parts, key=lambda name: draw(f"{seed}/{name}"))] = 1
    splits = np.full(len(places), "left out", object)
    splits[places == fold] = "test"
    splits[rest] = [("train", "val")[parts[name]] for name in names[rest]]
    return splits


def out_of_fold(
    config: Config,
    dataset: Dataset,
    inputs: Inputs,
    out: Path,
    *,
    folds: int,
    device: str,
    offline: bool = False,
    quiet: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Train a model for each fold, on the others, and ask it about the fold.

    A fold that is finished in `out` is not trained again, and a training that was stopped goes on.

    Args:
        config: settled; its seed draws the folds too.
        dataset: with labels.
        inputs: of all posters, read for `config`; their labels are learnt, their splits do not count.
        out: the folder of the audit.
        folds: how many.
        device: resolved.

    Returns:
        Probabilities M x G and the M rows of the manifest, rising: those whose features could be read.

    Raises:
        UserError: too few posters, or what stops a training.
    """
    groups = list(dataset.table["group"])
    places = fold_of(inputs, groups, folds, config.seed)
    probs = np.zeros(inputs.labels.shape, np.float32)
    asked = np.zeros(len(places), bool)
    with progress("audit: folds", folds, unit="fold", quiet=quiet) as ticker:
        for fold in range(folds):
            splits = splits_of(fold, places, inputs, groups, config.seed)
            one = replace(inputs, splits=splits)
            name, folder = f"fold {fold + 1} of {folds}", out / "folds" / str(fold)
            known = _known_scores(config, dataset, one, folder, name)
            scores = known or _new_scores(config, dataset, one, folder, name, device, offline)
            probs[scores.rows], asked[scores.rows] = scores.probs[_CELL], True
            count = ticker.skip if known else ticker.advance
            count(1, f"validation mAP {scores.facts.val_map:.3f}")
    rows = np.flatnonzero(asked).astype(np.int64)
    return probs[rows], rows


def _known_scores(config: Config, dataset: Dataset, inputs: Inputs, folder: Path, name: str) -> Scores | None:
    """What the model of one fold says of it, where an earlier run has trained it; None otherwise."""
    manifest, wanted = str(dataset.info["manifest_sha256"]), inputs.rows("test")
    size, genres = inputs.labels.shape
    known = load_scores(folder, config, manifest, name, posters=size, genres=genres)
    return known if known is not None and known.rows.tolist() == wanted and _CELL in known.probs else None


def _new_scores(
    config: Config, dataset: Dataset, inputs: Inputs, folder: Path, name: str, device: str, offline: bool
) -> Scores:
    """What the model of one fold says of it, trained now."""
    manifest, wanted = str(dataset.info["manifest_sha256"]), inputs.rows("test")
    started, run = time.monotonic(), folder / _RUN
    run.mkdir(parents=True, exist_ok=True)
    # Films without a poster teach nothing here: they may be those of the fold.
    alone = replace(dataset, info={key: value for key, value in dataset.info.items() if key != "titles"})
    fitted = fit(config, alone, inputs, run, device=device, offline=offline, resume=True, quiet=True)
    probs, rows, seen = fitted.trainer.predict(wanted)
    facts = TrainingFacts(
        config=config.model_dump(mode="json"),
        manifest=manifest,
        split=name,
        thresholds=[float(value) for value in fitted.decision.thresholds],
        epochs=len(fitted.progress.history),
        best_epoch=fitted.progress.best_epoch,
        val_map=float(fitted.progress.best),
        seconds=round(time.monotonic() - started, 2),
    )
    scores = Scores(facts, rows, {_CELL: probs}, {_CELL: ~seen})
    scores.save(folder)
    remove_folder(run, RUN)
    return scores
