"""The tables of an ablation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmposter.document.blocks import Emphasis, TableBlock
from mmposter.document.numbers import DASH
from mmposter.evaluation.ablation import HEADLINES, AblationResult, CellComparison, CellResult, Mode
from mmposter.report.ablation.numbers import (
    carried,
    interval,
    number,
    origin,
    p_value,
    signed,
    signed_interval,
    verdict,
)
from mmposter.report.ablation.sections import ADD_ONE, LEAD, MODE_TITLES, SUBSETS, TITLES, CellGroup, label_of

FEW_SEEDS = 5
CONSTANT = "best constant answer"
BETTER, WORSE = "↑", "↓"
LEAD_TITLE = TITLES[LEAD]
OTHERS = HEADLINES[1:]

_VERDICTS: Mapping[str, Emphasis] = {"better": "good", "worse": "bad", "not told apart": "muted"}


def cells_table(result: AblationResult, group: CellGroup) -> TableBlock:
    """A group's cells with headline metrics, the difference to the full model, and the constant answer."""
    several = any(len(cell.seeds) > 1 for cell in group.rows)
    header = [
        "branches" if group.section in (SUBSETS, ADD_ONE) else "model",
        LEAD_TITLE,
        "95 % interval",
        "difference",
        "95 % interval",
        "p (Holm)",
        "verdict",
        *(TITLES[metric] for metric in OTHERS),
    ]
    best = best_of(result, group)
    rows, marks = [], dict[int, Emphasis]()
    for place, cell in enumerate(group.rows):
        comparison = result.against_full(cell)
        if cell.name == result.reference:
            marks[place] = "strong"
        elif cell is best:
            marks[place] = "good"
        texts = [
            _row_label(result, group, cell) + (" (best)" if cell is best else ""),
            number(cell.metrics[LEAD].value),
            interval(cell.metrics[LEAD].ci95),
            *(_difference(comparison) if comparison else [""] * 4),
            *(number(cell.metrics[metric].value) for metric in OTHERS),
        ]
        rows.append([*texts, *([_by_seed(cell)] if several else [])])
    constant = [CONSTANT, number(result.constant[LEAD]), *[""] * 5, *(number(result.constant[m]) for m in OTHERS)]
    marks[len(rows)] = "muted"
    rows.append([*constant, *([""] if several else [])])
    return _table(
        group.name,
        f"{group.title}: {LEAD_TITLE}, and its difference to the full model",
        [*header, *([f"{LEAD_TITLE} by seed"] if several else [])],
        rows,
        f"{LEAD_TITLE} is the mean over seeds. p (Holm): adjusted over all comparisons of "
        f"{_adjusted_over(group)}. Best row marked only where its interval carries it. {origin(result.provenance)}.",
        left=(header.index("verdict"),),
        marks=marks,
    )


def comparisons_table(result: AblationResult, group: CellGroup) -> TableBlock | None:
    """The group's comparisons with other cells than the full model; None where there is none."""
    rows = [
        [group.label(cell), label_of(result, item.against, cell.mode), item.why, *_difference(item)]
        for cell in group.cells
        for item in cell.comparisons
        if item.against != result.reference
    ]
    if not rows:
        return None
    return _table(
        f"{group.name}-compared",
        f"{group.title}: against other models than the full one",
        ("model", "against", "which is", f"{LEAD_TITLE} difference", "95 % interval", "p (Holm)", "verdict"),
        rows,
        f"Difference: model minus the one it stands against, paired by poster. {origin(result.provenance)}.",
        left=(1, 2, 6),
    )


def genres_table(result: AblationResult, group: CellGroup) -> TableBlock:
    """Average precision of each genre (rows, the most frequent first) in each of the group's cells (columns)."""
    rows = []
    for genre, support in result.genres_by_support():
        values = [_genre_value(result, cell, genre) for cell in group.rows]
        constant = number(result.constant_by_genre[genre]) if support else DASH
        rows.append([genre, str(support), constant, *values])
    mean = [f"{LEAD_TITLE} (mean)", "", number(result.constant[LEAD])]
    rows.append([*mean, *(number(cell.metrics[LEAD].value) for cell in group.rows)])
    return _table(
        f"{group.name}-genres",
        f"Average precision by genre: {group.title}",
        ("genre", "posters", "constant", *(group.label(cell) for cell in group.rows)),
        rows,
        f"{BETTER} {WORSE}: better or worse than the full model, p < .05 by Holm over all comparisons and genres of "
        f"{_adjusted_over(group)}. {origin(result.provenance)}.",
    )


def contributions_table(result: AblationResult, mode: Mode) -> TableBlock | None:
    """What each branch adds by its Shapley value; None where not all subsets were measured."""
    found = result.contributions_of(mode)
    if not found:
        return None
    rows = [
        [
            branch,
            signed(item.metrics[LEAD].value),
            signed_interval(item.metrics[LEAD].ci95),
            p_value(item.metrics[LEAD].adjusted),
            *(
                text
                for metric in OTHERS
                for text in (signed(item.metrics[metric].value), signed_interval(item.metrics[metric].ci95))
            ),
        ]
        for branch, item in found.items()
    ]
    return _table(
        f"contributions-{mode}",
        f"What each branch adds (Shapley value), {MODE_TITLES[mode]}",
        (
            "branch",
            f"{LEAD_TITLE} added",
            "95 % interval",
            "p (Holm)",
            *(text for metric in OTHERS for text in (f"{TITLES[metric]} added", "95 % interval")),
        ),
        rows,
        "Mean of what the branch adds to every subset of the others; the values sum to the full model minus the best "
        f"constant answer. p (Holm): over the branches. {origin(result.provenance)}.",
    )


def best_of(result: AblationResult, group: CellGroup) -> CellResult | None:
    """The group's best cell by the leading metric, if its interval says that it is better than the full model."""
    known = [cell for cell in group.cells if not math.isnan(cell.metrics[LEAD].value)]
    if not known:
        return None
    best = max(known, key=lambda cell: cell.metrics[LEAD].value)
    comparison = result.against_full(best)
    if comparison is None or carried(comparison.metrics[LEAD]) != 1:
        return None
    return best


def all_tables(result: AblationResult, found: Sequence[CellGroup]) -> list[TableBlock]:
    """Every table of a report: those of each group, then the contributions, then the genres."""
    tables: list[TableBlock | None] = []
    for group in found:
        tables += [cells_table(result, group), comparisons_table(result, group)]
    tables += [contributions_table(result, mode) for mode in MODE_TITLES]
    tables += [genres_table(result, group) for group in found]
    return [table for table in tables if table is not None]


def _table(
    name: str,
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    note: str,
    left: Sequence[int] = (),
    marks: Mapping[int, Emphasis] | None = None,
) -> TableBlock:
    """A table whose verdicts and arrows stand out; `left` are columns of words, `marks` rows that stand out."""
    emphasis: dict[tuple[int, int | None], Emphasis] = {(row, None): mark for row, mark in (marks or {}).items()}
    for at, row in enumerate(rows):
        for column, text in enumerate(row):
            if text in _VERDICTS:
                emphasis[at, column] = _VERDICTS[text]
            elif text.endswith((f" {BETTER}", f" {WORSE}")):
                emphasis[at, column] = "good" if text.endswith(BETTER) else "bad"
    align = "".join("l" if i == 0 or i in left else "r" for i in range(len(header)))
    # A verdict stays on one line.
    rows = [[text.replace(" ", "\N{NO-BREAK SPACE}") if text in _VERDICTS else text for text in row] for row in rows]
    return TableBlock(title, header, rows, align, emphasis, name, note)


def _row_label(result: AblationResult, group: CellGroup, cell: CellResult) -> str:
    label = group.label(cell)
    if cell.name == result.reference:
        label = f"{', '.join(cell.branches) if group.section == SUBSETS else label} (reference)"
    wanted = len(result.provenance.seeds)
    return label if len(cell.seeds) >= wanted else f"{label} ({len(cell.seeds)} of {wanted} seeds)"


def _difference(comparison: CellComparison) -> list[str]:
    found = comparison.metrics[LEAD]
    return [signed(found.value), signed_interval(found.ci95), p_value(found.adjusted), verdict(found)]


def _by_seed(cell: CellResult) -> str:
    values = cell.by_seed[LEAD]
    if len(values) <= FEW_SEEDS:
        return " ".join(number(value) for value in values)
    return f"{len(values)} seeds, {interval((min(values), max(values)))}"


def _genre_value(result: AblationResult, cell: CellResult, genre: str) -> str:
    text = number(cell.by_genre[genre].value)
    comparison = result.against_full(cell)
    if comparison is None or text == DASH:
        return text
    side = carried(comparison.by_genre[genre])
    return text + {1: f" {BETTER}", -1: f" {WORSE}", 0: ""}[side]


def _adjusted_over(group: CellGroup) -> str:
    where = "their own section" if group.borrowed else f"“{group.title}”"
    return f"{where}, those against other models included"
