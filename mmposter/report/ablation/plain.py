"""An ablation for programs: the whole result as JSON values, and its numbers as one long table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmposter.document.numbers import exact
from mmposter.evaluation.ablation import HEADLINES, AblationResult, CellComparison, CellResult
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.seeds import Estimate
from mmposter.files.spreadsheets import table_text
from mmposter.report.ablation.tables import CONSTANT

COLUMNS = (
    "section", "mode", "cell", "label", "metric", "value", "low", "high", "against", "difference", "difference_low",
    "difference_high", "p", "p_holm", "seeds", "by_seed",
)  # fmt: skip
"""Columns of `to_csv`. `metric` is a headline metric, or ``AP:`` and a genre. What is undefined is empty."""


def to_json(result: AblationResult) -> dict[str, Any]:
    """The whole result as plain JSON values, under the names of its attributes; what is undefined is null."""
    plain: dict[str, Any] = plain_values(result)
    compared = [item for cell in plain["cells"] for item in cell["comparisons"]] + plain["contributions"]
    for cell in plain["cells"]:  # nothing of these is adjusted
        for estimate in [*cell["over_constant"].values(), *cell["over_constant_by_genre"].values()]:
            del estimate["adjusted"]
    for found in [*plain["cells"], *compared]:
        for name, of in (("adjusted", "metrics"), ("adjusted_by_genre", "by_genre")):
            adjusted = {key: estimate.pop("adjusted") for key, estimate in found[of].items()}
            if "comparisons" not in found:  # of a comparison they stand beside all its estimates
                found[name] = adjusted
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
        for name, estimate in _named(result, item.metrics, item.by_genre):
            yield start | {"metric": name, **_value(estimate), **_p_values(estimate)}


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
    differences = {} if comparison is None else dict(_named(result, comparison.metrics, comparison.by_genre))
    for name, estimate in _named(result, cell.metrics, cell.by_genre):
        line = start | {"metric": name, **_value(estimate), "by_seed": " ".join(map(exact, cell.by_seed.get(name, ())))}
        if comparison is not None:
            difference = differences[name]
            line |= {"against": comparison.against, **_value(difference, "difference"), **_p_values(difference)}
        yield line


def _named(
    result: AblationResult, metrics: Mapping[str, Estimate], by_genre: Mapping[str, Estimate]
) -> Iterator[tuple[str, Estimate]]:
    yield from ((metric, metrics[metric]) for metric in HEADLINES)
    yield from ((f"AP:{genre}", by_genre[genre]) for genre in result.genres)


def _value(estimate: Estimate, kind: str = "") -> dict[str, str]:
    low, high = estimate.ci95 or (None, None)
    start = f"{kind}_" if kind else ""
    return {kind or "value": exact(estimate.value), f"{start}low": exact(low), f"{start}high": exact(high)}


def _p_values(difference: Estimate) -> dict[str, str]:
    return {"p": exact(difference.p_value), "p_holm": exact(difference.adjusted)}
