"""An ablation's cells, put into the groups that are shown together: one section and one mode, beside the reference."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmposter.config import BRANCHES
from mmposter.evaluation.ablation import HEADLINES, AblationResult, CellComparison, CellResult, Mode
from mmposter.evaluation.metrics import get_metric

LEAD = HEADLINES[0]
TITLES: Mapping[str, str] = {metric: get_metric(metric).title for metric in HEADLINES}
"""How people call the headline metrics, in their order."""

SUBSETS, LEAVE_ONE_OUT, ADD_ONE, CONTROLS = "subsets", "leave-one-out", "add-one", "controls"
MODES: tuple[Mode, ...] = ("retrain", "mask")
MODE_TITLES: Mapping[Mode, str] = {"retrain": "trained anew", "mask": "masked"}

_SECTION_TITLES = {
    SUBSETS: "Subsets of the branches",
    LEAVE_ONE_OUT: "Leaving one branch out",
    ADD_ONE: "Adding one branch",
    CONTROLS: "Controls",
}


@dataclass(frozen=True)
class CellGroup:
    """Cells of one section and one mode, in the order of the plan; the reference is always the first row."""

    section: str  # as in `CellResult`
    mode: Mode  # ``retrain`` or ``mask``
    cells: tuple[CellResult, ...]  # the group's own, without the reference
    reference: CellResult | None  # the full model, None where it is not finished
    borrowed: bool = False  # whether the cells are those of the section ``subsets``, shown here once more
    setting: str | None = None  # of an axis, the value that the reference has; else None

    @property
    def name(self) -> str:
        """Unique among the groups, safe as a file name and as an id."""
        return f"{slug(self.section)}-{self.mode}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{section_title(self.section)}, {MODE_TITLES[self.mode]}"

    @cached_property
    def rows(self) -> tuple[CellResult, ...]:
        """The reference, then the cells."""
        return self.cells if self.reference is None else (self.reference, *self.cells)

    def label(self, cell: CellResult) -> str:
        """The cell's label; the reference's says what it is, and on an axis which value it has."""
        if self.reference is None or cell.name != self.reference.name:
            missing = _missing(self.reference, cell)
            return f"without {missing}" if missing and self.section in (LEAVE_ONE_OUT, CONTROLS) else cell.label
        return "full model" if self.setting is None else f"full model, {self.setting}"


def slug(text: str) -> str:
    """Small letters, digits and hyphens, as ids and file names want them: ``train-batch-size``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def section_title(section: str) -> str:
    """The heading of a section; an axis is called by its configuration key."""
    return _SECTION_TITLES.get(section, f"Axis {section}")


def axes_of(result: AblationResult) -> list[str]:
    """The configuration keys that were varied, in the order of the plan."""
    sections = dict.fromkeys(cell.section for cell in result.cells if cell.name != result.reference)
    return [section for section in sections if section not in _SECTION_TITLES]


def groups(result: AblationResult) -> list[CellGroup]:
    """Every section and mode that has a finished cell besides the reference, in the order of a report."""
    order = [SUBSETS, LEAVE_ONE_OUT, ADD_ONE, CONTROLS, *axes_of(result)]
    found = (group(result, section, mode) for section in order for mode in MODES)
    return [one for one in found if one is not None]


def group(result: AblationResult, section: str, mode: Mode) -> CellGroup | None:
    """One section in one mode; None where it has no cell.

    Leaving one out is a part of all subsets, and a cell stands in one section only: where the section has no cell of
    its own, the subsets that lack exactly one branch are shown.
    """
    reference = result.full
    cells = tuple(
        cell for cell in result.cells if cell.section == section and cell.mode == mode and cell.name != result.reference
    )
    borrowed = False
    if section == LEAVE_ONE_OUT and not cells:
        cells, borrowed = tuple(without_one(result, mode).values()), True
    if not cells:
        return None
    axis = section not in _SECTION_TITLES
    setting = _setting(result.provenance.config, section) if axis else None
    return CellGroup(section, mode, cells, reference, borrowed, setting)


def without_one(result: AblationResult, mode: Mode) -> dict[str, CellResult]:
    """By branch, the cell that has all the reference's branches but that one, and no other change."""
    reference = result.full
    if reference is None:
        return {}
    candidates = [cell for cell in result.cells if cell.mode == mode and not cell.changes]
    # A section of its own before the subsets: its p-values are adjusted for these few questions.
    candidates.sort(key=lambda cell: cell.section != LEAVE_ONE_OUT)
    found = {}
    for branch in reference.branches:
        cell = next((cell for cell in candidates if _missing(reference, cell) == branch), None)
        if cell is not None:
            found[branch] = cell
    return found


def branches_of(result: AblationResult) -> tuple[str, ...]:
    """The branches that any cell looks at, in their usual order."""
    seen = {branch for cell in result.cells for branch in cell.branches}
    return (*(name for name in BRANCHES if name in seen), *sorted(seen - set(BRANCHES)))


def questions(result: AblationResult, group: CellGroup) -> list[tuple[CellResult, CellComparison]]:
    """The cells of a group with the comparisons that answer what they were made for.

    A branch added is compared with the model it was added to, a branch alone and changed with the same unchanged: that
    they differ from the full model is no news. On an axis or among controls, a model without a change is there only for
    others to be compared with.
    """
    found = []
    for cell in group.cells:
        others = [item for item in cell.comparisons if item.against != result.reference]
        if group.section in (SUBSETS, LEAVE_ONE_OUT):
            items = list(cell.comparisons)
        elif group.section == ADD_ONE:
            items = others
        elif not cell.changes:
            items = []
        elif group.reference is not None and cell.branches != group.reference.branches and others:
            items = others
        else:
            items = list(cell.comparisons)
        found += [(cell, item) for item in items]
    return found


def label_of(result: AblationResult, name: str, mode: Mode) -> str:
    """How a sentence calls the cell of that name: the full model, the model without a branch, or the cell's label.

    A cell of another mode than the one that is spoken of is said to be so.
    """
    if name == result.reference:
        return "the full model"
    cell = result.cell(name)
    if cell is None:
        return name
    missing = _missing(result.full, cell)
    # Of two branches the one that is left says more than the one that is not.
    label = f"the model without {missing}" if missing and len(cell.branches) > 1 else cell.label
    return label if cell.mode == mode else f"{label}, {MODE_TITLES[cell.mode]}"


def _missing(reference: CellResult | None, cell: CellResult) -> str | None:
    """The one branch that the cell lacks; None if it lacks none or several, or differs in more."""
    if reference is None or cell.changes:
        return None
    missing = [branch for branch in reference.branches if branch not in cell.branches]
    return missing[0] if len(missing) == 1 else None


def best_first(cell: CellResult) -> float:
    """A key that sorts cells by the leading metric, the best first and NaN last."""
    value = cell.metrics[LEAD].value
    return math.inf if math.isnan(value) else -value


def _setting(config: Mapping[str, Any], key: str) -> str | None:
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    *sections, last = key.split(".")
    # As the cells are labelled: `loss.name` is called loss.
    return f"{sections[-1] if sections and last == 'name' else last} = {in_yaml(value)}"


def in_yaml(value: Any) -> str:
    """A configuration value as YAML has it: ``null``, ``true``, ``[yolo, ocr]``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(in_yaml, value))}]" if isinstance(value, list | tuple) else str(value)
