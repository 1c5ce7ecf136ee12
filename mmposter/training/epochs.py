"""What an epoch is worth on the validation posters: its columns in metrics.jsonl and metrics.csv."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.config import Config
from mmposter.evaluation import METRICS, SINGLE_LABEL_METRICS
from mmposter.evaluation.arrays import is_single_label
from mmposter.evaluation.thresholds import NEVER, apply_thresholds

UNTUNED = 0.5
"""The threshold of every genre where the run's own are tuned: that happens after the last epoch."""

_METRIC = {metric.name: metric for metric in (*METRICS, *SINGLE_LABEL_METRICS)}


def validation_columns(target: NDArray[np.float32], probs: NDArray[np.float32], config: Config) -> dict[str, float]:
    """Loss, mAP, accuracy, precision, recall and OF1 of one epoch, by column.

    Accuracy is R-precision, which is the accuracy where a poster has one genre. Precision and recall are overall (OP,
    OR), or macro means where the run gives one genre a poster: there the overall ones are the accuracy again.

    Args:
        target: N x G of {0, 1}.
        probs: N x G in 0-1, none NaN.
        config: of the run; says how probabilities become genres, `UNTUNED` in place of thresholds that are tuned.

    Raises:
        UserError: no poster has a genre.
    """
    said = config.evaluation.thresholds
    limit = {"tuned": UNTUNED, "top1": NEVER}[said] if isinstance(said, str) else said
    decided = apply_thresholds(probs, np.full(target.shape[1], limit), config.evaluation.empty)
    kind = "macro" if config.single_label and is_single_label(target) else "overall"
    wanted = {
        "val_map": "mean_average_precision",
        "val_accuracy": "r_precision",
        "val_precision": f"{kind}_precision",
        "val_recall": f"{kind}_recall",
        "val_of1": "overall_f1",
    }
    found = {"val_loss": _log_loss(target, probs.astype(np.float64), config.single_label)}
    for column, name in wanted.items():
        metric = _METRIC[name]
        found[column] = metric.value(target, decided if metric.kind == "decision" else probs)
    return found


def _log_loss(target: NDArray[Any], probs: NDArray[np.float64], single_label: bool) -> float:
    """Mean over the posters and genres, or with one genre a poster the mean of -log of what it got."""
    clipped = np.clip(probs, 1e-7, 1 - 1e-7)
    if single_label:
        return float(-(target * np.log(clipped)).sum(axis=1).mean())
    return float(-(target * np.log(clipped) + (1 - target) * np.log(1 - clipped)).mean())
