"""The training of a student: steps, averaged weights, rows of metrics, exact resume after any stop."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusion import (
    DistillationLoss,
    Distiller,
    Muon,
    convolution_weights,
    follow,
    hold_batch_norms,
    parameter_groups,
    renew_batch_norms,
    stage_shapes,
)
from mmposter.distillation.config import DistillationConfig
from mmposter.distillation.schedule import Schedule, Step
from mmposter.distillation.views import Batch, Places, Size, Views
from mmposter.engines.device import has_bf16
from mmposter.engines.interrupts import late_interrupt
from mmposter.errors import DivergedError, UserError
from mmposter.files.atomic import write_csv
from mmposter.files.strict_json import mapping, number, shown, whole
from mmposter.progress import progress as show_progress
from mmposter.training.checkpoint import load_checkpoint, save_checkpoint

STATE, METRICS = "state.safetensors", "metrics.csv"

SAVE_SECONDS = 300.0
_AHEAD = 3  # batches that are made while one is learnt from
_VAL_BATCH = 16
_NORM_BATCH = 16
_VAL_NORM_BATCHES, _LAST_NORM_BATCHES = 16, 40  # that batch norms are measured on
_BETAS = (0.9, 0.98)


@dataclass
class DistillationProgress:
    """Where a distillation stands."""

    step: int = 0  # the step to go on with, from 0
    sums: dict[str, float] = field(default_factory=dict)  # of every term of the loss since the last row
    since: int = 0  # steps behind `sums`
    seconds: float = 0.0  # spent so far
    history: list[dict[str, Any]] = field(default_factory=list)  # rows, as in metrics.csv

    def __post_init__(self) -> None:
        whole(self.step, "step")
        whole(self.since, "since")
        number(self.seconds, "seconds")
        for name, value in mapping(self.sums, "sums").items():
            number(value, name)
        if not isinstance(self.history, list):
            raise ValueError(f"history must be a list, got {shown(self.history)}")
        for row in self.history:
            mapping(row, "a row of history")


class DistillationLoop:
    """Trains one student, and keeps `state.safetensors` and `metrics.csv` in a folder.

    Attributes:
        average: the model with averaged weights, which are the result; its batch norms are measured where it is used.
        size: of the last phase's pictures, at which it is watched.
        progress: where it stands.

    Raises:
        UserError: a size that the student does not take.
    """

    def __init__(
        self,
        model: Distiller,
        loss: DistillationLoss,
        views: Views,
        schedule: Schedule,
        config: DistillationConfig,
        *,
        device: str,
        out: Path,
    ) -> None:
        self.views, self.schedule, self.config, self.device, self.out = views, schedule, config, device, out
        # Convolutions on a CPU are faster where a place's channels lie side by side.
        self._layout = torch.channels_last if device == "cpu" else torch.contiguous_format
        self.model = model.to(device).to(memory_format=self._layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.loss = loss.to(device)
        self.optimizer = self._optimizer()
        self.progress = DistillationProgress()
        self._held = False
        # bf16 needs no scaling of the loss, which would be one more thing to resume.
        self._half = has_bf16(device)
        self.size = schedule.phases[-1].size
        self._places = {size: self._places_of(size) for size in {phase.size for phase in schedule.phases}}

    def resume(self) -> bool:
        """Go on from `state.safetensors`; False if there is none yet."""
        path = self.out / STATE
        if not path.exists():
            return False
        self.progress = load_checkpoint(path, self._whole(), self.optimizer, DistillationProgress)
        return True

    def run(self, *, quiet: bool = False) -> DistillationProgress:
        """Train to the end. Ctrl-C ends it after the step, with the state kept.

        Raises:
            DivergedError: the loss is no number any more.
        """
        state, total = self.progress, self.schedule.total
        saved = began = time.monotonic()
        before = state.seconds
        self.model.train()
        self._held = state.step > 0 and self.schedule.at(state.step - 1).held
        if self._held:  # their statistics came with the state that is gone on with
            hold_batch_norms(self.model.student)
        with (
            late_interrupt() as interrupt,
            _made_ahead(self._batch, state.step, total) as batches,
            show_progress("distil", total, done=state.step, unit="step", quiet=quiet) as ticker,
        ):
            for images, targets in batches:
                now = self.schedule.at(state.step)
                if now.held and not self._held:
                    self._hold_norms()
                loss = self._step(images, targets, now)
                state.seconds = before + time.monotonic() - began
                if now.last or state.step % self.config.report_steps == 0:
                    self._report(now)
                ticker.advance(1, f"loss {loss:.3f}{self._watched()}")
                if interrupt.pressed or (time.monotonic() - saved > SAVE_SECONDS and state.step < total):
                    self._save()
                    saved = time.monotonic()
                if interrupt.pressed:
                    raise KeyboardInterrupt
        return state

    def finish(self) -> None:
        """Measure the batch norms of the averaged network for the last time, on more pictures than before.

        Those that were held while it learnt stay as they are.
        """
        self._renew(_LAST_NORM_BATCHES)

    def validate(self, *, constant: bool = False) -> dict[str, float]:
        """Every term of the loss on whole validation posters, with averaged weights.

        Args:
            constant: predictions that need no picture in place of the student's.
        """
        rows = self.views.posters.val
        sums: dict[str, float] = {}
        with torch.inference_mode():
            for start in range(0, len(rows), _VAL_BATCH):
                part = rows[start : start + _VAL_BATCH]
                images, targets = self.views.whole(part, self.size, self._places[self.size])
                predicted = self.loss.constant(targets) if constant else self._predict(self.average, images)
                for name, value in self.loss(predicted, targets).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(part)
        return {name: value / len(rows) for name, value in sums.items()}

    def _optimizer(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.model, self.config.weight_decay)
        if self.config.optimizer == "muon":
            return Muon(groups, convolution_weights(self.model.student), betas=_BETAS)
        return torch.optim.AdamW(groups, lr=1.0, betas=_BETAS, fused=True)

    def _batch(self, step: int) -> Batch:
        now = self.schedule.at(step)
        return self.views.random(step, now.batch, now.size, self._places[now.size], now.scale)

    def _step(self, images: Tensor, targets: Mapping[str, Tensor], now: Step) -> float:
        state = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = now.rate
        self.optimizer.zero_grad()
        terms = self.loss(self._predict(self.model, images), targets)
        loss = torch.stack(list(terms.values())).sum()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"the distillation diverged at step {state.step + 1}: the loss is no number any more.\n"
                "Take a smaller learning_rate in phases, or a longer warm-up (--set "
                f"warmup={self.config.warmup * 5})"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        state.step += 1
        state.since += 1
        for name, term in terms.items():
            state.sums[name] = state.sums.get(name, 0.0) + float(term.detach())
        follow(self.average, self.model, state.step, self.config.average)
        return value

    def _hold_norms(self) -> None:
        """From here on the network learns as it will be used: by fixed statistics, of the crops that come next."""
        step, student = self.progress.step, self.model.student
        coming = range(step, min(step + _LAST_NORM_BATCHES, self.schedule.total))
        with self._precision():
            renew_batch_norms(student, (self._batch(number)[0] for number in coming))
        for average, mine in zip(self.average.student.buffers(), student.buffers(), strict=True):
            average.copy_(mine)
        hold_batch_norms(student)
        self._held = True

    def _renew(self, batches: int) -> None:
        """Measure the batch norms of the averaged network: with the mean of the live one's it sees next to nothing."""
        if self._held:
            return
        student, views = self.average.student, self.views
        count = min(_NORM_BATCH, len(views.posters.train))
        with self._precision():
            renew_batch_norms(student, (views.plain(number, count, self.size) for number in range(batches)))

    def _predict(self, model: Distiller, images: Tensor) -> dict[str, Tensor]:
        with self._precision():
            predicted: dict[str, Tensor] = model(images.contiguous(memory_format=self._layout))
        return predicted

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self._half)

    def _report(self, now: Step) -> None:
        state = self.progress
        learnt = {name: value / state.since for name, value in state.sums.items()}
        self._renew(_VAL_NORM_BATCHES)
        watched = self.validate()
        state.history.append(
            {
                "step": state.step,
                "posters": now.shown + now.batch,
                "height": now.size[0],
                "width": now.size[1],
                "learning_rate": now.rate,
                "seconds": round(state.seconds, 1),
                "train_loss": sum(learnt.values()),
                "val_loss": sum(watched.values()),
                **{f"train:{name}": value for name, value in learnt.items()},
                **{f"val:{name}": value for name, value in watched.items()},
            }
        )
        state.sums, state.since = {}, 0
        write_csv(self.out / METRICS, state.history)

    def _watched(self) -> str:
        history = self.progress.history
        return f" validation {history[-1]['val_loss']:.3f}" if history else ""

    def _save(self) -> None:
        save_checkpoint(self.out / STATE, self._whole(), self.optimizer, vars(self.progress))

    def _whole(self) -> nn.Module:
        """All that is kept, the teachers' statistics too: a sum over posters may round otherwise with more threads."""
        return nn.ModuleDict({"model": self.model, "average": self.average, "loss": self.loss})

    def _places_of(self, size: Size) -> Places:
        """Height and width of the map of each hint, for a picture of this size."""
        try:
            shapes = stage_shapes(self.model.student, size)
        except ValueError as error:
            raise UserError(f"phases: {error}") from error
        return {hint.name: shapes[hint.student_stage][1:] for hint in self.model.hints}


@contextmanager
def _made_ahead(make: Any, first: int, total: int) -> Iterator[Iterator[Batch]]:
    """Batches of the steps from `first` on, made by a thread while the one before is learnt from."""
    # One thread that computes with one: it shall not take the cores from the student.
    with ThreadPoolExecutor(1, "views", initializer=partial(torch.set_num_threads, 1)) as pool:
        waiting: deque[Future[Batch]] = deque()

        def batches() -> Iterator[Batch]:
            for step in range(first, total):
                while len(waiting) < min(_AHEAD, total - step):
                    waiting.append(pool.submit(make, step + len(waiting)))
                yield waiting.popleft().result()

        try:
            yield batches()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(torch.get_num_threads())  # the pool's choice is that of new threads, too
