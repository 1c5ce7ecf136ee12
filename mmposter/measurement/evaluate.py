"""Measure a run on a split of a prepared data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmposter.data.dataset import Dataset
from mmposter.data.parts import poster_parts, usual_parts
from mmposter.engines import Workers
from mmposter.engines.device import make_accelerator, resolve_device
from mmposter.errors import UserError
from mmposter.evaluation import Evaluation, evaluate
from mmposter.evaluation.calibration import Method
from mmposter.evaluation.examination import Examination, PartResult, examine
from mmposter.evaluation.scored import ScoredPosters, Source, file_hash
from mmposter.measurement.unseen import Rows, unseen_rows
from mmposter.runs.decisions import Decision
from mmposter.runs.provenance import package_version, source_commit
from mmposter.runs.run import WEIGHTS, Run
from mmposter.runs.seen import TRAIN
from mmposter.shipped import run_name
from mmposter.training.inputs import Inputs, load_inputs, poster_batches
from mmposter.training.loop import Scored, predict_rows


def evaluate_run(
    run: Run,
    dataset: Dataset,
    *,
    split: str = "test",
    only: Sequence[str] | None = None,
    device: str = "auto",
    offline: bool = False,
    workers: Workers = 1,
    threads: int | None = None,
    include_trained: bool = False,
) -> Evaluation:
    """Metrics of `run` on one split, with the decision fitted on its validation posters (see `Run.decision`).

    Args:
        run: a finished run.
        dataset: prepared with the same genres; its train posters give the constant predictors.
        split: ``train``, ``val`` or ``test``.
        only: branches to look at; all others are masked. None: all.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        offline: never touch the network.
        workers: processes that extract features that the store lacks; 1 is this one.
        threads: CPU threads of each of them; None: the cores, shared out.
        include_trained: measure on posters too that the run has seen in training, see `unseen_rows`.

    Raises:
        UserError: for other genres, an empty split, or a branch that the run does not have.
    """
    return examine_run(
        run,
        dataset,
        split=split,
        only=only,
        calibration=None,
        device=device,
        offline=offline,
        workers=workers,
        threads=threads,
        include_trained=include_trained,
    ).evaluation


def examine_run(
    run: Run,
    dataset: Dataset,
    *,
    split: str = "test",
    only: Sequence[str] | None = None,
    calibration: Method | None = "temperature",
    device: str = "auto",
    offline: bool = False,
    workers: Workers = 1,
    threads: int | None = None,
    include_trained: bool = False,
    by: Sequence[str] | None = None,
) -> Examination:
    """`evaluate_run` and all that `mmposter evaluate` reports beside it.

    Args:
        run: as in `evaluate_run`; so are the arguments that are not named here.
        dataset: its validation posters are those that the calibration is fitted on.
        calibration: ``temperature``, ``isotonic``, or None for none.
        by: parts of the posters that are measured by themselves too, names of `mmposter.data.parts.PARTS`; None: the
            sources, of several.

    Raises:
        UserError: as `evaluate_run`, or for parts that there are not.
    """
    parts = {name: poster_parts(dataset, name) for name in (usual_parts(dataset) if by is None else by)}
    run.vocabulary.require_same(dataset.vocabulary, mine=str(run.folder), theirs=str(dataset.folder))
    check_branches(run, only)
    device, config = resolve_device(device), run.serving_config()
    if not (dataset.table["split"] == TRAIN).any():  # before an hour of looking at posters
        raise UserError(
            f"{dataset.folder} has no training posters: the constant answer beside each metric is chosen on them.\n"
            "Prepare it with some, such as --ratios 0.1 0 0.9"
        )
    inputs = load_inputs(config, dataset, device=device, offline=offline, behind=run, workers=workers, threads=threads)
    run.require_same_sizes(inputs.features.metadata)
    rows = unseen_rows(run, dataset, inputs, split, include_trained=include_trained)
    val = Rows([])
    if calibration is not None and split != "val":
        val = unseen_rows(run, dataset, inputs, "val", by=(TRAIN,), include_trained=include_trained, quiet=True)
    scores = _score(run, dataset, inputs, split, only, device, rows, val.kept, also_val=calibration is not None)
    train = inputs.labels[inputs.rows("train")]
    return examine(
        scores.posters,
        scores.evaluation,
        method=calibration,
        fit=scores.val,
        titles=scores.titles,
        parts=[
            _measure_part(scores, by, name, members[scores.kept], train)
            for by, named in parts.items()
            for name, members in named.items()
            if members[scores.kept].any()
        ],
    )


def score_split(
    run: Run,
    dataset: Dataset,
    inputs: Inputs,
    rows: Sequence[int],
    *,
    only: Sequence[str] | None = None,
    device: str = "auto",
) -> Scored:
    """The model's own probabilities of posters by row of the manifest; what is shown of them is said by `Run.decision`.

    Posters that cannot be decoded are left out.
    """
    accelerator = make_accelerator(resolve_device(device), run.config.train.precision)
    model: torch.nn.Module = accelerator.prepare_model(run.load_model(), evaluation_mode=True)
    data = poster_batches(dataset, inputs)
    return predict_rows(accelerator, model, data, rows, run.config, only)


def check_branches(run: Run, only: Sequence[str] | None) -> None:
    """Refuse branches that a run was not trained with."""
    unknown = [name for name in only or () if name not in run.config.branches]
    if unknown:
        raise UserError(
            f"--branches {','.join(unknown)}: this run was trained with {','.join(run.config.branches)}; "
            "choose among those, or train again"
        )


@dataclass(frozen=True, eq=False)
class _Scores:
    """One pass of the model: the split and its metrics, titles and years, and target and probabilities of ``val``."""

    posters: ScoredPosters
    kept: NDArray[np.intp]  # their rows in the data set
    evaluation: Evaluation
    titles: list[tuple[str | None, int | None]]
    val: tuple[NDArray[Any], NDArray[np.float32]] | None


def _score(
    run: Run,
    dataset: Dataset,
    inputs: Inputs,
    split: str,
    only: Sequence[str] | None,
    device: str,
    rows: Rows,
    val_rows: list[int],
    *,
    also_val: bool,
) -> _Scores:
    decision = run.decision(only)
    raw, kept, seen = score_split(run, dataset, inputs, [*rows.kept, *val_rows], only=only, device=device)
    probs = decision.apply(raw, seen)
    measured = inputs.splits[kept] == split
    val = (inputs.labels[kept], probs) if split == "val" else (inputs.labels[kept[~measured]], probs[~measured])
    probs, kept = probs[measured], kept[measured]
    target, settings = inputs.labels[kept], run.config.evaluation
    decided = decision.decide(probs, settings.empty, seen[measured])
    groups = np.array(dataset.table["group"], dtype=object)[kept]
    evaluation = evaluate(
        target,
        probs,
        decision.thresholds,
        run.vocabulary.genres,
        train_target=inputs.labels[inputs.rows("train")],
        split=split,
        n_boot=settings.bootstrap,
        seed=run.config.seed,
        groups=groups,
        empty=settings.empty,
        decisions=decided,
    )
    posters = ScoredPosters(
        ids=tuple(str(name) for name in dataset.table["id"].iloc[kept]),
        groups=groups,
        genres=run.vocabulary.genres,
        target=target > 0,
        probs=probs,
        decisions=decided,
        thresholds=decision.thresholds,
        source=_source(run, dataset, split, only, evaluation, decision, rows.left_out),
    )
    named = dataset.table[["title", "year"]].iloc[kept]
    titles = [(title, None if pd.isna(year) else int(year)) for title, year in named.itertuples(index=False)]
    return _Scores(posters, kept, evaluation, titles, val if also_val and val[0].any() else None)


def _measure_part(
    scores: _Scores, by: str, name: str, members: NDArray[np.bool_], train: NDArray[np.float32]
) -> PartResult:
    """The metrics on some of the posters; the constant answers are those of the whole."""
    posters, whole = scores.posters, scores.evaluation
    count = int(members.sum())
    if not posters.target[members].any():
        return PartResult(by, name, count, None)
    evaluation = evaluate(
        posters.target[members],
        posters.probs[members],
        posters.thresholds,
        posters.genres,
        train_target=train,
        split=whole.split,
        n_boot=whole.bootstrap["n_boot"],
        seed=whole.bootstrap["seed"],
        groups=posters.groups[members],
        empty=whole.empty,
        decisions=posters.decisions[members],
    )
    return PartResult(by, name, count, evaluation)


def _source(
    run: Run,
    dataset: Dataset,
    split: str,
    only: Sequence[str] | None,
    evaluation: Evaluation,
    decision: Decision,
    left_out: int | None,
) -> Source:
    return Source(
        run=run_name(run.folder),
        weights=file_hash(run.folder / WEIGHTS),
        branches=run.config.branches if only is None else tuple(only),
        config=run.config.model_dump(mode="json"),
        data=dataset.folder.resolve().name,
        manifest=str(dataset.info["manifest_sha256"]),
        split=split,
        empty=run.config.evaluation.empty,
        constant={name: result.constant for name, result in evaluation.metrics.items()},
        version=package_version(),
        commit=source_commit(),
        decision=decision.digest,
        pack=dataset.pack,
        left_out=left_out,
    )
