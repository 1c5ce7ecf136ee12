"""Which cells an ablation has: subsets of the branches, controls, and any configuration key as an axis.

A cell is a configuration that is trained anew, or a view of the trained reference in which branches are masked. The two
answer different questions: what a model can do without a branch, and what this model does without it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from mmposter.ablation.identity import identity
from mmposter.branches import declared, frozen_branches
from mmposter.config import Config, choices, parse_config
from mmposter.errors import UserError
from mmposter.evaluation.ablation import Mode
from mmposter.files.strict_yaml import parse_yaml
from mmposter.suggest import did_you_mean

GRIDS = ("subsets", "leave-one-out", "add-one")
MODES = ("retrain", "mask", "both")

CONTROLS = "controls"
_MODEL_AXES = ("fusion.head", "loss.name")
# Losses for one genre a poster, and a published fault: no alternatives for anybody's multi-label model.
_NO_ALTERNATIVES = ("cross_entropy", "double_sigmoid_bce")
_NOT_AXES = {"branches": "use --grid", "seed": "use --seeds", "shuffled": "use --controls", "regime": "use --regime"}
_MASK_PREFIX = "mask."


@dataclass(frozen=True)
class Cell:
    """One cell of the grid."""

    name: str  # unique, and safe as a file name
    label: str  # for people
    section: str  # the question it belongs to, see `CellResult`
    mode: Mode  # ``retrain`` or ``mask``
    config: Config  # what is trained, at the base's seed; of a mask cell the reference's
    changes: Mapping[str, Any]  # keys that differ from the base, without `branches`
    only: tuple[str, ...] | None = None  # of a mask cell, the branches that are looked at
    shuffled: tuple[str, ...] = ()  # of a mask cell, the branches whose records are dealt to other posters at test time
    # Names of the cells to compare with, and what each of them is; the reference comes first, if it is one.
    against: tuple[tuple[str, str], ...] = ()

    @property
    def branches(self) -> tuple[str, ...]:
        """What the cell looks at."""
        return tuple(self.config.branches) if self.only is None else self.only


@dataclass(frozen=True)
class Training:
    """A configuration to train with every seed, and the cells that are measured with it."""

    key: str  # unique, and safe as a file name; another configuration has another one (see `identity`)
    config: Config  # at the base's seed
    cells: tuple[Cell, ...]  # views of the trained model


@dataclass(frozen=True)
class Plan:
    """All cells; the first one is the reference, with everything on."""

    base: Config
    cells: tuple[Cell, ...]

    def _repr_html_(self) -> str:
        """How a notebook shows it: what would be trained, and what masked."""
        from mmposter.document import TableBlock, render_fragment

        rows = [[cell.label, cell.section, cell.mode, ", ".join(cell.branches)] for cell in self.cells]
        table = TableBlock("", ["cell", "section", "mode", "branches"], rows, align="llll")
        return render_fragment(f"Ablation of {len(rows)} cells, {len(self.trainings())} trainings a seed", [table])

    @property
    def reference(self) -> Cell:
        """The cell with every branch and the base configuration."""
        return self.cells[0]

    def settled(self, settle: Callable[[Config], Config]) -> Plan:
        """The same plan with every configuration as `settle` gives it back."""
        return Plan(settle(self.base), tuple(replace(cell, config=settle(cell.config)) for cell in self.cells))

    def trainings(self) -> list[Training]:
        """The distinct configurations to train, in the order of the cells."""
        grouped: dict[str, list[Cell]] = {}
        for cell in self.cells:
            grouped.setdefault(identity(cell.config), []).append(cell)
        return [
            Training(f"{cells[0].name}-{known_by[:8]}", cells[0].config, tuple(cells))
            for known_by, cells in grouped.items()
        ]


def build_plan(
    base: Config,
    *,
    grid: str | None = None,
    mode: str = "retrain",
    controls: bool = False,
    axes: Mapping[str, Sequence[Any]] | None = None,
) -> Plan:
    """The cells of an ablation around `base`.

    Args:
        base: with all branches that are to be compared.
        grid: which sets of branches; None: ``subsets`` if nothing else is asked for.
        mode: train every cell anew, mask branches of the trained reference, or both.
        controls: add branches dealt to other posters, masked words, gates, encodings, heads and losses.
        axes: configuration keys with the values to compare, each on its own around `base`.

    Raises:
        UserError: for an unknown grid or mode, a key that is no axis, a value that does not fit.
    """
    if grid is not None and grid not in GRIDS:
        raise UserError(f"--grid must be one of {', '.join(GRIDS)}; got {grid!r}{did_you_mean(grid, GRIDS)}")
    if mode not in MODES:
        raise UserError(f"--mode must be one of {', '.join(MODES)}; got {mode!r}{did_you_mean(mode, MODES)}")
    if base.shuffled or base.ocr.mask != "none":
        raise UserError("the base of an ablation must be a real model: leave out --set shuffled and --set ocr.mask")
    if grid is None and not controls and not axes:
        grid = "subsets"
    builder = _Builder(base, grid or (CONTROLS if controls else next(iter(axes or {CONTROLS: ()}))))
    if grid is not None:
        start = (base.branches[0],) if grid == "add-one" else ()
        for names in _sets(grid, base.branches):
            builder.branches(names, grid, mode, start=start)
    if controls:
        _add_controls(builder, mode)
    for key, values in (axes or {}).items():
        if (reason := _NOT_AXES.get(key)) is not None:
            raise UserError(f"--axis {key} cannot be compared like this; {reason}")
        for value in values:
            builder.change({key: value}, f"{_last(key)} = {_text(value)}", key)
    return Plan(base, tuple(builder.cells.values()))


def parse_axes(texts: Iterable[str]) -> dict[str, list[Any]]:
    """``key=a,b,c`` to the key and its values, read as YAML.

    Raises:
        UserError: for a text that has another form.
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        try:
            found = parse_yaml(f"[{values}]")
        except ValueError:
            found = []
        if not equals or not key or not found:
            raise UserError(f"--axis takes key=value,value such as fusion.head=concat,gated; got {text!r}")
        axes.setdefault(key, []).extend(found)
    return axes


def variant(base: Config, changes: Mapping[str, Any]) -> Config:
    """`base` with some keys changed, checked.

    Raises:
        UserError: for an unknown key or a bad value.
    """
    values = base.model_dump(mode="json")
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            if not isinstance(section.get(name), dict):
                raise UserError(f"{key} is no key of the configuration; `mmposter config` shows them all")
            section = section[name]
        section[last] = value
    return parse_config(values)


class _Builder:
    """Collects cells; the first one is the reference."""

    def __init__(self, base: Config, section: str) -> None:
        self.base = base
        name = _name(base.branches)
        self.reference = Cell(name, _label(base.branches), section, "retrain", base, {})
        self.cells = {name: self.reference}

    def branches(
        self, names: tuple[str, ...], section: str, mode: str = "retrain", *, start: tuple[str, ...] = ()
    ) -> None:
        """The model with these branches alone, retrained, masked or both; compared with that of `start`, too."""
        if names == self.base.branches:
            return
        if mode != "mask":
            cell = Cell(_name(names), _label(names), section, "retrain", variant(self.base, {"branches": names}), {})
            self._add(cell, _beside(_name(start), names, start))
        if mode != "retrain":
            cell = replace(self.reference, section=section, mode="mask", only=names, label=_label(names))
            cell = replace(cell, name=_MASK_PREFIX + _name(names))
            anew = [(_name(names), "the same branches, trained anew")] if mode == "both" else []
            self._add(cell, [*_beside(_MASK_PREFIX + _name(start), names, start), *anew])

    def change(
        self, changes: Mapping[str, Any], label: str, section: str, *, alone: str | None = None, beside: str = ""
    ) -> None:
        """The full model, or a branch alone, with some keys changed.

        Args:
            changes: keys and values; a change that changes nothing is the reference, and is left out.
            label: what it is.
            section: the question it belongs to.
            alone: the only branch of it; it is then compared with that branch unchanged, not with the full model.
            beside: name of one more cell to compare with.
        """
        config = variant(self.base, {**changes, **({"branches": [alone]} if alone else {})})
        start = variant(self.base, {"branches": [alone]}) if alone else self.base
        if config == start:
            return
        against = [(beside, "the same without the branch")] if beside else []
        if alone:
            self.branches((alone,), section)
            against.append((alone, "the same branch unchanged"))
        name = "+".join(f"{key}={_text(value)}" for key, value in changes.items())
        if alone:
            name, label = f"{alone}-alone.{name}", f"{alone} alone, {label}"
        cell = Cell(_safe(name), label, section, "retrain", config, changes)
        self._add(cell, against, with_reference=alone is None)

    def shuffled_at_test(self, branch: str) -> None:
        """The trained reference, given another poster's records of one branch."""
        cell = replace(
            self.reference, section=CONTROLS, mode="mask", shuffled=(branch,), changes={"shuffled": [branch]}
        )
        without = _MASK_PREFIX + _name(_without(self.base.branches, branch))
        against = [(without, "the same without the branch")] if without in self.cells else []
        name = f"{_MASK_PREFIX}shuffled-{branch}"
        self._add(replace(cell, name=name, label=f"{branch} of another poster, at test time"), against)

    def _add(self, cell: Cell, against: Sequence[tuple[str, str]] = (), *, with_reference: bool = True) -> None:
        if cell.name not in self.cells:
            first = [(self.reference.name, "the full model")] if with_reference else []
            self.cells[cell.name] = replace(cell, against=(*first, *against))


def _add_controls(builder: _Builder, mode: str) -> None:
    base = builder.base
    # What is dealt to other posters must lie in the store; in the finetune regime the picture is not there.
    for branch in frozen_branches(base.branches, base.regime):
        rest = _without(base.branches, branch)
        if rest:
            builder.branches(rest, CONTROLS, mode)
        if mode != "mask":
            label = f"{branch} of another poster"
            builder.change({"shuffled": [branch]}, label, CONTROLS, beside=_name(rest) if rest else "")
        if mode != "retrain":
            builder.shuffled_at_test(branch)
    if mode == "mask":
        return
    for owner in base.branches:
        for alone in _alone(owner, base):
            for key, labels in declared(owner).controls.items():
                for value, label in labels.items():
                    builder.change({key: value}, label, CONTROLS, alone=alone)
    # Alternatives that the literature names, each compared in the full model and in its branch alone.
    for owner in base.branches:
        for key in declared(owner).axes:
            for alone in _alone(owner, base):
                for value in choices(key):
                    builder.change({key: value}, f"{_last(key)} = {value}", key, alone=alone)
    for key in _MODEL_AXES:
        for value in (value for value in choices(key) if value not in _NO_ALTERNATIVES):
            builder.change({key: value}, f"{_last(key)} = {value}", key)


def _sets(grid: str, branches: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if grid == "subsets":
        for size in range(1, len(branches)):
            yield from combinations(branches, size)
    elif grid == "leave-one-out":
        yield from (_without(branches, name) for name in branches if len(branches) > 1)
    else:
        first, *others = branches
        yield (first,)
        yield from ((first, name) for name in others if len(branches) > 2)


def _beside(name: str, names: tuple[str, ...], start: tuple[str, ...]) -> list[tuple[str, str]]:
    """The comparison of a set of branches with the set that it adds one to."""
    return [(name, f"{_label(start)} alone")] if start and names != start else []


def _without(branches: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in branches if other != name)


def _alone(branch: str, base: Config) -> tuple[str | None, ...]:
    """Where to compare what belongs to one branch: in the full model, and in the branch alone if that is another."""
    return (None, branch) if len(base.branches) > 1 else (None,)


def _name(branches: Sequence[str]) -> str:
    return "-".join(branches)


def _label(branches: Sequence[str]) -> str:
    return ", ".join(branches)


def _last(key: str) -> str:
    """What people call a key: ``head`` of fusion.head, ``loss`` of loss.name."""
    *sections, last = key.split(".")
    return sections[-1] if sections and last == "name" else last


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _safe(name: str) -> str:
    """A name that every file system takes; two that differ stay different."""
    plain = re.sub(r"[^\w.,=+-]+", "_", name).strip("._")
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
