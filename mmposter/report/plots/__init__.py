"""Figures of an evaluation and of a training run. Each function returns a matplotlib `Figure`, 900 pixels wide.

matplotlib loads inside the functions.
"""

from __future__ import annotations

from mmposter.report.plots.balance import plot_genre_balance
from mmposter.report.plots.confusion import plot_confusion
from mmposter.report.plots.cooccurrence import plot_cooccurrence
from mmposter.report.plots.genres import plot_average_precision, plot_precision_recall
from mmposter.report.plots.reliability import plot_reliability
from mmposter.report.plots.training import plot_training_curves

__all__ = [
    "plot_average_precision",
    "plot_confusion",
    "plot_cooccurrence",
    "plot_genre_balance",
    "plot_precision_recall",
    "plot_reliability",
    "plot_training_curves",
]
