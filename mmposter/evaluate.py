"""Measure a run on a split of a prepared data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.data.dataset import Dataset
from mmposter.device import make_accelerator, resolve_device
from mmposter.engines import Workers
from mmposter.errors import UserError
from mmposter.evaluation import Evaluation, evaluate
from mmposter.run import Run
from mmposter.training.loop import predict_rows
from mmposter.training.train import Inputs, load_inputs, poster_batches


def evaluate_run(
    run: Run,
    dataset: Dataset,
    *,
    split: str = "test",
    only: Sequence[str] | None = None,
    device: str = "auto",
    offline: bool = False,
    workers: Workers = 1,
) -> Evaluation:
    """Metrics of `run` on one split, at the thresholds tuned on its validation posters.

    Args:
        run: a finished run.
        dataset: prepared with the same genres; its train posters give the constant predictors.
        split: ``train``, ``val`` or ``test``.
        only: branches to look at; all others are masked. None: all.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        offline: never touch the network.
        workers: processes that extract features that the store lacks; 1 is this one.

    Raises:
        UserError: for other genres, an empty split, or a branch that the run does not have.
    """
    run.vocabulary.require_same(dataset.vocabulary, mine=str(run.folder), theirs=str(dataset.folder))
    check_branches(run, only)
    inputs = load_inputs(
        run.serving_config(), dataset, device=resolve_device(device), offline=offline, behind=run, workers=workers
    )
    rows = inputs.rows(split)
    if not rows:
        raise UserError(f"{dataset.folder} has no posters in split {split!r}; splits there: {_splits(inputs)}")
    probs, rows_seen = predict_split(run, dataset, inputs, rows, only=only, device=device)
    assert run.thresholds is not None  # Run.load has refused an unfinished run
    settings = run.config.evaluation
    return evaluate(
        inputs.labels[rows_seen],
        probs,
        run.thresholds,
        run.vocabulary.genres,
        train_target=inputs.labels[inputs.rows("train")],
        split=split,
        n_boot=settings.bootstrap,
        seed=run.config.seed,
        groups=np.array(dataset.table["group"], dtype=object)[rows_seen],
        empty=settings.empty,
    )


def predict_split(
    run: Run,
    dataset: Dataset,
    inputs: Inputs,
    rows: Sequence[int],
    *,
    only: Sequence[str] | None = None,
    device: str = "auto",
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities M x G of posters by row of the manifest, and the M rows (without those that cannot be decoded)."""
    accelerator = make_accelerator(resolve_device(device), run.config.train.precision)
    model: torch.nn.Module = accelerator.prepare_model(run.load_model(), evaluation_mode=True)
    data = poster_batches(run.config, dataset, inputs, augment=False)
    return predict_rows(accelerator, model, data, rows, run.config.train, only)


def check_branches(run: Run, only: Sequence[str] | None) -> None:
    """Refuse branches that a run was not trained with."""
    unknown = [name for name in only or () if name not in run.config.branches]
    if unknown:
        raise UserError(
            f"--branches {','.join(unknown)}: this run was trained with {','.join(run.config.branches)}; "
            "choose among those, or train again"
        )


def _splits(inputs: Inputs) -> str:
    return ", ".join(sorted({str(split) for split in inputs.splits}))
