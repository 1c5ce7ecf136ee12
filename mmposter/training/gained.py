"""What a training that went on from a model has gained on its own posters, and lost on those of the benchmark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.evaluation.gains import Gain
from mmposter.evaluation.thresholds import TELLING
from mmposter.runs.seen import TRAIN, SeenPosters
from mmposter.shipped import BENCHMARK
from mmposter.training.inputs import Inputs, load_inputs, poster_batches
from mmposter.training.loop import Scored, Trainer, predict_rows
from mmposter.training.start import Start, shared_genres


def measure_gains(
    start: Start, trainer: Trainer, dataset: Dataset, inputs: Inputs, validation: Scored, seen: SeenPosters
) -> list[Gain]:
    """mAP on the validation posters, and on those of the benchmark, where these can be read and genres are shared.

    Args:
        start: that the training went on from.
        trainer: holds the weights that were kept.
        dataset: of the training.
        inputs: of it.
        validation: its validation posters, by row of the manifest.
        seen: all posters that the run has seen in any way; the benchmark's among them are left out where it learnt of
            them.
    """
    gains = _own(start, trainer, dataset, inputs, validation)
    shared = start.genres(dataset.vocabulary)
    if shared and dataset.pack != BENCHMARK:
        gains.append(_lost(start, trainer, dataset.vocabulary, seen))
    return [gain for gain in gains if gain is not None]


def _own(start: Start, trainer: Trainer, dataset: Dataset, inputs: Inputs, validation: Scored) -> list[Gain | None]:
    target = inputs.labels[validation.rows]
    labelled = target.any(axis=1)
    if labelled.sum() < TELLING:
        return []
    shared = start.genres(dataset.vocabulary)
    target, after = target[labelled], validation.probs[labelled]
    if not shared:
        return [Gain.measure("validation", target, after)]
    before = _of_start(start, trainer, dataset, inputs, validation.rows)[labelled]
    here, there = list(shared), list(shared.values())
    some = Gain.measure("validation", target[:, here], after[:, here], before[:, there])
    if len(here) == target.shape[1]:
        return [some]
    return [Gain.measure("validation", target, after), some]


def _lost(start: Start, trainer: Trainer, vocabulary: Vocabulary, seen: SeenPosters) -> Gain | None:
    """On the benchmark's validation posters: its test posters are left to `mmposter evaluate`, as all are."""
    try:
        pack = Dataset.load(BENCHMARK).split("val")
        inputs = load_inputs(trainer.config, pack, device="cpu", offline=True, quiet=True, behind=start.run)
    except UserError:  # a build without the pack, or a model that its features are not of
        return None
    learnt = seen.among(pack.table, (TRAIN,))
    rows = np.array([row for row in inputs.rows("val") if not learnt[row]], np.int64)
    known = shared_genres(vocabulary, pack.vocabulary)
    shared = {here: there for here, there in start.genres(vocabulary).items() if here in known}
    if len(rows) < TELLING or not shared:
        return None
    target = inputs.labels[rows][:, [known[here] for here in shared]]
    before = _of_start(start, trainer, pack, inputs, rows)[:, list(shared.values())]
    after = _scores(trainer, trainer.model, trainer.config, len(vocabulary), pack, inputs, rows)
    return Gain.measure(f"{BENCHMARK}, validation", target, after[:, list(shared)], before)


def _of_start(
    start: Start, trainer: Trainer, dataset: Dataset, inputs: Inputs, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """What the start says of posters that its branches have records of: M x its genres."""
    model = trainer.accelerator.prepare_model(start.run.load_model(), evaluation_mode=True)
    return _scores(trainer, model, start.run.config, len(start.run.vocabulary), dataset, inputs, rows)


def _scores(
    trainer: Trainer,
    model: nn.Module,
    config: Config,
    genres: int,
    dataset: Dataset,
    inputs: Inputs,
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """A model's probabilities of posters whose labels may be of other genres than its own: M x `genres`."""
    unlabelled = replace(inputs, labels=np.zeros((len(inputs.labels), genres), np.float32))
    data = poster_batches(dataset, unlabelled)
    found = predict_rows(trainer.accelerator, model, data, rows.tolist(), config)
    if not np.array_equal(found.rows, rows):  # those of `rows` could be decoded before
        raise UserError(f"posters of {dataset.folder} cannot be read any more")
    return found.probs
