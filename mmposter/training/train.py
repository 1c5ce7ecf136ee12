"""`mmposter train`: from a prepared data set to a run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.config import Config, EvaluationConfig
from mmposter.data.dataset import Dataset
from mmposter.engines import Workers
from mmposter.engines.device import make_accelerator, resolve_device
from mmposter.errors import UserError
from mmposter.evaluation import Evaluation, evaluate, tune_thresholds
from mmposter.evaluation.thresholds import NEVER
from mmposter.features.extractors import BranchExtractors
from mmposter.features.pins import PinnedTower, Pins
from mmposter.features.settled import image_network, settle
from mmposter.features.sizes import Sizes
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.files.atomic import write_csv
from mmposter.files.tensors import load_tensors
from mmposter.outputs import claim
from mmposter.outputs.kinds import RUN
from mmposter.progress import console
from mmposter.runs.building import (
    build_image_classifier,
    build_model,
    build_tower,
    build_training_loss,
    tower_sizes,
)
from mmposter.runs.provenance import package_version
from mmposter.runs.run import MODEL, TOWER, WEIGHTS, Run
from mmposter.training.checkpoint import TrainingProgress, require_same_config
from mmposter.training.inputs import Inputs, load_inputs, poster_batches
from mmposter.training.loop import Trainer
from mmposter.training.outputs import write_card, write_plots

if TYPE_CHECKING:
    from fusion import ImageClassifier, PosterModel


_WITHOUT_TOWER = (
    "the weights of {backbone} are not on this machine: the run goes without them. It can be measured on the pack; to "
    "predict new posters, get the weights (mmposter weights lists them) and train once more"
)


@dataclass(frozen=True)
class TrainingResult:
    """A finished training."""

    run: Run  # the run folder's content
    progress: TrainingProgress  # epochs and the best validation mAP
    validation: Evaluation  # metrics on the validation posters, at thresholds tuned on the same posters

    def _repr_html_(self) -> str:
        """How a notebook shows it: the training in a line, and `validation` as the report of an evaluation does."""
        from mmposter.document import render_fragment
        from mmposter.report.evaluation import evaluation_blocks
        from mmposter.report.evaluation_text import title

        epochs = f"{len(self.progress.history)}, the best on validation: {self.progress.best_epoch + 1}"
        facts = {"folder": str(self.run.folder), "branches": ", ".join(self.run.config.branches), "epochs": epochs}
        note = "Thresholds were tuned on these posters, so these numbers flatter; measure with evaluate_run."
        heading = f"{self.run.folder.name}, {title(self.validation)}"
        return render_fragment(heading, evaluation_blocks(self.validation), facts=facts, text=[note])


@dataclass(frozen=True)
class Fitted:
    """A trained model, before anything is said of it."""

    run: Run  # the run folder's content, without a result
    trainer: Trainer  # holds the weights of the best epoch
    progress: TrainingProgress  # epochs and the best validation mAP
    weights: TowerWeights | None  # of the image tower, None where no branch has one
    probs: NDArray[np.float32]  # M x G of the validation posters
    rows: NDArray[np.int64]  # the M rows of the manifest that `probs` belong to
    thresholds: NDArray[np.float64]  # G, tuned on them


def train(
    config: Config,
    dataset: Dataset,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    offline: bool = False,
    quiet: bool = False,
    workers: Workers = 1,
) -> TrainingResult:
    """Train on the ``train`` posters, stop and tune thresholds on the ``val`` posters, never look at ``test``.

    Features that the store lacks are extracted first, by `workers` processes (see `mmposter.engines.run`).

    Raises:
        UserError: for data without labels or splits, missing weights, an `out` that holds another run, or that
            another process is writing.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    started = time.monotonic()
    begun = Run.load(out, finished=False).config.model_dump(mode="json") if resume and (out / MODEL).exists() else None
    config, device = settle(config, Pins.of(dataset), begun), resolve_device(device)
    with claim(out, RUN, go_on=resume, overwrite=overwrite) as there:
        if there:
            _require_same(out, config, dataset)
        elif resume:
            console.print(f"nothing to resume in {out}: starting anew", highlight=False, soft_wrap=True)
        inputs = load_inputs(config, dataset, device=device, offline=offline, quiet=quiet, workers=workers)
        fitted = fit(config, dataset, inputs, out, device=device, offline=offline, resume=resume, quiet=quiet)
        result = finish(fitted, dataset, inputs, time.monotonic() - started)
    if isinstance(fitted.weights, PinnedTower) and not quiet:
        console.print(_WITHOUT_TOWER.format(backbone=config.cnn.backbone), highlight=False, soft_wrap=True)
    return result


def fit(
    config: Config,
    dataset: Dataset,
    inputs: Inputs,
    out: Path,
    *,
    device: str,
    offline: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> Fitted:
    """The training itself, with the weights of the best epoch and thresholds tuned on the validation posters.

    `inputs` are what `load_inputs` read for this configuration; `out` is there already, and holds weights and
    checkpoints afterwards; `resume` goes on from the checkpoint in it, if there is one.
    """
    weights = image_network(config, config.branches, Pins.of(dataset), offline=offline)
    model, sizes = _fresh_model(config, inputs.features.sizes(), len(dataset.vocabulary), weights)
    run = Run(out, config, dataset.vocabulary, sizes, fingerprints(inputs.branches, weights), facts=_facts(dataset))
    run.save()
    trainer = _trainer(config, dataset, inputs, model, device, out)
    if resume:
        trainer.resume()
    progress = trainer.fit(quiet=quiet)
    trainer.plain_model.load_state_dict(load_tensors(out / WEIGHTS))
    probs, rows = trainer.predict(trainer.val_rows)
    thresholds = choose_thresholds(config.evaluation, inputs.labels[rows], probs)
    return Fitted(run, trainer, progress, weights, probs, rows, thresholds)


def fingerprints(branches: Mapping[str, BranchExtractors], weights: TowerWeights | None) -> dict[str, Any]:
    """The identity of everything frozen in front of the model, to be compared where it is used."""
    known: dict[str, Any] = {name: branch.feature.identity() for name, branch in branches.items()}
    return known if weights is None else {**known, "tower": weights.identity()}


def _trainer(
    config: Config,
    dataset: Dataset,
    inputs: Inputs,
    model: PosterModel | ImageClassifier,
    device: str,
    out: Path,
) -> Trainer:
    train_rows, val_rows = inputs.rows("train"), inputs.rows("val")
    if len(train_rows) < 2 or not val_rows:
        raise UserError(
            f"{dataset.folder} has {len(train_rows)} posters to train on and {len(val_rows)} to validate on; both are "
            "needed.\nPrepare it with other ratios: mmposter prepare SOURCE --out DATA --ratios 0.7 0.1 0.2"
        )
    return Trainer(
        model,
        build_training_loss(config.loss, torch.from_numpy(inputs.labels[train_rows])),
        config,
        make_accelerator(device, config.train.precision),
        train=poster_batches(config, dataset, inputs, augment=config.train.augment),
        val=poster_batches(config, dataset, inputs, augment=False),
        train_rows=train_rows,
        val_rows=val_rows,
        out=out,
    )


def finish(fitted: Fitted, dataset: Dataset, inputs: Inputs, seconds: float) -> TrainingResult:
    """Make a whole run folder of what `fit` returned: frozen tower, validation metrics, plots, card, thresholds.

    `seconds` is what the training took, for the card.
    """
    run, trainer, progress, rows = fitted.run, fitted.trainer, fitted.progress, fitted.rows
    # The frozen tower travels with the run: whoever gets the folder needs no other file of ours. One trained on a pack
    # goes without where the tower is not on this machine.
    if run.config.regime == "features" and fitted.weights is not None and not isinstance(fitted.weights, PinnedTower):
        fitted.weights.save(run.folder / TOWER)
    settings = run.config.evaluation
    validation = evaluate(
        inputs.labels[rows],
        fitted.probs,
        fitted.thresholds,
        run.vocabulary.genres,
        train_target=inputs.labels[inputs.rows("train")],
        split="val",
        n_boot=settings.bootstrap,
        seed=run.config.seed,
        groups=np.array(dataset.table["group"], dtype=object)[rows],
        empty=settings.empty,
    )
    facts = {
        "train_posters": len(inputs.rows("train")),
        "val_posters": len(rows),
        "unusable_posters": int((~inputs.features.usable).sum()),
        "parameters": sum(p.numel() for p in trainer.plain_model.parameters()),
        "epochs": len(progress.history),
        "best_epoch": progress.best_epoch,
        "best_val_map": progress.best,
        "seconds": round(seconds, 1),
    }
    run = replace(run, thresholds=fitted.thresholds, facts={**run.facts, **facts})
    write_csv(run.folder / "metrics.csv", progress.history)
    write_plots(run, progress, validation)
    write_card(run, validation)
    run.save()
    return TrainingResult(run, progress, validation)


def _fresh_model(
    config: Config, cached: Sizes, num_genres: int, weights: TowerWeights | None
) -> tuple[PosterModel | ImageClassifier, Sizes]:
    """The model before its first step, and its sizes; `cached` are those of the features that it reads."""
    if config.regime == "features" or weights is None:
        torch.manual_seed(config.seed)
        return build_model(config, cached, num_genres), cached
    backbone = weights.build()
    if config.cnn.classifier != "fusion":
        original = weights.original()
        torch.manual_seed(config.seed)
        size = TowerInput.of(config.cnn, weights.architecture).size
        return build_image_classifier(config, backbone, size, num_genres, original), cached
    tower = build_tower(config, backbone)
    torch.manual_seed(config.seed)
    sizes = Sizes(**{**cached.to_json(), **tower_sizes(tower)})
    return build_model(config, sizes, num_genres, tower), sizes


def choose_thresholds(
    config: EvaluationConfig, target: NDArray[np.float32], probs: NDArray[np.float32]
) -> NDArray[np.float64]:
    """One a genre: tuned on these posters, or what the configuration says."""
    if config.thresholds == "tuned":
        return tune_thresholds(target, probs, shrinkage=config.shrinkage)
    # Where nothing can pass, `empty` (which the configuration holds at top1) gives the surest genre alone.
    fixed = NEVER if config.thresholds == "top1" else config.thresholds
    return np.full(target.shape[1], fixed)


def _require_same(out: Path, config: Config, dataset: Dataset) -> None:
    """Make sure that `out` holds just the run that is to go on."""
    old = Run.load(out, finished=False)
    require_same_config(out, old.config.model_dump(mode="json"), config.model_dump(mode="json"))
    old.vocabulary.require_same(dataset.vocabulary, mine=str(out), theirs=str(dataset.folder))
    if old.facts.get("manifest") != _facts(dataset)["manifest"]:
        raise UserError(f"{out} was started on another state of {dataset.folder}; give another --out")


def _facts(dataset: Dataset) -> dict[str, Any]:
    libraries = ("torch", "torchvision", "transformers", "ultralytics", "rapidocr", "easyocr", "mmposter")
    return {
        "data": dataset.folder.resolve().name,
        "manifest": dataset.info["manifest_sha256"],
        "versions": {name: package_version(name) for name in libraries},
    }
