"""What an ablation found, in sentences: nothing that a 95 % interval and Holm's p-value do not carry.

A difference is called a rise or a fall only where `carried` says so; all others are "not told apart", which is not
"equal". Every sentence holds its numbers and their interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from mmposter.evaluation.ablation import AblationResult, CellComparison, CellResult, Contribution, Mode
from mmposter.evaluation.seeds import Estimate
from mmposter.report.ablation.numbers import (
    carried,
    difference_in_words,
    number,
    p_value,
    size_in_words,
    value_in_words,
)
from mmposter.report.ablation.sections import (
    ADD_ONE,
    CONTROLS,
    LEAD,
    MODE_TITLES,
    MODES,
    SUBSETS,
    TITLES,
    axes_of,
    group,
    label_of,
    questions,
    without_one,
)

METRIC = TITLES[LEAD]
MOST_NAMED = 6
"""Genres or subsets named in one sentence, the largest changes first; tables and figures hold all."""

_LEFT_OUT = {"retrain": "trained anew without {}", "mask": "with {} masked"}


def findings(result: AblationResult) -> list[str]:
    """Plain sentences, the most important first; empty where nothing is finished.

    Args:
        result: an ablation, finished or not.
    """
    parts = [_full_model(result), _smaller(result), _branches(result, "retrain")]
    # Once: what the masked model loses by genre stands in its figure and tables.
    lead = next((mode for mode in MODES if without_one(result, mode)), None)
    if lead is not None:
        parts += [_genres(result, lead), _no_help(result, lead)]
    parts += [_single(result, ADD_ONE, "Adding one branch,"), _single(result, CONTROLS, "Control")]
    parts += [_axis(result, key) for key in axes_of(result)]
    parts += [_branches(result, "mask"), _modes(result)]
    return list(chain.from_iterable(parts))


def _full_model(result: AblationResult) -> Iterable[str]:
    full = result.full
    if full is None:
        return
    value, over, constant = full.metrics[LEAD], full.over_constant[LEAD], number(result.constant[LEAD])
    if over.ci95 is None:
        verdict = f"too few posters for an interval; the best constant answer has {constant}"
    elif over.ci95[0] > 0:
        verdict = f"better than the best constant answer's {constant}, by {size_in_words(over)}"
    elif over.ci95[1] < 0:
        verdict = f"worse than the best constant answer's {constant}, by {size_in_words(over)}"
    else:
        verdict = f"not told apart from the best constant answer's {constant}, {difference_in_words(over)}"
    yield f"The full model ({', '.join(full.branches)}) has {METRIC} {value_in_words(value)}: {verdict}."


def _smaller(result: AblationResult) -> Iterable[str]:
    """Subsets that beat the full model, and the smallest ones that may be as good."""
    subsets = group(result, SUBSETS, "retrain")
    full = result.full
    if subsets is None or full is None:
        return
    compared = [(cell, _lead(result, cell)) for cell in subsets.cells if len(cell.branches) < len(full.branches)]
    known = [(cell, found) for cell, found in compared if found is not None]
    for cell, found in known:
        if found.side > 0:
            yield f"Fewer branches do better: {cell.label} has {METRIC} higher than the full model by {found.size}."
    near = [(cell, found) for cell, found in known if found.spans_zero]
    if near:
        least = min(len(cell.branches) for cell, _ in near)
        named = "; ".join(f"{cell.label}, {found.open}" for cell, found in near if len(cell.branches) == least)
        yield (
            f"The smallest subsets that are not told apart from the full model, as the interval of {METRIC} minus the "
            f"full model's holds zero: {named}."
        )


def _branches(result: AblationResult, mode: Mode) -> Iterable[str]:
    """One sentence a branch: what leaving it out changes, and what it adds on average over all subsets."""
    left_out = without_one(result, mode)
    added = result.contributions_of(mode)
    full = result.full
    for branch in full.branches if full else ():
        clauses = []
        found = _lead(result, left_out[branch]) if branch in left_out else None
        if found is not None:
            clauses.append(f"{_LEFT_OUT[mode].format(branch)}, {_change(found)}")
        if branch in added:
            mean = _added(_Judged(added[branch].metrics[LEAD]))
            clauses.append(f"averaged over all subsets of the others ({MODE_TITLES[mode]}), {mean}")
        if clauses:
            yield f"{branch}: {'; '.join(clauses)}."


def _genres(result: AblationResult, mode: Mode) -> Iterable[str]:
    """Genres that a branch carries: by leaving it out, else by its average over all subsets."""
    full = result.full
    added = result.contributions_of(mode)
    cells = without_one(result, mode)
    for branch in full.branches if full else ():
        cell = cells.get(branch)
        comparison = result.against_full(cell) if cell else None
        falls, rises = (_carried_genres(result, comparison, side) for side in (-1, 1))
        where = f"{_LEFT_OUT[mode].format(branch)}, AP"
        if falls:
            yield f"Genres that need {branch}: {where} falls for {_listed(falls)}."
        if rises:
            yield f"Genres that do better when {branch} is left out: {where} rises for {_listed(rises)}."
        if full and cell:
            yield from _nothing_left(result, full, cell, branch, falls)
        if branch in added:
            more = {g: e for g, e in _carried_genres(result, added[branch], 1).items() if g not in falls}
            less = {g: e for g, e in _carried_genres(result, added[branch], -1).items() if g not in rises}
            beside = ", where leaving it out of the full model is not told apart from keeping it" if cell else ""
            mean = f"Averaged over all subsets of the others ({MODE_TITLES[mode]}), {branch}"
            if more:
                yield f"{mean} adds AP to {_listed(more)}{beside}."
            if less:
                yield f"{mean} takes AP from {_listed(less)}{beside}."


def _nothing_left(
    result: AblationResult, full: CellResult, cell: CellResult, branch: str, falls: dict[str, Estimate]
) -> Iterable[str]:
    """Genres that fall to the constant answer's value without the branch, though the full model is better."""
    named = []
    for genre in falls:
        constant = result.constant_by_genre[genre]
        left, whole = cell.over_constant_by_genre[genre], full.over_constant_by_genre[genre]
        if left.ci95 is not None and left.ci95[0] <= 0 and whole.ci95 is not None and whole.ci95[0] > 0:
            named.append(f"{genre}, {value_in_words(cell.by_genre[genre])} against {number(constant)}")
    if named:
        yield (
            f"No signal shown without {branch}: {_LEFT_OUT[cell.mode].format(branch)}, AP is not told apart from the "
            f"best constant answer's for {_first(named)}."
        )


def _no_help(result: AblationResult, mode: Mode) -> Iterable[str]:
    """Branches that are not shown to help, neither on the whole nor in any genre."""
    cells, added = without_one(result, mode), result.contributions_of(mode)
    for branch, cell in cells.items():
        found = _lead(result, cell)
        if (
            found is None
            or found.side < 0
            or found.value.ci95 is None
            or _carried_genres(result, result.against_full(cell), -1)
        ):
            continue
        if branch in added and (carried(added[branch].metrics[LEAD]) > 0 or _carried_genres(result, added[branch], 1)):
            continue
        yield (
            f"No help shown from {branch} ({MODE_TITLES[mode]}), in {METRIC} or in any genre: {METRIC} without it "
            f"minus the full model's is {difference_in_words(found.value)}."
        )


def _single(result: AblationResult, section: str, what: str) -> Iterable[str]:
    """One sentence a cell of a section: against the full model, or against what it was made to be compared with."""
    for mode in MODES:
        found = group(result, section, mode)
        clauses: dict[str, list[str]] = {}
        for cell, item in questions(result, found) if found else ():
            clauses.setdefault(cell.label, []).append(_against(result, cell, item))
        for label, some in clauses.items():
            yield f"{what} “{label}” ({MODE_TITLES[mode]}): {'; '.join(some)}."


def _against(result: AblationResult, cell: CellResult, comparison: CellComparison) -> str:
    found, other = _Judged(comparison.metrics[LEAD]), label_of(result, comparison.against, cell.mode)
    if not other.startswith("the ") and comparison.why:
        other = comparison.why if other in comparison.why else f"{other} ({comparison.why})"
    if found.side == 0:
        return f"{METRIC} not told apart from that of {other}, {found.open}"
    return f"{METRIC} {'higher' if found.side > 0 else 'lower'} than that of {other} by {found.size}"


def _axis(result: AblationResult, key: str) -> Iterable[str]:
    for mode in MODES:
        found = group(result, key, mode)
        if found is None:
            continue
        clauses = []
        for cell, item in questions(result, found):
            change, same = _Judged(item.metrics[LEAD]), item.against == result.reference
            other = "" if same else label_of(result, item.against, mode)
            if change.side:
                word = "better" if change.side > 0 else "worse"
                clauses.append(f"{cell.label} is {word}{other and f' than {other}'} by {change.size} {METRIC}")
            else:
                clauses.append(f"{cell.label} is not told apart{other and f' from {other}'} ({METRIC} {change.open})")
        if clauses:
            base = f"the base, {found.setting}" if found.setting else "the base"
            yield f"`{key}`, against {base}: {'; '.join(clauses)}."


def _modes(result: AblationResult) -> Iterable[str]:
    """Masking against retraining, where cells were compared so: one sentence for all subsets."""
    found = []
    for cell in result.cells:
        for item in cell.comparisons if cell.mode == "mask" and not cell.changes else ():
            other = result.cell(item.against)
            if other is not None and other.mode == "retrain" and other.branches == cell.branches:
                found.append((", ".join(cell.branches), _Judged(item.metrics[LEAD])))
    for sign, word in ((-1, "lower"), (1, "higher")):
        some = sorted(((n, f) for n, f in found if f.side == sign), key=lambda pair: -abs(pair[1].value.value))
        if some:
            named = _first([f"{names} by {judged.size}" for names, judged in some])
            yield f"Masking gives a {word} {METRIC} than training anew on the same branches: {named}."
    if unsure := [f"{names} ({judged.open})" for names, judged in found if judged.side == 0]:
        yield f"Masking is not told apart from training anew on the same branches, {METRIC}: {_first(unsure)}."


class _Judged(NamedTuple):
    """A difference of the leading metric, and what may be said of it."""

    value: Estimate

    @property
    def side(self) -> int:
        """1 more, -1 less, 0 not told apart, see `carried`."""
        return carried(self.value)

    @property
    def open(self) -> str:
        """In words where it is not told apart from none: how far it may go, and p where that decides."""
        text = difference_in_words(self.value)
        if self.value.ci95 is None:
            return f"{text}, no interval"
        return text if self.spans_zero else f"{text}, p {p_value(self.value.adjusted)} by Holm"

    @property
    def spans_zero(self) -> bool:
        """Whether the interval holds zero; without one it is not known to."""
        return self.value.ci95 is not None and self.value.ci95[0] <= 0 <= self.value.ci95[1]

    @property
    def size(self) -> str:
        """In words where it is carried: how large it is."""
        return size_in_words(self.value)


def _lead(result: AblationResult, cell: CellResult) -> _Judged | None:
    """The cell's difference to the full model in the leading metric; None for the full model itself."""
    comparison = result.against_full(cell)
    return None if comparison is None else _Judged(comparison.metrics[LEAD])


def _change(found: _Judged) -> str:
    if found.side == 0:
        return f"{METRIC} is not told apart from the full model's, {found.open}"
    return f"{METRIC} {'rises' if found.side > 0 else 'falls'} by {found.size}"


def _added(found: _Judged) -> str:
    if found.side == 0:
        return f"no {METRIC} is shown to be added, {found.open}"
    return f"it {'adds' if found.side > 0 else 'costs'} {found.size} {METRIC}"


def _carried_genres(
    result: AblationResult, found: CellComparison | Contribution | None, side: int
) -> dict[str, Estimate]:
    """The genres whose difference is carried to that side."""
    if found is None:
        return {}
    return {genre: found.by_genre[genre] for genre in result.genres if carried(found.by_genre[genre]) == side}


def _listed(genres: dict[str, Estimate]) -> str:
    """``Horror by .210 (.150 to .270); War by ...``, the largest first."""
    ordered = sorted(genres.items(), key=lambda item: -abs(item[1].value))
    return _first([f"{genre} by {size_in_words(value)}" for genre, value in ordered])


def _first(texts: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(texts) - MOST_NAMED
    return "; ".join(texts[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
