"""Run folders side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmposter.config import comparable
from mmposter.errors import UserError
from mmposter.evaluation.thresholds import TELLING
from mmposter.files.plain import MEGABYTE
from mmposter.files.strict_json import mapping, number, parse_json, read_json, read_text, texts
from mmposter.shell import command_line

# Kept as text, not imported from mmposter.runs.run: a listing should not wait for torch.
MODEL, _METRICS = "model.json", "metrics.jsonl"
_LARGEST = 16 * MEGABYTE


@dataclass(frozen=True)
class RunSummary:
    """One line of the listing."""

    name: str  # the folder below the listed one
    branches: tuple[str, ...]  # what the model looks at
    regime: str  # ``features`` or ``finetune``
    state: str  # ``finished``, ``stopped`` or ``damaged``
    epochs: int  # finished ones
    val_map: float | None  # the best validation mAP; None before the first epoch, and of too few posters to tell
    differences: Mapping[str, Any]  # configuration keys that are not the same in all listed runs

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "branches": list(self.branches), "differences": dict(self.differences)}


def list_runs(folder: Path) -> list[RunSummary]:
    """All run folders below `folder`, the best validation mAP first.

    Raises:
        UserError: if there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        training = command_line("mmposter", "train", "DATA", "--out", folder / "NAME")
        raise UserError(f"there is no folder {folder}; train something first: {training}")
    models = sorted(folder.rglob(MODEL))
    if not models:
        raise UserError(f"{folder} holds no run folder (a folder with a {MODEL})")
    read = {path.parent: _read(path) for path in models}
    flat = {run: comparable(values["config"]) for run, values in read.items() if values is not None}
    keys = dict.fromkeys(key for config in flat.values() for key in config)
    varying = [key for key in keys if len({json.dumps(config.get(key)) for config in flat.values()}) > 1]
    summaries = [_summary(folder, run, values, flat.get(run, {}), varying) for run, values in read.items()]
    return sorted(summaries, key=lambda run: (-(run.val_map if run.val_map is not None else -1.0), run.name))


def is_finished(run: Path) -> bool:
    """Whether the training of a run folder has ended; one that is damaged has not."""
    values = _read(run / MODEL)
    return values is not None and _has_ended(values)


def _has_ended(values: Mapping[str, Any]) -> bool:
    return values.get("thresholds") is not None


def _summary(
    folder: Path, run: Path, values: Mapping[str, Any] | None, config: Mapping[str, Any], varying: list[str]
) -> RunSummary:
    name = str(run.relative_to(folder)) if run != folder else run.resolve().name
    if values is None:
        return RunSummary(name, (), "", "damaged", 0, None, {})
    scores = values["val_map"]
    return RunSummary(
        name=name,
        branches=tuple(config["branches"]),
        regime=config["regime"],
        state="finished" if _has_ended(values) else "stopped",
        epochs=len(scores),
        val_map=None if _too_few(values) else max(scores, default=None),
        differences={key: config.get(key) for key in varying if key not in ("branches", "regime")},
    )


def _too_few(values: Mapping[str, Any]) -> bool:
    """Whether so few posters were watched that their mAP says nothing."""
    facts = values.get("facts")
    count = facts.get("val_posters") if isinstance(facts, dict) else None
    return isinstance(count, int) and count < TELLING


def _read(path: Path) -> dict[str, Any] | None:
    """`model.json` with the validation mAP of every epoch as ``val_map``; None where either file is damaged."""
    try:
        values = mapping(read_json(path, limit=_LARGEST), MODEL)
        scores = _scores(path.with_name(_METRICS))
        config = mapping(values["config"], "config")
        readable = bool(texts(config["branches"], "branches")) and isinstance(config["regime"], str)
    except (UserError, ValueError, KeyError, OSError):
        return None
    return {**values, "val_map": scores} if readable else None


def _scores(metrics: Path) -> list[float]:
    if not metrics.is_file():
        return []
    lines = (parse_json(line, metrics) for line in read_text(metrics, limit=_LARGEST).splitlines() if line)
    return [number(mapping(row, "a line")["val_map"], "val_map") for row in lines]
