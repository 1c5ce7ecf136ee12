"""`mmposter calibrate`: fit how a run decides, for every set of its branches, and measure what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmposter.branches import declared
from mmposter.config import spared_config
from mmposter.data.dataset import Dataset
from mmposter.engines import Workers
from mmposter.engines.device import resolve_device
from mmposter.errors import UserError
from mmposter.evaluation import (
    ConstantPredictor,
    Difference,
    bootstrap_ci,
    bootstrap_difference,
    compute_metrics,
    get_metric,
)
from mmposter.evaluation.metrics import labelled
from mmposter.evaluation.promise import Evidence
from mmposter.evaluation.scaling import fit_scaling
from mmposter.evaluation.scored import file_hash
from mmposter.evaluation.thresholds import fallback_notice
from mmposter.evaluation.unseen import unseen_of_kind
from mmposter.measurement.evaluate import score_split
from mmposter.measurement.unseen import unseen_rows
from mmposter.progress import progress, warn
from mmposter.runs.decisions import (
    ERROR,
    MEASURED,
    Decision,
    PosterCounts,
    Subset,
    Subsets,
    branch_subsets,
    unseen_answer,
)
from mmposter.runs.run import WEIGHTS, Run
from mmposter.runs.seen import TRAIN, VAL, SeenPosters
from mmposter.training.inputs import Inputs, load_inputs
from mmposter.training.loop import Scored
from mmposter.training.train import choose_thresholds

_METRICS, _ERROR = tuple(get_metric(name) for name in MEASURED), get_metric(ERROR)


def calibrate_run(
    run: Run,
    dataset: Dataset,
    *,
    split: str = "test",
    device: str = "auto",
    offline: bool = False,
    workers: Workers = 1,
    threads: int | None = None,
    include_trained: bool = False,
    quiet: bool = False,
) -> Subsets:
    """Fit a scaling and thresholds for every non-empty set of a run's branches, all others masked.

    Fitted on the validation posters alone, measured on those of `split`. The result is not saved: see `Subsets.save`.

    Args:
        run: a finished run; what was fitted for it before is not looked at.
        dataset: prepared with the same genres.
        split: the posters to measure on, ``test`` or ``train``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        offline: never touch the network.
        workers: processes that extract features that the store lacks; 1 is this one.
        threads: CPU threads of each of them; None: the cores, shared out.
        include_trained: do not leave out what the run has seen (of ``val``, what it was trained on).
        quiet: show no progress.

    Raises:
        UserError: for a run with one genre a poster, other genres, or an empty split.
    """
    if run.config.single_label:
        raise UserError(
            f"{run.folder} gives each poster one genre: its scores sum to 1 (loss.name=cross_entropy), and calibrate "
            "scales each genre on its own. Calibrate a run with another loss, such as bce"
        )
    if split == "val":
        raise UserError("--split takes test or train: what is fitted on val cannot be measured there; got 'val'")
    run.vocabulary.require_same(dataset.vocabulary, mine=str(run.folder), theirs=str(dataset.folder))
    config = run.serving_config()
    device = resolve_device(device)
    load = partial(load_inputs, dataset=dataset, device=device, offline=offline, workers=workers, threads=threads)
    inputs = load(config, quiet=quiet, behind=run)
    run.require_same_sizes(inputs.features.metadata)
    for side in ("val", split):
        if not inputs.rows(side):
            raise UserError(f"{dataset.folder} has no posters in split {side!r}, and calibrate needs val and {split}")
    sides = {
        "val": unseen_rows(run, dataset, inputs, "val", by=(TRAIN,), include_trained=include_trained).kept,
        split: unseen_rows(run, dataset, inputs, split, include_trained=include_trained).kept,
    }
    fitter = _Fitter(run, dataset, inputs, sides, device)
    notice = fallback_notice(fitter.posters("val").count) if run.config.evaluation.thresholds == "tuned" else None
    if notice is not None and not quiet:
        warn(f"warning: {notice}")
    names = branch_subsets(run.config.branches)
    less = spared_config(config)
    fewer: list[tuple[str, ...]] = []
    if less is not None:
        sparing = [name for name in less.branches if declared(name).spared(config) is not None]
        fewer = [branches for branches in names if set(branches) & set(sparing)]
    subsets: dict[tuple[str, ...], Subset] = {}
    spared: dict[tuple[str, ...], Subset] = {}
    with progress("calibrate", len(names) + len(fewer), unit="set", quiet=quiet) as ticker:
        for branches in names:
            subsets[branches] = fitter.fit(branches)
            ticker.advance(note=",".join(branches))
        if less is not None:
            fitter.look_at(load(less, quiet=True))
        for branches in fewer:
            spared[branches] = fitter.fit(branches)
            ticker.advance(note=",".join(branches))
    return Subsets(
        weights=file_hash(run.folder / WEIGHTS),
        genres=run.vocabulary.genres,
        fitted=fitter.posters("val"),
        measured=fitter.posters(split),
        constant=fitter.constant(),
        subsets=subsets,
        spared=spared,
    )


class _Fitter:
    """Fits one set of branches after another; the first must be all of them, with which the others are compared."""

    def __init__(self, run: Run, dataset: Dataset, inputs: Inputs, rows: Mapping[str, list[int]], device: str) -> None:
        self._run, self._dataset, self._inputs, self._rows, self._device = run, dataset, inputs, rows, device
        self._split = next(split for split in rows if split != "val")
        self._groups = np.array(dataset.table["group"], dtype=object)
        self._whole: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None

    def look_at(self, inputs: Inputs) -> None:
        """Go on with other inputs of the same posters."""
        self._inputs = inputs

    def fit(self, branches: Sequence[str]) -> Subset:
        inputs, settings = self._inputs, self._run.config.evaluation
        rows = [*self._rows["val"], *self._rows[self._split]]
        probs, kept, seen = score_split(self._run, self._dataset, inputs, rows, only=branches, device=self._device)
        val = inputs.splits[kept] == "val"
        target, raw, groups = inputs.labels[kept[~val]], probs[~val], self._groups[kept[~val]]

        fitted_on = inputs.labels[kept[val]], Scored(probs[val], kept[val], seen[val])
        decision = fit_decision(self._run, *fitted_on, inputs.shares(), len(inputs.rows("train")))
        shown = decision.apply(probs[val], seen[val])
        scaled = decision.apply(raw, seen[~val])
        decided = decision.decide(scaled, settings.empty, seen[~val])

        bootstrap = {"n_boot": settings.bootstrap, "seed": self._run.config.seed, "groups": groups}
        values = compute_metrics(target, scaled, decided)
        ends = bootstrap_ci(target, scaled, decided, (*_METRICS, _ERROR), **bootstrap)
        ends_before = bootstrap_ci(target, raw, decided, [_ERROR], **bootstrap)
        difference = None
        if self._whole is None:
            self._whole = scaled, decided
        else:
            difference = bootstrap_difference(target, (scaled, decided), self._whole, _METRICS, **bootstrap)
        return Subset(
            decision=decision,
            metrics={metric.name: Difference(values[metric.name], ends[metric.name]) for metric in _METRICS},
            error_before=Difference(_ERROR.value(target, raw), ends_before[_ERROR.name]),
            error_after=Difference(values[_ERROR.name], ends[_ERROR.name]),
            difference=difference,
            evidence=Evidence.of(fitted_on[0] > 0, shown, self._groups[kept[val]]),
        )

    def posters(self, split: str) -> PosterCounts:
        target = self._inputs.labels[self._rows[split]]
        manifest = str(self._dataset.info["manifest_sha256"])
        return PosterCounts(self._dataset.folder.resolve().name, manifest, split, len(labelled(target)[0]))

    def constant(self) -> dict[str, float]:
        """The best constant answers, chosen on the training posters, on the measured ones."""
        train, measured = (self._inputs.labels[rows] for rows in (self._inputs.rows("train"), self._rows[self._split]))
        return {m.name: ConstantPredictor.fit(train, m).score(measured) for m in (*_METRICS, _ERROR)}


def fit_decision(
    run: Run, target: NDArray[np.float32], val: Scored, shares: NDArray[np.float64], trained: int
) -> Decision:
    """How a run decides, fitted on validation posters: scaling and thresholds on those of which something is seen.

    Args:
        run: whose configuration says how thresholds are chosen.
        target: N x G of {0, 1}.
        val: the model's own probabilities of the same posters.
        shares: of the training posters that have each genre (G).
        trained: how many training posters there are.
    """
    usable = val.seen & target.any(axis=1)
    kept = usable if usable.any() else np.ones_like(usable)
    scaling = fit_scaling(target[kept], val.probs[kept])
    # A genre that no training poster has is as rare as the model began with, however all others are moved.
    least = 0.5 / max(trained, 1)
    prior = np.log(least / (1 - least))
    offsets = np.where(shares > 0, scaling.offsets, np.minimum(scaling.offsets, prior * (1 - scaling.slope)))
    unscaled = Decision(np.zeros(0), replace(scaling, offsets=offsets))
    scaled = val._replace(probs=unscaled.apply(val.probs))
    thresholds = choose_thresholds(run.config.evaluation, target, scaled, shares)
    of_kind = unseen_of_kind(target[~val.seen & target.any(axis=1)], shares)
    return replace(unscaled, thresholds=thresholds, unseen=unseen_answer(run.config, of_kind.probs))


def remember_fit(run: Run, dataset: Dataset) -> None:
    """Count the validation posters that a run was calibrated on among those that it has seen."""
    seen = SeenPosters.load(run.folder)
    if seen is not None:  # else what it was trained on is unknown, too
        val = dataset.table[dataset.table["split"] == VAL]
        seen.with_more(SeenPosters.of(val, VAL)).save(run.folder)
