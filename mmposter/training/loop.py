"""The training loop: accelerate's device and precision, optimiser and schedule, early stopping, exact resume."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from fusion import ImageClassifier, Loss, PosterModel, follow, parameter_groups, probabilities
from mmposter.config import Config, TrainConfig
from mmposter.engines.parent import end_with_the_parent, lasts
from mmposter.errors import DivergedError
from mmposter.evaluation.thresholds import TELLING
from mmposter.evaluation.unseen import Unseen
from mmposter.files.atomic import write_text
from mmposter.files.tensors import save_tensors
from mmposter.progress import begin_step, step_on, warn
from mmposter.progress import progress as show_progress
from mmposter.training.batches import EpochSampler, PosterBatches, as_it_is, read_ahead
from mmposter.training.callbacks import TrainingCallback
from mmposter.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint
from mmposter.training.epochs import validation_columns
from mmposter.training.films import Films
from mmposter.training.processes import ALONE, Processes

# A long epoch (finetune) is not lost to a kill: the state is also kept in between, at most this often.
CHECKPOINT_SECONDS = 30.0
USUAL_EPOCHS = 16
"""Where the configuration names no number, and the posters are not few."""
BEST, LAST, METRICS = "best.safetensors", "last.safetensors", "metrics.jsonl"


class Scored(NamedTuple):
    """What a model says of M posters."""

    probs: NDArray[np.float32]  # M x G
    rows: NDArray[np.int64]  # M, which posters these are
    seen: NDArray[np.bool_]  # M, of which of them a branch that was looked at saw something


class Trainer:
    """Fits one model and keeps `best.safetensors`, `last.safetensors` and `metrics.jsonl` in the run folder `out`.

    What is frozen in the model is frozen before. `train` are the posters with augmentation, if any, `val` the same
    without; `train_rows` are learnt from, early stopping looks at `val_rows`. `unseen` is what is said of posters of
    which no branch sees anything. `loaders` processes make the batches (None: as many as ``train.workers`` says);
    `callbacks` look on. `processes` train together, each a part of every batch; the main one writes.
    """

    def __init__(
        self,
        model: PosterModel | ImageClassifier,
        loss: Loss,
        config: Config,
        accelerator: Accelerator,
        *,
        train: PosterBatches,
        val: PosterBatches,
        train_rows: Sequence[int],
        val_rows: Sequence[int],
        unseen: Unseen,
        out: Path,
        films: Films | None = None,
        loaders: int | None = None,
        callbacks: Sequence[TrainingCallback] = (),
        processes: Processes = ALONE,
    ) -> None:
        settings = config.train
        self.loaders = settings.workers if loaders is None else loaders
        self.unseen, self.processes = unseen, processes
        self.config, self.settings, self.accelerator, self.out = config, settings, accelerator, out
        self.train_data, self.val_data, self.val_rows = train, val, list(val_rows)
        self.sampler = EpochSampler(train_rows, settings.batch_size, seed=config.seed, places=train.places)
        train.sharing = (processes.rank, processes.world_size)
        steps = len(self.sampler)
        self.epochs, self.patience = passes(settings, steps)
        # Of a handful of posters the mAP is luck, and so would be the choice of an epoch.
        self.tells = int((val.labels[self.val_rows].sum(dim=1) > 0).sum()) >= TELLING
        self.keeps_last = settings.keep == "last" or not self.tells
        self.total_steps = steps * self.epochs
        groups = parameter_groups(
            model, settings.weight_decay, settings.learning_rate, settings.backbone_learning_rate, settings.lr
        )
        optimizer = build_optimizer(groups, settings)
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        processes.share_state(model)
        if train.pictures is not None and accelerator.device.type == "cpu":
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Not as accelerate prepares it for a training of several processes: see `mmposter.training.processes`.
        self.model: nn.Module = accelerator.prepare_model(model, evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.average: nn.Module | None = None
        if settings.average:
            self.average = copy.deepcopy(self.plain_model).eval().requires_grad_(False)
        self.loss = loss.to(accelerator.device)
        self.films = films
        if films is not None:
            self.film_offsets = films.offsets(loss, train.labels[np.asarray(train_rows)]).to(accelerator.device)
        self.progress = TrainingProgress()
        self.callbacks = tuple(callbacks) if processes.main else ()

    @property
    def plain_model(self) -> PosterModel | ImageClassifier:
        """The model without what accelerate wraps around it."""
        return cast("PosterModel | ImageClassifier", self.accelerator.unwrap_model(self.model))

    def resume(self) -> None:
        """Go on from `last.safetensors`, if it is there yet."""
        path, scaler = self.out / LAST, self.accelerator.scaler
        if path.exists():
            self.progress = load_checkpoint(path, self._whole(), self.optimizer.optimizer, TrainingProgress, scaler)

    def fit(self, *, quiet: bool = False) -> TrainingProgress:
        """Train to the last epoch or until validation mAP has not risen for `patience` epochs.

        With fewer than `TELLING` validation posters that is the last epoch, and its weights are kept.

        Raises:
            DivergedError: the loss is no number any more, and no better epoch was kept before.
        """
        state = self.progress
        if state.finished:
            return state
        with (
            self._looking_on(),
            show_progress("train", self.epochs, done=state.epoch, unit="epoch", quiet=quiet) as ticker,
        ):
            while not state.finished:
                whole = state.batch == 0  # an earlier, stopped run may have begun this epoch
                ticker.begin_part(1, 1)
                try:
                    self._train_epoch()
                    row = self._end_epoch()
                except DivergedError as error:
                    if self.keeps_last or state.best_epoch < 0:
                        raise
                    kept = f"kept is epoch {state.best_epoch + 1}, the best before"
                    if self.processes.main:
                        warn(f"{error}\n{kept}")
                    state.finished = True
                    break
                quality = f" val mAP {row['val_map']:.4f}" if self.tells else ""
                (ticker.advance if whole else ticker.skip)(1, f"loss {row['train_loss']:.4f}{quality}")
        return state

    @contextmanager
    def _looking_on(self) -> Iterator[None]:
        """Tell the callbacks when the training begins and, however that is, ends."""
        begun: list[TrainingCallback] = []
        try:
            for callback in self.callbacks:
                begun.append(callback)
                callback.on_start(self.out, self.config)
            yield
        finally:
            for callback in begun:
                callback.on_end(self.progress)

    def _is_stopped(self, row: dict[str, Any]) -> bool:
        """Whether a callback ends the training after this epoch; the main process asks them for all."""

        def ask() -> bool:
            asked = [bool(callback.on_epoch_end(dict(row))) for callback in self.callbacks]  # each of them, always
            return any(asked)

        return self.processes.from_main(ask)

    def predict(
        self, rows: Sequence[int], only: Sequence[str] | None = None, data: PosterBatches | None = None
    ) -> Scored:
        """Posters of `data` (None: the validation's) by row, see `predict_rows`; with the answer `unseen`."""
        return self._predict(self.model, rows, self.val_data if data is None else data, only)

    def _predict(
        self, model: nn.Module, rows: Sequence[int], data: PosterBatches, only: Sequence[str] | None = None
    ) -> Scored:
        own = self.processes.share(rows)
        part = predict_rows(self.accelerator, model, data, own, self.config, only, workers=self.loaders)
        found = Scored(*map(np.concatenate, zip(*self.processes.gather(part), strict=True)))
        return found._replace(probs=self.unseen.fill(found.probs, found.seen))

    def _train_epoch(self) -> None:
        state = self.progress
        self.train_data.epoch = self.sampler.epoch = state.epoch
        self.sampler.start = state.batch
        loader = _on_device(_loader(self.train_data, self.sampler, self.loaders), self.accelerator)
        self.model.train()
        saved = began = time.monotonic()
        before = state.seconds
        begin_step("batch", len(loader))
        # A batch of tables that are read from disk is read while the one before it is learnt from.
        for inputs, labels, rows in loader if self.train_data.places is None else read_ahead(loader):
            if len(rows):  # not one of its posters could be decoded otherwise
                with _one_row(self.model) if len(rows) == 1 else nullcontext():
                    loss = self._step(inputs, labels, len(loader))
                if not math.isfinite(loss):
                    raise self._diverged("the loss is")
                state.loss_sum += loss * len(rows)
                state.seen += len(rows)
            state.step += 1
            state.batch += 1
            step_on()
            state.seconds = before + time.monotonic() - began
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save(LAST)
                saved = time.monotonic()

    def _step(self, inputs: dict[str, torch.Tensor], labels: torch.Tensor, steps: int) -> float:
        factor = self._rate_factor()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad()
        part = self.processes.part(len(labels))
        with self.processes.seeing(part), self.accelerator.autocast():
            logits = self.model(inputs)
        loss = self.loss(self.processes.whole(logits.float(), part, len(labels)), labels)
        self.accelerator.backward(loss / part.copies)
        if self.films is not None:
            self._learn_films(self.films, steps)
        self.processes.sum_gradients(self.model.parameters())
        if self.settings.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            follow(self.average, self.plain_model, self.progress.step + 1, self.settings.average)
        return float(loss.detach())

    def _learn_films(self, films: Films, steps: int) -> None:
        """Add the gradient of some films without a poster, through the one branch that reads titles."""
        device, state = self.accelerator.device, self.progress
        inputs, labels = films.batch(state.epoch, state.batch, steps)
        part = self.processes.part(len(labels))
        with self.processes.seeing(part), self.accelerator.autocast():
            own = {name: value[part.rows].to(device) for name, value in inputs.items()}
            logits = self.plain_model(own, [films.branch])
        whole = self.processes.whole(logits.float(), part, len(labels))
        loss = self.loss(whole + self.film_offsets, labels.to(device))
        self.accelerator.backward(films.weight * loss / part.copies)

    def _rate_factor(self) -> float:
        return rate_factor(self.progress.step, self.total_steps, self.settings.warmup, self.settings.schedule)

    def _end_epoch(self) -> dict[str, Any]:
        state = self.progress
        kept = self.model if self.average is None else self.average
        probs, rows, _ = self._predict(kept, self.val_rows, self.val_data)
        if np.isnan(probs).any():  # a batch norm's running statistics may overflow where a batch's own do not
            raise self._diverged("scores of validation posters are")
        target = self.val_data.labels[rows].numpy()
        columns = self.processes.from_main(lambda: validation_columns(target, probs, self.config))
        val_map = columns["val_map"]
        row = {
            "epoch": state.epoch,
            "step": state.step,
            "lr": self.settings.learning_rate * self._rate_factor(),
            "train_loss": state.loss_sum / max(state.seen, 1),
            **columns,
            "seconds": round(state.seconds, 3),
        }
        state.history.append(row)
        if self.keeps_last or val_map > state.best:
            state.best, state.best_epoch = val_map, state.epoch
            if self.processes.main:
                best = self.plain_model if self.average is None else self.average
                save_tensors(self.out / BEST, best.state_dict())
        waited = state.epoch - state.best_epoch
        state.finished = state.epoch + 1 >= self.epochs or (not self.keeps_last and waited >= self.patience)
        state.finished = self._is_stopped(row) or state.finished
        state.epoch, state.batch, state.loss_sum, state.seen, state.seconds = state.epoch + 1, 0, 0.0, 0, 0.0
        self._save(LAST)
        if self.processes.main:
            write_text(self.out / METRICS, "".join(json.dumps(line) + "\n" for line in state.history))
        return row

    def _diverged(self, what: str) -> DivergedError:
        # Seen with oneDNN's AMX kernels: a strided convolution of a map of 4 x 3 places gives NaN from 16 pictures on.
        half = self.accelerator.mixed_precision
        other = "" if half == "no" else f"; or {half} was too coarse, or is at fault here: --set train.precision=fp32"
        return DivergedError(
            f"training diverged in epoch {self.progress.epoch + 1}: {what} no number any more.\n"
            f"Take a smaller rate (--set train.learning_rate={self.settings.learning_rate / 10:g}, with a tower also "
            "train.backbone_learning_rate, and train.lr of a branch), or clip the gradients (--set train.clip_norm=1)"
            f"{other}"
        )

    def _save(self, name: str) -> None:
        if self.processes.main:
            progress, scaler = vars(self.progress), self.accelerator.scaler
            save_checkpoint(self.out / name, self._whole(), self.optimizer.optimizer, progress, scaler)

    def _whole(self) -> nn.Module:
        """All weights that a continuation needs."""
        if self.average is None:
            return self.plain_model
        return nn.ModuleDict({"model": self.plain_model, "average": self.average})


def passes(settings: TrainConfig, steps: int) -> tuple[int, int]:
    """How many passes of `steps` steps are made at most, and after how many without a better one they end."""
    if settings.epochs is not None:
        return settings.epochs, settings.patience
    epochs = max(USUAL_EPOCHS, math.ceil(settings.min_steps / steps))
    return epochs, math.ceil(settings.patience * epochs / USUAL_EPOCHS)


@contextmanager
def _one_row(model: nn.Module) -> Iterator[None]:
    """Let batch norms use their running statistics, and not change them: one poster has no variance."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def predict_rows(
    accelerator: Accelerator,
    model: nn.Module,
    data: PosterBatches,
    rows: Sequence[int],
    config: Config,
    only: Sequence[str] | None = None,
    *,
    workers: int | None = None,
) -> Scored:
    """What the model says of posters, in the order of `rows`; those that cannot be decoded are left out.

    In evaluation mode, and by this process alone. Where the genres exclude each other, the probabilities of a poster
    sum to 1. `workers` processes make the batches; None: as many as ``train.workers`` says.
    """
    sampler = EpochSampler(rows, max(config.train.batch_size, 64), shuffle=False)
    loader = _on_device(_loader(data, sampler, config.train.workers if workers is None else workers), accelerator)
    model.eval()
    plain = cast("PosterModel | ImageClassifier", accelerator.unwrap_model(model))
    wanted = np.array(rows, np.int64)
    names, place = np.unique(wanted, return_inverse=True)
    probs = np.zeros((len(names), data.labels.shape[1]), np.float32)
    seen, known = np.zeros(len(names), np.bool_), np.zeros(len(names), np.bool_)
    with torch.inference_mode():
        for inputs, _, numbers in loader:
            if len(numbers) == 0:  # not one poster of this batch could be decoded
                continue
            with accelerator.autocast():
                logits = model(inputs, only)
            at = np.searchsorted(names, numbers.cpu().numpy())
            probs[at] = probabilities(logits, single_label=config.single_label).cpu().numpy()
            seen[at], known[at] = plain.sees(inputs, only).cpu().numpy(), True
    place = place[known[place]]
    return Scored(probs[place], names[place], seen[place])


def build_optimizer(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that `config` names, over `fusion.parameter_groups`, which hold rates and weight decay."""
    rate = config.learning_rate
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=True)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, momentum=config.momentum)
    return (torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW)(groups, lr=rate, fused=True)


def rate_factor(step: int, total: int, warmup: float, schedule: str = "cosine") -> float:
    """The learning rate's factor at a step: up to 1 in the warm-up, then to 0 along a cosine, or 1 if ``constant``."""
    warm = max(1, round(total * warmup))
    if step < warm:
        return (step + 1) / warm
    if schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _loader(data: PosterBatches, sampler: EpochSampler, workers: int) -> DataLoader[Any]:
    # A generator of its own: DataLoader draws one number from the global one at each start, and a training that is
    # resumed in the middle of an epoch starts once more than one that is not.
    return DataLoader(
        data,
        batch_sampler=sampler,
        collate_fn=as_it_is,
        num_workers=workers,
        generator=torch.Generator(),
        worker_init_fn=partial(_tied, at_once=lasts()) if workers else None,
    )


def _on_device(loader: DataLoader[Any], accelerator: Accelerator) -> DataLoader[Any]:
    """Batches on the device of this process. Which part of them is its own, the posters' batches know themselves."""
    placed: DataLoader[Any] = prepare_data_loader(
        loader, accelerator.device, num_processes=1, process_index=0, put_on_device=True
    )
    return placed


def _tied(_number: int, *, at_once: bool) -> None:
    end_with_the_parent(at_once=at_once)
