"""Checkpoints: tensors in safetensors, everything else as JSON in their header; one file each, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.amp import GradScaler

from mmposter.config import differences
from mmposter.errors import UserError
from mmposter.files.strict_json import mapping, number, parse_json, shorten, shown, sound, whole
from mmposter.files.tensors import load_tensors, save_tensors, tensor_metadata

StateT = TypeVar("StateT")

_MEND = "start again with --overwrite"


@dataclass
class TrainingProgress:
    """Where a training stands."""

    epoch: int = 0  # the epoch to go on with, from 0
    batch: int = 0  # the batch of that epoch to go on with, from 0
    step: int = 0  # optimiser steps taken
    loss_sum: float = 0.0  # sum over the posters of this epoch so far of their losses
    seen: int = 0  # the posters behind `loss_sum`
    seconds: float = 0.0  # time spent on this epoch so far
    best: float = -1.0  # the best validation mAP so far
    best_epoch: int = -1  # where that was
    finished: bool = False  # nothing is left to do
    history: list[dict[str, Any]] = field(default_factory=list)  # one row a finished epoch, as in metrics.jsonl

    def __post_init__(self) -> None:
        for name in ("epoch", "batch", "step", "seen"):
            whole(getattr(self, name), name)
        whole(self.best_epoch, "best_epoch", least=-1)
        for name in ("loss_sum", "seconds", "best"):
            number(getattr(self, name), name)
        if not isinstance(self.finished, bool) or not isinstance(self.history, list):
            raise ValueError(f"finished and history must be true or false and a list, got {shown(self.history)}")
        for row in self.history:
            mapping(row, "a row of history")

    @property
    def told(self) -> str:
        """Where a training goes on, in words."""
        if self.finished:
            return "all epochs were trained before; the model is measured once more"
        return f"going on in epoch {self.epoch + 1}, after {self.batch} of its batches"


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    scaler: GradScaler | None = None,
) -> None:
    """Write all that an exact continuation needs: weights, the optimiser's moments, random states, progress.

    `progress` holds values that JSON has; `scaler` is that of the loss in half precision, None in any other.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    metadata = {"progress": json.dumps(dict(progress))}
    if scaler is not None:
        metadata["scaler"] = json.dumps(scaler.state_dict())
    save_tensors(path, tensors, metadata)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    make: Callable[..., StateT],
    scaler: GradScaler | None = None,
) -> StateT:
    """Put model, optimiser and torch's generators into the state of `save_checkpoint`; returns what `make` made.

    `make` takes the values of `progress` by their keys, such as `TrainingProgress`. A checkpoint that holds no state of
    a `scaler`, as older ones, leaves it as it is.

    Raises:
        UserError: if the file is damaged or of another model.
    """
    tensors = load_tensors(path)
    progress = read_progress(path, make)
    with sound(path, _MEND):
        said = tensor_metadata(path)
        scale = mapping(parse_json(said["scaler"], path, mend=_MEND), "scaler") if "scaler" in said else None
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _under(tensors, "optimizer.").items():
            index, name = key.split(".", 1)
            states.setdefault(int(index), {})[name] = value
        random = tensors["rng.cpu"]
    try:
        model.load_state_dict(_under(tensors, "model."))
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        _lay_out(optimizer)
        if scaler is not None and scale is not None:
            scaler.load_state_dict(dict(scale))
        torch.set_rng_state(random)
        if "rng.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["rng.cuda"])
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be resumed ({shorten(str(error))}); {_MEND}") from error
    return progress


def read_progress(path: Path, make: Callable[..., StateT]) -> StateT:
    """What `make` makes of the progress that a checkpoint tells of, without its tensors (UserError: it is damaged)."""
    with sound(path, _MEND):
        return make(**mapping(parse_json(tensor_metadata(path)["progress"], path, mend=_MEND), "progress"))


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the layout of their weights: fused optimisers go through both in the order of memory."""
    for weights, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == weights.shape and value.stride() != weights.stride():
                state[name] = torch.empty_like(weights, dtype=value.dtype).copy_(value)


def require_same_config(out: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on in `out` with another configuration than it was started with; both in plain values."""
    pairs = differences(there, now)
    if pairs:
        lines = [f"  {key}: {old!r} there, {new!r} now" for key, (old, new) in pairs.items()]
        raise UserError(
            f"{out} was started with another configuration:\n" + "\n".join(lines) + "\n"
            "Give the same one to resume, or another --out"
        )


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
