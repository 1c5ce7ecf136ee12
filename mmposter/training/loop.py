"""The training loop: accelerate's device and precision, optimiser and schedule, early stopping, exact resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from fusion import ImageClassifier, Loss, PosterModel, parameter_groups, probabilities
from mmposter.config import TrainConfig
from mmposter.engines.parent import end_with_the_parent, lasts
from mmposter.errors import DivergedError, UserError
from mmposter.evaluation.metrics import mean_average_precision
from mmposter.files.atomic import write_text
from mmposter.files.tensors import save_tensors
from mmposter.progress import console
from mmposter.progress import progress as show_progress
from mmposter.training.batches import EpochSampler, PosterBatches
from mmposter.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint

# A long epoch (finetune) is not lost to a kill: the state is also kept in between, at most this often.
CHECKPOINT_SECONDS = 30.0
BEST, LAST, METRICS = "best.safetensors", "last.safetensors", "metrics.jsonl"


class Trainer:
    """Fits one model and keeps `best.safetensors`, `last.safetensors` and `metrics.jsonl` in the run folder.

    Args:
        model: what learns; freeze first.
        loss: of logits and labels, both B x G.
        config: how.
        accelerator: device and precision.
        train: posters with augmentation, if any.
        val: the same posters without.
        train_rows: rows to learn from.
        val_rows: rows that early stopping looks at.
        seed: of the order of posters.
        out: the run folder.
        single_label: whether the genres exclude each other.
    """

    def __init__(
        self,
        model: PosterModel | ImageClassifier,
        loss: Loss,
        config: TrainConfig,
        accelerator: Accelerator,
        *,
        train: PosterBatches,
        val: PosterBatches,
        train_rows: Sequence[int],
        val_rows: Sequence[int],
        seed: int,
        out: Path,
        single_label: bool = False,
    ) -> None:
        self.config, self.accelerator, self.out, self.single_label = config, accelerator, out, single_label
        self.train_data, self.val_data, self.val_rows = train, val, list(val_rows)
        self.sampler = EpochSampler(train_rows, config.batch_size, seed=seed)
        # Under torchrun each process takes every n-th batch.
        self.total_steps = math.ceil(len(self.sampler) / accelerator.num_processes) * config.epochs
        groups = parameter_groups(model, config.weight_decay, config.learning_rate, config.backbone_learning_rate)
        optimizer = build_optimizer(groups, config)
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.model: nn.Module
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.loss = loss.to(accelerator.device)
        self.progress = TrainingProgress()
        self.board = _tensorboard(out) if config.tensorboard and accelerator.is_main_process else None

    @property
    def plain_model(self) -> PosterModel | ImageClassifier:
        """The model without what accelerate wraps around it."""
        model: PosterModel | ImageClassifier = self.accelerator.unwrap_model(self.model)
        return model

    def resume(self) -> bool:
        """Go on from `last.safetensors`; False if there is none yet."""
        path = self.out / LAST
        if not path.exists():
            return False
        self.progress = load_checkpoint(
            path, self.plain_model, self.optimizer.optimizer, TrainingProgress, self.accelerator.scaler
        )
        return True

    def fit(self, *, quiet: bool = False) -> TrainingProgress:
        """Train to the last epoch or until validation mAP has not risen for `patience` epochs.

        Raises:
            DivergedError: the loss is no number any more, and no better epoch was kept before.
        """
        state = self.progress
        if state.finished:
            return state
        with show_progress("train", self.config.epochs, done=state.epoch, quiet=quiet) as ticker:
            while not state.finished:
                try:
                    self._train_epoch()
                    row = self._end_epoch()
                except DivergedError as error:
                    if self.config.keep == "last" or state.best_epoch < 0:
                        raise
                    kept = f"kept is epoch {state.best_epoch + 1}, the best before"
                    console.print(f"{error}\n{kept}", highlight=False, soft_wrap=True)
                    state.finished = True
                    break
                ticker.advance(1, f"loss {row['train_loss']:.4f} val mAP {row['val_map']:.4f}")
        return state

    def predict(self, rows: Sequence[int], only: Sequence[str] | None = None) -> tuple[NDArray[np.float32], Any]:
        """Probabilities of posters by row.

        Returns:
            probs M x G and the M rows they belong to; rows that could not be decoded are left out.
        """
        return predict_rows(
            self.accelerator, self.model, self.val_data, rows, self.config, only, single_label=self.single_label
        )

    def _train_epoch(self) -> None:
        state = self.progress
        self.train_data.epoch = self.sampler.epoch = state.epoch
        self.sampler.start = state.batch * self.accelerator.num_processes
        loader = self.accelerator.prepare(_loader(self.train_data, self.sampler, self.config.workers))
        self.model.train()
        saved = began = time.monotonic()
        before = state.seconds
        for inputs, labels, rows in loader:
            if len(rows) > 1:
                loss = self._step(inputs, labels)
                if not math.isfinite(loss):
                    raise self._diverged("the loss is")
                state.loss_sum += loss * len(rows)
                state.seen += len(rows)
            state.step += 1
            state.batch += 1
            state.seconds = before + time.monotonic() - began
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save(LAST)
                saved = time.monotonic()

    def _step(self, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> float:
        factor = rate_factor(self.progress.step, self.total_steps, self.config.warmup, self.config.schedule)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad()
        with self.accelerator.autocast():
            logits = self.model(inputs)
        loss = self.loss(logits.float(), labels)
        self.accelerator.backward(loss)
        if self.config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return float(loss.detach())

    def _end_epoch(self) -> dict[str, Any]:
        state = self.progress
        probs, rows = self.predict(self.val_rows)
        if np.isnan(probs).any():  # a batch norm's running statistics may overflow where a batch's own do not
            raise self._diverged("scores of validation posters are")
        target = self.val_data.labels[rows].numpy()
        val_map = mean_average_precision(target, probs)
        val_loss = _log_loss(target, probs.astype(np.float64), self.single_label)
        row = {
            "epoch": state.epoch,
            "step": state.step,
            "lr": self.rates[0] * rate_factor(state.step, self.total_steps, self.config.warmup, self.config.schedule),
            "train_loss": state.loss_sum / max(state.seen, 1),
            "val_loss": val_loss,
            "val_map": float(val_map),
            "seconds": round(state.seconds, 3),
        }
        state.history.append(row)
        last = self.config.keep == "last"
        if last or val_map > state.best:
            state.best, state.best_epoch = float(val_map), state.epoch
            if self.accelerator.is_main_process:
                save_tensors(self.out / BEST, self.plain_model.state_dict())
        waited = state.epoch - state.best_epoch
        state.finished = state.epoch + 1 >= self.config.epochs or (not last and waited >= self.config.patience)
        state.epoch, state.batch, state.loss_sum, state.seen, state.seconds = state.epoch + 1, 0, 0.0, 0, 0.0
        self._save(LAST)
        if self.accelerator.is_main_process:
            write_text(self.out / METRICS, "".join(json.dumps(line) + "\n" for line in state.history))
            if self.board is not None:
                for name in ("train_loss", "val_loss", "val_map", "lr"):
                    self.board.add_scalar(name, row[name], row["epoch"])
                self.board.flush()
        return row

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"training diverged in epoch {self.progress.epoch + 1}: {what} no number any more.\n"
            f"Take a smaller rate (--set train.learning_rate={self.config.learning_rate / 10:g}, with a tower also "
            "train.backbone_learning_rate), or clip the gradients (--set train.clip_norm=1)"
        )

    def _save(self, name: str) -> None:
        if self.accelerator.is_main_process:
            progress, scaler = vars(self.progress), self.accelerator.scaler
            save_checkpoint(self.out / name, self.plain_model, self.optimizer.optimizer, progress, scaler)


def _tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise UserError("train.tensorboard needs TensorBoard; run: pip install 'mmposter[tensorboard]'") from error
    return SummaryWriter(str(out / "tensorboard"))  # type: ignore[no-untyped-call]


def predict_rows(
    accelerator: Accelerator,
    model: nn.Module,
    data: PosterBatches,
    rows: Sequence[int],
    config: TrainConfig,
    only: Sequence[str] | None = None,
    *,
    single_label: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities of posters by row, in evaluation mode; with `single_label` those of a poster sum to 1.

    Returns:
        probs M x G in 0-1 and the M rows, in the order of `rows`; posters that could not be decoded are left out.
    """
    sampler = EpochSampler(rows, max(config.batch_size, 64), shuffle=False)
    loader = accelerator.prepare(_loader(data, sampler, config.workers))
    model.eval()
    found: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for inputs, _, numbers in loader:
            if len(numbers) == 0:  # not one poster of this batch could be decoded
                continue
            with accelerator.autocast():
                logits = model(inputs, only)
            probs = probabilities(logits, single_label=single_label).cpu().numpy()
            found |= dict(zip(numbers.tolist(), probs, strict=True))
    # Several processes may each have some posters, and some twice, to fill the last batch: collected by row. (Not
    # accelerate's gather_for_metrics: it counts what to drop from the length of the data set, not of these rows.)
    everywhere = {row: scores for part in gather_object([found]) for row, scores in part.items()}
    seen = np.array([row for row in rows if row in everywhere], np.int64)
    if not len(seen):
        return np.zeros((0, data.labels.shape[1]), np.float32), seen
    return np.stack([everywhere[int(row)] for row in seen]), seen


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


def _log_loss(target: NDArray[Any], probs: NDArray[np.float64], single_label: bool) -> float:
    """Mean over the posters and genres, or with one genre a poster the mean of -log of what it got."""
    clipped = np.clip(probs, 1e-7, 1 - 1e-7)
    if single_label:
        return float(-(target * np.log(clipped)).sum(axis=1).mean())
    return float(-(target * np.log(clipped) + (1 - target) * np.log(1 - clipped)).mean())


def _loader(data: PosterBatches, sampler: EpochSampler, workers: int) -> DataLoader[Any]:
    collate: Callable[[Any], Any] = data.collate
    # A generator of its own: DataLoader draws one number from the global one at each start, and a training that is
    # resumed in the middle of an epoch starts once more than one that is not.
    return DataLoader(
        data,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator(),
        worker_init_fn=partial(_tied, at_once=lasts()) if workers else None,
    )


def _tied(_number: int, *, at_once: bool) -> None:
    end_with_the_parent(at_once=at_once)
