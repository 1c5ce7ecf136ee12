"""Honest metrics: every number beside the best constant answer's, with an interval over posters.

`evaluate` does it all in one call; the parts are `metrics`, `constant`, `bootstrap` and `thresholds`. All is NumPy and
loads no torch; `plots` loads matplotlib, inside its functions.
"""

from __future__ import annotations

from mmposter.evaluation.bootstrap import bootstrap_ci, bootstrap_difference
from mmposter.evaluation.constant import ConstantPredictor
from mmposter.evaluation.evaluate import Evaluation, GenreResult, MetricResult, evaluate
from mmposter.evaluation.intervals import Difference
from mmposter.evaluation.metrics import METRICS, Metric, compute_metrics, get_metric, mean_average_precision
from mmposter.evaluation.single_label import SINGLE_LABEL_METRICS, SingleLabelResult, single_label_metrics
from mmposter.evaluation.thresholds import apply_thresholds, tune_thresholds

__all__ = [
    "METRICS",
    "SINGLE_LABEL_METRICS",
    "ConstantPredictor",
    "Difference",
    "Evaluation",
    "GenreResult",
    "Metric",
    "MetricResult",
    "SingleLabelResult",
    "apply_thresholds",
    "bootstrap_ci",
    "bootstrap_difference",
    "compute_metrics",
    "evaluate",
    "get_metric",
    "mean_average_precision",
    "single_label_metrics",
    "tune_thresholds",
]
