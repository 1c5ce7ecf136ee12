"""What a training ends with: a whole run folder, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fusion import PosterModel
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.evaluation import Evaluation, evaluate
from mmposter.evaluation.gains import Gain
from mmposter.evaluation.thresholds import TELLING
from mmposter.features.pins import PinnedTower
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.files.atomic import write_csv
from mmposter.outputs import remove_folder
from mmposter.outputs.kinds import POSTERS_DECODED
from mmposter.runs.decisions import Decision
from mmposter.runs.run import START, TOWER, Run
from mmposter.runs.seen import TRAIN, VAL, SeenPosters, seen_through
from mmposter.training.checkpoint import TrainingProgress
from mmposter.training.gained import measure_gains
from mmposter.training.inputs import Inputs
from mmposter.training.loop import Scored, Trainer
from mmposter.training.outputs import write_card, write_plots
from mmposter.training.pictures import FOLDER as PICTURES
from mmposter.training.start import Start

if TYPE_CHECKING:
    from fusion import Backbone


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
        groups=np.array(dataset.table["group"].iloc[rows], dtype=object),
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
    seen, table = SeenPosters(), dataset.table[[name for name in ("sha256", "phash") if name in dataset.table]]
    for split in (TRAIN, VAL):
        seen = seen.with_more(SeenPosters.of(table.iloc[inputs.rows(split)], split))
    if weights is not None:
        seen = seen.with_more(seen_through(weights, config.cnn.init))
    before = None if start is None else SeenPosters.load(start.run.folder)
    return seen if before is None else seen.with_more(before)
