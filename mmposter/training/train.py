"""`mmposter train`: from a prepared data set to a run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fusion import Loss, PosterModel, base_logits
from mmposter.config import Config, EvaluationConfig
from mmposter.data.dataset import Dataset
from mmposter.data.splitting import SPLIT_ADVICE
from mmposter.engines import Workers
from mmposter.engines.device import make_accelerator, resolve_device
from mmposter.errors import UserError
from mmposter.evaluation import Evaluation, evaluate, tune_thresholds
from mmposter.evaluation.gains import Gain
from mmposter.evaluation.thresholds import NEVER, TELLING, fallback_notice
from mmposter.features.extractors import BranchExtractors
from mmposter.features.pins import PinnedTower, Pins
from mmposter.features.ragged import Features, batch_of
from mmposter.features.settled import image_network, settle
from mmposter.features.sizes import Sizes
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.files.atomic import write_csv
from mmposter.files.tensors import load_tensors
from mmposter.outputs import claim, remove_folder
from mmposter.outputs.kinds import POSTERS_DECODED, RUN
from mmposter.progress import say, warn
from mmposter.runs.building import (
    build_image_classifier,
    build_model,
    build_tower,
    build_training_loss,
    tower_sizes,
)
from mmposter.runs.decisions import Decision, unseen_answer
from mmposter.runs.provenance import package_version
from mmposter.runs.run import BASE_RATES, MODEL, START, TOWER, WEIGHTS, Run
from mmposter.runs.seen import TRAIN, VAL, SeenPosters, seen_through
from mmposter.shell import command_line
from mmposter.training.checkpoint import TrainingProgress, require_same_config
from mmposter.training.films import Films, films_of
from mmposter.training.gained import measure_gains
from mmposter.training.inputs import Inputs, load_inputs, poster_batches
from mmposter.training.loop import Scored, Trainer
from mmposter.training.outputs import write_card, write_plots
from mmposter.training.pictures import FOLDER as PICTURES
from mmposter.training.pictures import training_pictures, whole_pictures
from mmposter.training.start import Start, require_same_start
from mmposter.visible import visible

if TYPE_CHECKING:
    from fusion import Backbone, ImageClassifier


_WITHOUT_TOWER = (
    "the weights of {backbone} are not on this machine: the run goes without them. It can be measured on the pack; to "
    "predict new posters, get the weights (mmposter weights lists them) and train once more"
)


_MEASURED = 512  # posters that a branch is shown at a time before training
_LISTED = 5  # genres that a warning names


@dataclass(frozen=True)
class TrainingResult:
    """A finished training."""

    run: Run  # the run folder's content
    progress: TrainingProgress  # epochs and the best validation mAP
    validation: Evaluation  # metrics on the validation posters, at thresholds tuned on the same posters
    gains: Sequence[Gain] = ()  # against the model that it went on from; none where it began anew

    @property
    def told(self) -> str:
        """Which epoch was kept, and how good it is on validation posters, where these are enough to tell."""
        keep, shown = self.run.config.train.keep, f"{self.progress.best_epoch + 1} of {len(self.progress.history)}"
        if self.validation.n < TELLING:
            return f"last epoch, {shown}: {self.validation.n} validation posters are too few to tell how good it is"
        return f"{keep} epoch, {shown}: validation mAP {self.progress.best:.3f}"

    def _repr_html_(self) -> str:
        """How a notebook shows it: the training in a line, and `validation` as the report of an evaluation does."""
        from mmposter.document import render_fragment
        from mmposter.report.evaluation import evaluation_blocks
        from mmposter.report.evaluation_text import title
        from mmposter.report.gains_text import gains_table

        epochs = (
            self.told
            if self.validation.n < TELLING
            else (f"{len(self.progress.history)}, the best on validation: {self.progress.best_epoch + 1}")
        )
        facts = {"folder": str(self.run.folder), "branches": ", ".join(self.run.config.branches), "epochs": epochs}
        note = "Thresholds were tuned on these posters, so these numbers flatter; measure with evaluate_run."
        heading = f"{self.run.folder.name}, {title(self.validation)}"
        start = self.run.facts.get(START)
        gained = [gains_table(start["name"], self.gains)] if start is not None and self.gains else []
        return render_fragment(heading, [*gained, *evaluation_blocks(self.validation)], facts=facts, text=[note])


@dataclass(frozen=True)
class Fitted:
    """A trained model, before anything is said of it."""

    run: Run  # the run folder's content, without a result
    trainer: Trainer  # holds the weights of the best epoch
    progress: TrainingProgress  # epochs and the best validation mAP
    weights: TowerWeights | None  # of the image tower, None where no branch has one
    validation: Scored  # the validation posters, by row of the manifest
    decision: Decision  # tuned on them


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
    start: Start | None = None,
) -> TrainingResult:
    """Train on the ``train`` posters, stop and tune thresholds on the ``val`` posters, never look at ``test``.

    Features that the store lacks are extracted first, by `workers` processes (see `mmposter.engines.run`). With `start`
    the training goes on from that model's branches and head, and `config` is made by `Start.config`.

    Raises:
        UserError: for data without labels or splits, missing weights, an `out` that holds another run, or that
            another process is writing; for a `config` that does not fit `start`, or frozen models other than its own.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    started = time.monotonic()
    begun = Run.load(out, finished=False).config.model_dump(mode="json") if resume and (out / MODEL).exists() else None
    if start is not None:
        start.require(config)
    config, device = settle(config, Pins.of(dataset), begun), resolve_device(device)
    with claim(out, RUN, go_on=resume, overwrite=overwrite) as there:
        if there:
            _require_same(out, config, dataset, start)
        elif resume:
            say(f"nothing to resume in {out}: starting anew")
        behind = None if start is None else start.run
        inputs = load_inputs(
            config, dataset, device=device, offline=offline, quiet=quiet, behind=behind, workers=workers
        )
        fitted = fit(
            config, dataset, inputs, out, device=device, offline=offline, resume=resume, quiet=quiet, start=start
        )
        result = finish(fitted, dataset, inputs, time.monotonic() - started, start)
    if not quiet:
        _say_what_is_lacking(result, inputs)
    if isinstance(fitted.weights, PinnedTower) and not quiet:
        warn(_WITHOUT_TOWER.format(backbone=config.cnn.backbone))
    return result


def _say_what_is_lacking(result: TrainingResult, inputs: Inputs) -> None:
    """One warning, where the posters are too few to tune on, or where a genre has none."""
    tuned = result.run.config.evaluation.thresholds == "tuned"
    said = fallback_notice(result.validation.n) if tuned else None
    never = [genre for genre, share in zip(result.run.vocabulary.genres, inputs.shares(), strict=True) if not share]
    if never:
        listed = ", ".join(visible(genre) for genre in never[:_LISTED]) + (", ..." if len(never) > _LISTED else "")
        lack = f"no training poster has {listed} ({len(never)} of {len(result.run.vocabulary)} genres): never given"
        said = lack if said is None else f"{said}; {lack}"
    if said is not None:
        warn(f"warning: {said}")
    if known := result.run.facts.get(START, {}).get("val_seen"):
        say(
            f"{known:,} of {result.validation.n:,} validation posters were seen in training by "
            f"{result.run.facts[START]['name']}: the numbers say little of new posters"
        )


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
    start: Start | None = None,
) -> Fitted:
    """The training itself, with the weights of the best epoch and thresholds tuned on the validation posters.

    `inputs` are what `load_inputs` read for this configuration; `out` is there already, and holds weights and
    checkpoints afterwards; `resume` goes on from the checkpoint in it, if there is one. `start` is as in `train`.
    """
    weights = image_network(config, config.branches, Pins.of(dataset), offline=offline)
    _require_posters(dataset, inputs)
    if resume and weights is not None and (out / MODEL).is_file():
        _require_same_resize(out, weights)
    model, sizes = _fresh_model(config, inputs.features.sizes(), len(dataset.vocabulary), weights)
    labels = torch.from_numpy(inputs.labels[inputs.rows("train")])
    loss = build_training_loss(config.loss, labels)
    films = films_of(config, dataset)
    if isinstance(model, PosterModel):  # a network without fusion begins as its library, or its paper, has it
        model.fusion.head.start_at(base_logits(loss, labels), labels.any(dim=0))
        if start is None:
            _measure(model, inputs, films)
        else:
            start.put_into(model, sizes, dataset.vocabulary, labels.any(dim=0))
    facts = {**_facts(dataset), BASE_RATES: inputs.shares().tolist()}
    if start is not None:
        facts[START] = start.facts()
    if films is not None:
        facts["films"] = len(films)
    run = Run(out, config, dataset.vocabulary, sizes, fingerprints(inputs.branches, weights), facts=facts)
    run.save()
    trainer = _trainer(config, dataset, inputs, model, loss, device, out, films, quiet=quiet)
    if resume:
        trainer.resume()
    progress = trainer.fit(quiet=quiet)
    trainer.plain_model.load_state_dict(load_tensors(out / WEIGHTS))
    found = trainer.predict(trainer.val_rows)
    thresholds = choose_thresholds(config.evaluation, inputs.labels[found.rows], found, inputs.shares())
    return Fitted(run, trainer, progress, weights, found, Decision(thresholds, unseen=trainer.unseen))


def fingerprints(branches: Mapping[str, BranchExtractors], weights: TowerWeights | None) -> dict[str, Any]:
    """The identity of everything frozen in front of the model, to be compared where it is used."""
    known: dict[str, Any] = {name: branch.feature.identity() for name, branch in branches.items()}
    return known if weights is None else {**known, "tower": weights.identity()}


def _trainer(
    config: Config,
    dataset: Dataset,
    inputs: Inputs,
    model: PosterModel | ImageClassifier,
    loss: Loss,
    device: str,
    out: Path,
    films: Films | None,
    *,
    quiet: bool,
) -> Trainer:
    train_rows, val_rows, settings = inputs.rows("train"), inputs.rows("val"), config.train
    learnt, watched, looks, folder = None, None, inputs.image, out / PICTURES
    if looks is not None:
        learnt = training_pictures(dataset, train_rows, looks, settings, config.seed, folder, quiet=quiet)
        watched = whole_pictures(dataset, val_rows, looks, folder, "val", quiet=quiet)
    return Trainer(
        model,
        loss,
        config,
        make_accelerator(device, settings.precision, convolutions=looks is not None),
        train=poster_batches(dataset, inputs, learnt),
        val=poster_batches(dataset, inputs, watched),
        train_rows=train_rows,
        val_rows=val_rows,
        unseen=unseen_answer(config, inputs.shares()),
        out=out,
        films=films,
    )


def _measure(model: PosterModel, inputs: Inputs, films: Films | None) -> None:
    """Tell each branch what it must know of all training posters, and films, before the first step."""
    rows = torch.tensor(inputs.rows("train"))
    for name in model.fusion.branch_names:
        own = {key: values for key, values in inputs.features.tensors.items() if key.startswith(f"{name}.")}
        parts: list[tuple[Features, torch.Tensor]] = [(own, part) for part in torch.split(rows, _MEASURED)]
        if films is not None and films.branch == name:
            parts += [(films.features, part) for part in torch.split(torch.arange(len(films)), _MEASURED)]
        model.fusion.branch(name).measure(batch_of(features, part) for features, part in parts)


def _require_posters(dataset: Dataset, inputs: Inputs) -> None:
    train, val = len(inputs.rows("train")), len(inputs.rows("val"))
    if train < 2 or not val:
        raise UserError(
            f"{dataset.folder} has {train} posters to train on and {val} to validate on; both are needed.\n"
            f"{SPLIT_ADVICE}"
        )


def finish(
    fitted: Fitted, dataset: Dataset, inputs: Inputs, seconds: float, start: Start | None = None
) -> TrainingResult:
    """Make a whole run folder of what `fit` returned: frozen tower, validation metrics, plots, card, thresholds.

    Its posters, decoded for the training, are removed.

    `seconds` is what the training took, for the card; `start` is what `fit` went on from.
    """
    run, trainer, progress, decision = fitted.run, fitted.trainer, fitted.progress, fitted.decision
    probs, rows, seen = fitted.validation
    _save_tower(fitted)
    settings = run.config.evaluation
    validation = evaluate(
        inputs.labels[rows],
        probs,
        decision.thresholds,
        run.vocabulary.genres,
        train_target=inputs.labels[inputs.rows("train")],
        split="val",
        n_boot=settings.bootstrap,
        seed=run.config.seed,
        groups=np.array(dataset.table["group"], dtype=object)[rows],
        empty=settings.empty,
        decisions=decision.decide(probs, settings.empty, seen),
    )
    facts: dict[str, Any] = {
        "train_posters": len(inputs.rows("train")),
        "val_posters": len(rows),
        "unusable_posters": int((~inputs.features.usable).sum()),
        "parameters": sum(p.numel() for p in trainer.plain_model.parameters()),
        "epochs": len(progress.history),
        "best_epoch": progress.best_epoch,
        "best_val_map": progress.best,
        "seconds": round(seconds, 1),
    }
    posters = seen_posters(run.config, dataset, inputs, fitted.weights, start)
    posters.save(run.folder)
    gains = []
    if start is not None:
        gains = measure_gains(start, trainer, dataset, inputs, fitted.validation, posters)
        known = start.trained_on(dataset.table.iloc[rows])
        facts[START] = {**start.facts(), "gains": [gain.to_json() for gain in gains], "val_seen": known}
    run = replace(run, thresholds=decision.thresholds, facts={**run.facts, **facts})
    write_csv(run.folder / "metrics.csv", progress.history)
    write_plots(run, progress, validation, dataset)
    write_card(run, validation, gains)
    run.save()
    if (run.folder / PICTURES).is_dir():
        remove_folder(run.folder / PICTURES, POSTERS_DECODED)
    return TrainingResult(run, progress, validation, gains)


def _save_tower(fitted: Fitted) -> None:
    """The image network travels with the run: whoever gets the folder needs no other file of ours, and what was learnt
    can be begun from (``--init RUN/tower.safetensors``). One trained on a pack goes without where it is not here."""
    run, weights, model = fitted.run, fitted.weights, fitted.trainer.plain_model
    if weights is None or isinstance(weights, PinnedTower):
        return
    if run.config.regime == "features":
        weights.save(run.folder / TOWER)
        return
    size = TowerInput.of(run.config.cnn, weights).size
    backbone = model.tower
    if isinstance(model, PosterModel):
        assert model.tower is not None  # as the posters themselves are looked at
        backbone = model.tower.backbone
    replace(weights, size=size).save_trained(run.folder / TOWER, cast("Backbone", backbone))


def seen_posters(
    config: Config, dataset: Dataset, inputs: Inputs, weights: TowerWeights | None, start: Start | None = None
) -> SeenPosters:
    """What a run has seen of its data; and what its image network and its start had seen, where that is known."""
    seen = SeenPosters()
    for split in (TRAIN, VAL):
        seen = seen.with_more(SeenPosters.of(dataset.table.iloc[inputs.rows(split)], split))
    if weights is not None:
        seen = seen.with_more(seen_through(weights, config.cnn.init))
    before = None if start is None else SeenPosters.load(start.run.folder)
    return seen if before is None else seen.with_more(before)


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
        size = TowerInput.of(config.cnn, weights).size
        return build_image_classifier(config, backbone, size, num_genres, original), cached
    tower = build_tower(config, backbone)
    torch.manual_seed(config.seed)
    sizes = Sizes(**{**cached.to_json(), **tower_sizes(tower)})
    return build_model(config, sizes, num_genres, tower), sizes


def choose_thresholds(
    config: EvaluationConfig, target: NDArray[np.float32], scored: Scored, shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One a genre: tuned on these posters (those of which something was seen), or what the configuration says.

    Args:
        config: what it says.
        target: M x G of the posters.
        scored: what the model says of them, as it is shown.
        shares: of each genre among the training posters (G).
    """
    if config.thresholds == "tuned":
        usable = scored.seen & target.any(axis=1)
        kept = usable if usable.any() else np.ones_like(usable)
        return tune_thresholds(target[kept], scored.probs[kept], shrinkage=config.shrinkage, shares=shares)
    # Where nothing can pass, `empty` (which the configuration holds at top1) gives the surest genre alone.
    fixed = NEVER if config.thresholds == "top1" else config.thresholds
    return np.full(target.shape[1], fixed)


def _require_same(out: Path, config: Config, dataset: Dataset, start: Start | None) -> None:
    """Make sure that `out` holds just the run that is to go on."""
    old = Run.load(out, finished=False)
    require_same_start(out, start, old.facts)
    there = old.config
    if config.cnn.resize == old.resize:  # named now, it is still the same
        there = there.with_network(resize=old.resize)
    require_same_config(out, there.model_dump(mode="json"), config.model_dump(mode="json"))
    old.vocabulary.require_same(dataset.vocabulary, mine=str(out), theirs=str(dataset.folder))
    if any(old.facts.get(name) != _facts(dataset)[name] for name in ("manifest", "titles")):
        raise UserError(f"{out} was started on another state of {dataset.folder}; give another --out")


def _require_same_resize(out: Path, weights: TowerWeights) -> None:
    """Refuse to go on with another filter: earlier versions took bicubic, whatever was recorded."""
    then = Run.load(out, finished=False).resize
    if then != weights.filter:
        raise UserError(
            f"{out} was started with posters resized by the filter {then}, and {weights.backbone} now takes "
            f"{weights.filter}.\nGo on with {command_line('--set', f'cnn.resize={then}')}, or give another --out"
        )


def _facts(dataset: Dataset) -> dict[str, Any]:
    libraries = ("torch", "torchvision", "transformers", "ultralytics", "rapidocr", "easyocr", "mmposter")
    return {
        "data": dataset.folder.resolve().name,
        "manifest": dataset.info["manifest_sha256"],
        "titles": dataset.info.get("titles", {}).get("sha256"),
        "versions": {name: package_version(name) for name in libraries},
    }
