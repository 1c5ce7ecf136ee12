"""What may look on while a model is trained: a person's own code, and experiment trackers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposter.config import Config, flat_config
from mmposter.engines.trackers import TENSORBOARD, make_tracker
from mmposter.errors import UserError
from mmposter.files.strict_json import shorten
from mmposter.progress import say

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker

    from mmposter.training.checkpoint import TrainingProgress


class TrainingCallback:
    """Base of what is given to ``train(..., callbacks=[...])``; override what you need.

    Under torchrun the main process alone calls it. An exception that it raises ends the training; what was finished is
    kept. A training that is resumed and was finished before calls nothing.
    """

    def on_start(self, folder: Path, config: Config) -> None:
        """Before the first epoch, or the first one after a resume.

        Args:
            folder: the run folder.
            config: as resolved.
        """

    def on_epoch_end(self, metrics: Mapping[str, float]) -> bool | None:
        """After each epoch, when its validation posters were scored.

        Args:
            metrics: as in ``metrics.jsonl``: ``epoch`` (from 0), ``step``, ``lr``, ``train_loss``, ``val_loss``,
                ``val_map`` and the others.

        Returns:
            True to stop after this epoch; the best (or last) weights are kept, as when patience ends. A later resume
            does not go on.
        """

    def on_end(self, progress: TrainingProgress) -> None:
        """When training has ended, however it ended.

        Args:
            progress: ``history`` has a row for each epoch; ``finished`` is False where it was interrupted.
        """


class TrackerCallback(TrainingCallback):
    """Sends each epoch's metrics to experiment trackers.

    A tracker that cannot begin ends the training before it starts. One that fails later is given up with a warning: a
    training of hours is worth more than its curves.

    Args:
        names: as in ``train.trackers``.
        accelerator: which trackers of accelerate ask whether this is the main process.
        offline: make no network request.
    """

    def __init__(self, names: Sequence[str], accelerator: Accelerator, *, offline: bool) -> None:
        self.names, self.accelerator, self.offline = tuple(names), accelerator, offline

    def on_start(self, folder: Path, config: Config) -> None:
        settings = {key: _plain(value) for key, value in flat_config(config.model_dump(mode="json")).items()}
        begun: list[GeneralTracker] = []
        try:
            for name in self.names:
                self._begin(name, folder, settings)
                begun += self.accelerator.trackers
        finally:
            self.accelerator.trackers = begun

    def _begin(self, name: str, folder: Path, settings: dict[str, Any]) -> None:
        """One tracker alone, for accelerate begins all that it has, each time."""
        try:
            self.accelerator.trackers = []
            self.accelerator.log_with = [make_tracker(name, folder, offline=self.offline)]
            self.accelerator.init_trackers(name)
            if name != TENSORBOARD:  # which would make a folder of its own for them; they are in model.json
                self.accelerator.trackers[0].store_init_configuration(settings)
        except UserError:
            raise
        except Exception as error:  # of whichever service is behind it
            raise UserError(
                f"the tracker {name} cannot begin ({type(error).__name__}: {shorten(str(error))}).\nMend that, or "
                "leave it out of train.trackers"
            ) from error

    def on_epoch_end(self, metrics: Mapping[str, float]) -> bool | None:
        values = {key: value for key, value in metrics.items() if key not in ("epoch", "step", "seconds")}
        for tracker in list(self.accelerator.trackers):
            self._try(tracker, partial(tracker.log, values, step=int(metrics["epoch"])))
        return None

    def on_end(self, progress: TrainingProgress) -> None:
        for tracker in list(self.accelerator.trackers):
            self._try(tracker, tracker.finish)
        self.accelerator.trackers = []

    def _try(self, tracker: GeneralTracker, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # as above
            say(f"warning: the tracker {tracker.name} is given up ({type(error).__name__}: {shorten(str(error))})")
            self.accelerator.trackers.remove(tracker)


def _plain(value: Any) -> bool | int | float | str:
    """A value as every tracker takes it."""
    return value if isinstance(value, bool | int | float | str) else str(value)
