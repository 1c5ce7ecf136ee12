"""Checkpoints: tensors in safetensors, everything else as JSON in their header; one file each, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mmposter.atomic import atomic_path
from mmposter.errors import UserError

StateT = TypeVar("StateT")


class Scaler(Protocol):
    """What scales the loss in half precision, as `torch.amp.GradScaler`: its scale grows and shrinks on the way."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        epoch: the epoch to go on with, from 0.
        batch: the batch of that epoch to go on with, from 0.
        step: optimiser steps taken.
        loss_sum: sum over the posters of this epoch so far of their losses.
        seen: the posters behind `loss_sum`.
        seconds: time spent on this epoch so far.
        best: the best validation mAP so far.
        best_epoch: where that was.
        finished: nothing is left to do.
        history: one row a finished epoch, as in metrics.jsonl.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = -1
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict atomically."""
    with atomic_path(path) as temporary:
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in state.items()}, temporary)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    scaler: Scaler | None = None,
) -> None:
    """Write all that an exact continuation needs: weights, the optimiser's moments, random states, progress.

    Args:
        path: the file.
        model: all of whose state dict is kept.
        optimizer: whose moments are kept.
        progress: values that JSON holds.
        scaler: of the loss in half precision; None in any other.
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
    with atomic_path(path) as temporary:
        save_file(
            {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, temporary, metadata
        )


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    make: Callable[..., StateT],
    scaler: Scaler | None = None,
) -> StateT:
    """Put model, optimiser and torch's generators into the state of `save_checkpoint`.

    Args:
        path: the file.
        model: as it was saved.
        optimizer: over the same parameters.
        make: takes the values of `progress` by their keys, such as `Progress`.
        scaler: of the loss in half precision. A checkpoint that holds none, as older ones, leaves it as it is.

    Returns:
        what `make` made.

    Raises:
        UserError: if the file is damaged or of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata()
        progress = make(**json.loads(metadata["progress"]))
        model.load_state_dict(_under(tensors, "model."))
        if scaler is not None and "scaler" in metadata:
            scaler.load_state_dict(json.loads(metadata["scaler"]))
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} cannot be resumed ({error}); start again with --overwrite") from error
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _under(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return progress


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
