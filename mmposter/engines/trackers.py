"""Experiment trackers: TensorBoard, Weights & Biases and MLflow, by the classes of accelerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from mmposter.errors import UserError
from mmposter.shell import command_line

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

TENSORBOARD, WANDB, MLFLOW = "tensorboard", "wandb", "mlflow"
_PROJECT = "mmposter"
_LOCAL = ("file:", "sqlite:", "/", ".")  # what an MLflow address on this machine begins with

SECTION, EARLIER = "train", "tensorboard"
"""Once ``train.tensorboard`` was a key of its own, true or false."""


def _listed(value: Any) -> Any:
    """``tensorboard,wandb`` as a list; each once."""
    names = [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
    return list(dict.fromkeys(names)) if isinstance(names, list | tuple) else names


Trackers = Annotated[tuple[Literal["tensorboard", "wandb", "mlflow"], ...], BeforeValidator(_listed)]
"""The type of the key ``train.trackers``."""


def with_trackers(values: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration, of this version or an earlier one, with ``train.trackers`` in place of
    ``train.tensorboard``.

    >>> with_trackers({"train": {"tensorboard": True}})
    {'train': {'trackers': ['tensorboard']}}
    """
    section = values.get(SECTION)
    if not isinstance(section, Mapping) or not isinstance(section.get(EARLIER), bool):
        return dict(values)
    wanted = section[EARLIER]
    names = _listed(section.get("trackers", []))
    if not isinstance(names, list):
        return dict(values)
    others = [name for name in names if name != TENSORBOARD]
    kept = {key: value for key, value in section.items() if key not in (EARLIER, "trackers")}
    return {**values, SECTION: {**kept, "trackers": [TENSORBOARD, *others] if wanted else others}}


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose packages are not here, before anything else is done.

    Raises:
        UserError: naming them all, and what to type.
    """
    if missing := [name for name in names if find_spec(name) is None]:
        installing = command_line("pip", "install", f"mmposter[{','.join(missing)}]")
        raise UserError(
            f"train.trackers={','.join(names)} needs {' and '.join(missing)}; type: {installing}\n"
            "Or leave it out: --set train.trackers=[]"
        )


def make_tracker(name: str, folder: Path, *, offline: bool) -> GeneralTracker:
    """A tracker that has not begun.

    TensorBoard writes into ``folder/tensorboard``; the other two where their own settings say (``WANDB_DIR``,
    ``MLFLOW_TRACKING_URI``), into the project, or experiment, `mmposter`, as a run called as the folder is.

    Args:
        name: ``tensorboard``, ``wandb`` or ``mlflow``.
        folder: of the run.
        offline: make no network request: wandb keeps its run on this machine.

    Raises:
        UserError: offline, and MLflow would log to another machine.
    """
    from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker

    called = folder.resolve().name
    if name == TENSORBOARD:
        return TensorBoardTracker(TENSORBOARD, folder)
    if name == WANDB:
        return WandBTracker(_PROJECT, name=called, **({"mode": "offline"} if offline else {}))
    if offline:
        _require_local_mlflow()
    return MLflowTracker(_PROJECT, run_name=called)


def _require_local_mlflow() -> None:
    import mlflow

    address = str(mlflow.get_tracking_uri())
    if not address.startswith(_LOCAL):
        raise UserError(
            f"--offline makes no network request, and MLflow logs to {address}.\nName a place on this machine: "
            "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
        )
