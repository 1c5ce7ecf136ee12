"""Figures of an ablation, each a matplotlib `Figure`, 900 pixels wide, with what it was made from along its edge."""

from __future__ import annotations

from mmposter.report.ablation.plots.dots import plot_differences, plot_modes, plot_values
from mmposter.report.ablation.plots.genres import plot_genres
from mmposter.report.ablation.plots.upset import plot_subsets

__all__ = ["plot_differences", "plot_genres", "plot_modes", "plot_subsets", "plot_values"]
