"""`mmposter train`: from a prepared data set to a run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fusion import Loss, PosterModel, base_logits
from mmposter.config import Config, EvaluationConfig
from mmposter.data.dataset import Dataset
from mmposter.data.splitting import SPLIT_ADVICE
from mmposter.engines import Workers
from mmposter.engines.device import make_accelerator, resolve_device
from mmposter.engines.libraries import limit_threads, release_memory
from mmposter.engines.trackers import require_trackers
from mmposter.errors import UserError
from mmposter.evaluation import tune_thresholds
from mmposter.evaluation.thresholds import NEVER, fallback_notice
from mmposter.features.cache import FeatureCache
from mmposter.features.extractors import BranchExtractors
from mmposter.features.pins import PinnedTower, Pins
from mmposter.features.ragged import Features, batch_of
from mmposter.features.settled import image_network, settle
from mmposter.features.sizes import Sizes
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.files.tensors import load_tensors
from mmposter.outputs import claim
from mmposter.outputs.kinds import RUN
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
from mmposter.runs.run import BASE_RATES, MODEL, START, WEIGHTS, Run
from mmposter.shell import command_line
from mmposter.training.callbacks import TrackerCallback, TrainingCallback
from mmposter.training.checkpoint import TrainingProgress, read_progress, require_same_config
from mmposter.training.films import Films, films_of
from mmposter.training.finishing import Fitted, TrainingResult, finish
from mmposter.training.inputs import Inputs, load_inputs, poster_batches
from mmposter.training.loop import LAST, Scored, Trainer
from mmposter.training.pictures import FOLDER as PICTURES
from mmposter.training.pictures import training_pictures, whole_pictures
from mmposter.training.processes import ALONE, Processes, join
from mmposter.training.start import Start, require_same_start
from mmposter.visible import visible

if TYPE_CHECKING:
    from fusion import ImageClassifier


_WITHOUT_TOWER = (
    "the weights of {backbone} are not on this machine: the run goes without them. It can be measured on the pack; to "
    "predict new posters, get the weights (mmposter weights lists them) and train once more"
)


_MEASURED = 512  # posters that a branch is shown at a time before training
_LISTED = 5  # genres that a warning names


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
    threads: int | None = None,
    start: Start | None = None,
    callbacks: Sequence[TrainingCallback] = (),
) -> TrainingResult:
    """Train on the ``train`` posters, stop and tune thresholds on the ``val`` posters, never look at ``test``.

    Features that the store lacks are extracted first, by `workers` processes of `threads` CPU threads (see
    `mmposter.engines.run`); where the posters themselves are learnt from, so many processes (of a number above 1; else
    ``train.workers``) draw their views, too, and so many threads decode them. The training itself takes `threads`
    threads. With `start` it goes on from that model's branches and head, and `config` is made by `Start.config`.
    `callbacks` are told of each epoch, and may stop after it. Processes that torchrun or `accelerate launch` started
    all call it alike: they train together, and each gets the result.

    Raises:
        UserError: for data without labels or splits, missing weights, an `out` that holds another run, or that
            another process is writing; for a `config` that does not fit `start`, or frozen models other than its own.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    started = time.monotonic()
    require_trackers(config.train.trackers)
    begun = Run.load(out, finished=False).config.model_dump(mode="json") if resume and (out / MODEL).exists() else None
    if start is not None:
        start.require(config)
    device = resolve_device(device)
    processes = join(device)
    quiet = quiet or not processes.main
    config = processes.main_first(lambda: settle(config, Pins.of(dataset), begun))
    if threads is not None:
        limit_threads(threads)
    with ExitStack() as claimed:

        def begin() -> None:
            if claimed.enter_context(claim(out, RUN, go_on=resume, overwrite=overwrite)):
                _require_same(out, config, dataset, start)
                # Said before the features are opened: of a million posters that takes seconds.
                if resume and (out / LAST).is_file() and not quiet:
                    say(read_progress(out / LAST, TrainingProgress).told)
            elif resume:
                say(f"nothing to resume in {out}: starting anew")

        processes.from_main(begin)
        behind = None if start is None else start.run
        inputs = processes.main_first(
            lambda: load_inputs(
                config,
                dataset,
                device=device,
                offline=offline,
                quiet=quiet,
                behind=behind,
                workers=workers,
                threads=threads,
                cache=None if processes.main else FeatureCache(),  # the main process has extracted what was missing
            )
        )
        fitted = fit(
            config,
            dataset,
            inputs,
            out,
            device=device,
            offline=offline,
            resume=resume,
            quiet=quiet,
            start=start,
            workers=workers,
            threads=threads,
            callbacks=callbacks,
            processes=processes,
        )
        result = processes.from_main(lambda: finish(fitted, dataset, inputs, time.monotonic() - started, start))
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
    workers: Workers = 1,
    threads: int | None = None,
    callbacks: Sequence[TrainingCallback] = (),
    processes: Processes = ALONE,
) -> Fitted:
    """The training itself, with the weights of the best epoch and thresholds tuned on the validation posters.

    `inputs` are what `load_inputs` read for this configuration; `out` is there already, and holds weights and
    checkpoints afterwards; `resume` goes on from the checkpoint in it, if there is one. `start`, `workers`, `threads`
    and `callbacks` are as in `train`. `processes` all call it, and the main one writes.
    """
    weights = processes.main_first(lambda: image_network(config, config.branches, Pins.of(dataset), offline=offline))
    _require_posters(dataset, inputs)
    if resume and weights is not None and (out / MODEL).is_file():
        _require_same_resize(out, weights)
    model, sizes = _fresh_model(config, inputs.features.sizes(), len(dataset.vocabulary), weights)
    labels = torch.from_numpy(inputs.labels[inputs.rows("train")])
    loss = build_training_loss(config.loss, labels)
    films, begun = films_of(config, dataset), resume and (out / LAST).is_file()
    if isinstance(model, PosterModel):  # a network without fusion begins as its library, or its paper, has it
        # Of a training that goes on, the checkpoint has them, and what was measured.
        first = torch.zeros(labels.shape[1]) if begun else base_logits(loss, labels)
        model.fusion.head.start_at(first, labels.any(dim=0))
        if start is None:
            if not begun:
                _measure(model, inputs, films)
        else:
            start.put_into(model, sizes, dataset.vocabulary, labels.any(dim=0))
    del labels  # of a million posters they are large
    facts = {**_facts(dataset), BASE_RATES: inputs.shares().tolist()}
    if start is not None:
        facts[START] = start.facts()
    if films is not None:
        facts["films"] = len(films)
    run = Run(out, config, dataset.vocabulary, sizes, fingerprints(inputs.branches, weights), facts=facts)
    processes.from_main(run.save)
    trainer = _trainer(
        config,
        dataset,
        inputs,
        model,
        loss,
        device,
        out,
        films,
        processes,
        quiet=quiet,
        offline=offline,
        workers=workers,
        threads=threads,
        callbacks=callbacks,
    )
    if resume:
        trainer.resume()
    progress = trainer.fit(quiet=quiet)
    processes.from_main(lambda: None)  # the best weights are on the disk
    trainer.plain_model.load_state_dict(load_tensors(out / WEIGHTS))
    found = trainer.predict(trainer.val_rows)
    inputs.features.release()  # what follows looks at the posters again only to compare with another model
    release_memory()
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
    processes: Processes,
    *,
    quiet: bool,
    offline: bool,
    workers: Workers,
    threads: int | None,
    callbacks: Sequence[TrainingCallback],
) -> Trainer:
    train_rows, val_rows, settings = inputs.rows("train"), inputs.rows("val"), config.train
    learnt, watched, looks, folder = None, None, inputs.image, out / PICTURES
    if looks is not None:
        learnt, watched = processes.main_first(
            lambda: (
                training_pictures(
                    dataset, train_rows, looks, settings, config.seed, folder, threads=threads, quiet=quiet
                ),
                whole_pictures(dataset, val_rows, looks, folder, "val", threads=threads, quiet=quiet),
            )
        )
    accelerator = make_accelerator(device, settings.precision, convolutions=looks is not None)
    if settings.trackers and processes.main:
        callbacks = (*callbacks, TrackerCallback(settings.trackers, accelerator, offline=offline))
    return Trainer(
        model,
        loss,
        config,
        accelerator,
        train=poster_batches(dataset, inputs, learnt),
        val=poster_batches(dataset, inputs, watched),
        train_rows=train_rows,
        val_rows=val_rows,
        unseen=unseen_answer(config, inputs.shares()),
        out=out,
        films=films,
        loaders=workers if looks is not None and isinstance(workers, int) and workers > 1 else None,
        callbacks=callbacks,
        processes=processes,
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
