"""One training of a grid: a configuration with a seed, and the scores of all cells that look at the trained model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from mmposter.ablation.grid import Cell, Training
from mmposter.ablation.scores import Scores, TrainingFacts, seed_folder
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.engines import Task, finished
from mmposter.engines.libraries import release_memory
from mmposter.errors import UserError
from mmposter.features.cache import FeatureCache
from mmposter.features.shuffling import shuffle_branches
from mmposter.files.disk import disk_error
from mmposter.outputs import remove_folder
from mmposter.outputs.kinds import RUN
from mmposter.training.finishing import Fitted, finish
from mmposter.training.inputs import Inputs, load_inputs, poster_batches
from mmposter.training.train import fit

_RUN = "run"


UnitId: TypeAlias = tuple[str, int]
"""Key and seed of a training."""


@dataclass(frozen=True)
class Unit:
    """A training and its seed."""

    training: Training
    seed: int

    @property
    def id(self) -> UnitId:
        """What tells it from all others."""
        return self.training.key, self.seed

    @property
    def config(self) -> Config:
        """What is trained, with the seed."""
        return self.training.config.model_copy(update={"seed": self.seed})


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit; its scores lie in its folder."""

    unit: Unit  # what was to be done
    val_map: float | None  # the best validation mAP; None where it failed
    error: str | None = None  # why it failed


class GridTask(Task[Unit, Unit, UnitResult]):
    """Trains units, as an engine runs it; the feature store must be complete.

    Args:
        data: the prepared folder.
        root: where its posters lie.
        out: the ablation's folder.
        split: whose posters are scored.
        device: resolved.
        keep_models: leave a whole run folder beside the scores.
    """

    def __init__(
        self, data: Path, root: Path, out: Path, *, split: str, device: str, keep_models: bool = False
    ) -> None:
        self.device = device
        self._data, self._root, self._out = data, root, out
        self._split, self._keep = split, keep_models

    def start(self, threads: int) -> None:
        self._dataset = Dataset.load(self._data, self._root)
        self._cache = FeatureCache()

    def load(self, part: Unit) -> Unit:
        return part

    def compute(self, loading: Unit) -> Future[UnitResult]:
        try:
            val_map = self._train(loading)
        except UserError as error:
            return finished(UnitResult(loading, None, str(error)))
        except Exception as error:  # whatever one configuration ends in, hours of the others must not be lost with it
            if disk_error(error) is not None:  # the others would fail as well; what is finished is kept
                raise
            return finished(UnitResult(loading, None, f"{type(error).__name__}: {error}"))
        release_memory()
        return finished(UnitResult(loading, val_map))

    def stop(self) -> None:
        del self._cache

    def _train(self, unit: Unit) -> float:
        started = time.monotonic()
        config, dataset = unit.config, self._dataset
        folder = seed_folder(self._out, unit.training.key, unit.seed)
        run = folder / _RUN
        run.mkdir(parents=True, exist_ok=True)
        inputs = load_inputs(config, dataset, device=self.device, offline=True, quiet=True, cache=self._cache)
        fitted = fit(config, dataset, inputs, run, device=self.device, offline=True, resume=True, quiet=True)
        seconds = time.monotonic() - started
        scores = self._score(unit.training.cells, config, inputs, fitted, seconds)
        if self._keep:
            finish(fitted, dataset, inputs, seconds)
        scores.save(folder)
        if not self._keep:
            remove_folder(run, RUN)
        return float(fitted.progress.best)

    def _score(self, cells: Sequence[Cell], config: Config, inputs: Inputs, fitted: Fitted, seconds: float) -> Scores:
        rows = inputs.rows(self._split)
        if not rows:
            raise UserError(f"{self._data} has no posters in split {self._split!r}")
        trainer, dataset = fitted.trainer, self._dataset
        probs, unseen, scored = {}, {}, None
        for cell in cells:
            features = shuffle_branches(inputs.features, cell.shuffled, dataset, config.seed)
            data = poster_batches(dataset, replace(inputs, features=features))
            probs[cell.name], scored, seen = trainer.predict(rows, cell.only, data)
            unseen[cell.name] = ~seen
        assert scored is not None  # a training has a cell
        facts = TrainingFacts(
            config=config.model_dump(mode="json"),
            manifest=dataset.info["manifest_sha256"],
            split=self._split,
            thresholds=[float(value) for value in fitted.decision.thresholds],
            epochs=len(fitted.progress.history),
            best_epoch=fitted.progress.best_epoch,
            val_map=float(fitted.progress.best),
            seconds=round(seconds, 2),
        )
        return Scores(facts, scored, probs, unseen)
