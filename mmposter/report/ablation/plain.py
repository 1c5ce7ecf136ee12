"""An ablation for programs: the whole result as JSON values, and its numbers as one long table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mmposter.document.numbers import exact
from mmposter.evaluation.ablation import HEADLINES, AblationResult, CellComparison, CellResult
from mmposter.evaluation.seeds import Estimate
from mmposter.files.spreadsheets import table_text
from mmposter.report.ablation.tables import CONSTANT, contribution_p_values

COLUMNS = (
    "section", "mode", "cell", "label", "metric", "value", "low", "high", "against", "difference", "difference_low",
    "difference_high", "p", "p_holm", "seeds", "by_seed",
)  # fmt: skip
"""Columns of `to_csv`. `metric` is a headline metric, or ``AP:`` and a genre. What is undefined is empty."""


def to_json(result: AblationResult) -> dict[str, Any]:
    """The whole result as plain JSON values, under the names of its attributes; what is undefined is null."""
    plain = plain_values(result)
    assert isinstance(plain, dict)
    return plain


def to_csv(result: AblationResult) -> str:
    """One line for each cell, metric and comparison, numbers in full precision.

    A cell with several comparisons has as many lines a metric, which repeat its value. The constant answer has the
    section ``constant``; what the branches add has the section ``contributions``, and its value is a difference.
    """
    rows = ([line.get(column, "") for column in COLUMNS] for line in _lines(result))
    return table_text(COLUMNS, rows, line_end="\n")


def _lines(result: AblationResult) -> Iterator[dict[str, str]]:
    for cell in result.cells:
        for comparison in cell.comparisons or (None,):
            yield from _cell_lines(result, cell, comparison)
    constant = {"section": "constant", "cell": "constant", "label": CONSTANT}
    for metric in HEADLINES:
        yield constant | {"metric": metric, "value": exact(result.constant[metric])}
    for genre in result.genres:
        yield constant | {"metric": f"AP:{genre}", "value": exact(result.constant_by_genre[genre])}
    for item in result.contributions:
        start = {"section": "contributions", "mode": item.mode, "cell": item.branch, "label": item.branch}
        for metric in HEADLINES:
            adjusted = contribution_p_values(result, item.mode, metric)[item.branch]
            yield start | {"metric": metric, **_contribution(item.metrics[metric], adjusted)}
        for genre in result.genres:
            adjusted = item.adjusted_by_genre.get(genre)
            yield start | {"metric": f"AP:{genre}", **_contribution(item.by_genre[genre], adjusted)}


def _cell_lines(
    result: AblationResult, cell: CellResult, comparison: CellComparison | None
) -> Iterator[dict[str, str]]:
    start = {
        "section": cell.section,
        "mode": cell.mode,
        "cell": cell.name,
        "label": cell.label,
        "seeds": " ".join(map(str, cell.seeds)),
    }
    for metric in HEADLINES:
        line = start | {"metric": metric, **_value(cell.metrics[metric])}
        line["by_seed"] = " ".join(map(exact, cell.by_seed[metric]))
        if comparison is not None:
            line |= _difference(comparison, comparison.metrics[metric], comparison.adjusted.get(metric))
        yield line
    for genre in result.genres:
        line = start | {"metric": f"AP:{genre}", **_value(cell.by_genre[genre])}
        if comparison is not None:
            line |= _difference(comparison, comparison.by_genre[genre], comparison.adjusted_by_genre.get(genre))
        yield line


def _value(estimate: Estimate) -> dict[str, str]:
    low, high = estimate.ci95 or (None, None)
    return {"value": exact(estimate.value), "low": exact(low), "high": exact(high)}


def _contribution(estimate: Estimate, adjusted: float | None) -> dict[str, str]:
    return {**_value(estimate), "p": exact(estimate.p_value), "p_holm": exact(adjusted)}


def _difference(comparison: CellComparison, estimate: Estimate, adjusted: float | None) -> dict[str, str]:
    low, high = estimate.ci95 or (None, None)
    return {
        "against": comparison.against,
        "difference": exact(estimate.value),
        "difference_low": exact(low),
        "difference_high": exact(high),
        "p": exact(estimate.p_value),
        "p_holm": exact(adjusted),
    }


def plain_values(value: Any) -> Any:
    """`value` as JSON has it: mappings, lists and numbers; a tuple is a list, what is not finite is None."""
    if is_dataclass(value):
        return {item.name: plain_values(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
