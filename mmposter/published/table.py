"""Results of published systems beside the papers' numbers and the constant answers: rows, notes, terminal, Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmposter.document.blocks import Emphasis, TableBlock
from mmposter.document.markdown import markdown_table
from mmposter.document.numbers import interval, with_interval
from mmposter.document.numbers import number as written
from mmposter.published.result import Result
from mmposter.published.systems import Published, System, find_published, published_names, systems
from mmposter.report.evaluation_text import VERDICTS as OF_EVALUATION

COLUMNS = (
    "network",
    "variant",
    "metric",
    "here (95 % interval)",
    "constant here",
    "minus the constant",
    "verdict",
    "published",
    "constant there",
)
ALIGN = "lllrrrlrr"
VERDICT = COLUMNS.index("verdict")
LEAKS = "LEAKS"
WHOLE = "whole posters"
VERDICTS: dict[str, Emphasis] = {**OF_EVALUATION, LEAKS: "bad"}
"""How verdicts stand out, on a console and on a page."""
_ALWAYS = ("mean_average_precision",)
"""Metrics shown of every row, so that rows of all systems and of ours have one in common."""


@dataclass(frozen=True)
class SystemRows:
    """The results of one system, and ours on the same genres."""

    key: str  # the system's folder, such as `p1`
    system: System  # its facts
    results: Sequence[Result]  # in the order of the paper's table, ours last

    @property
    def heading(self) -> str:
        """``P1: DenseNet on 20 genres``."""
        return f"{self.key.upper()}: {self.system.title}"

    def rows(self) -> list[list[str]]:
        """The cells under `COLUMNS`."""
        return [cells for result in self.results for cells in self.rows_of(result)]

    def notes(self) -> list[str]:
        """What is comparable and what is not, sentence by sentence."""
        notes = [f"the paper's data: {self.system.data}", *(f"yours: {line}" for line in self._data())]
        notes += [f"differs: {line}" for line in self.system.differs]
        notes += [f"assumed: {line}" for line in self.system.assumed]
        for result in self.results:
            notes += [f"{_who(result)}: {line}" for line in _of_result(result)]
        if any(published.network.published for published in self._published()):
            notes.append(
                "verdict: than the constant here, by the interval of value minus constant, paired by poster (results "
                "of earlier versions, which have none: by the value's own); where the split leaks, no number says "
                "anything of new posters"
            )
            notes.append(
                "no match with a published number is claimed: other posters, another split, and the settings that are "
                "assumed or changed; what the posters allow is to compare each number with the constant beside it"
            )
        return notes

    def rows_of(self, result: Result) -> Iterator[list[str]]:
        """The rows of one result, cells under `COLUMNS`."""
        published = _find(result)
        variant: str = result.variant or "–"
        sets = [(variant, result.metrics, {} if published is None else published.network.published)]
        if result.whole is not None:
            sets.append((f"{variant}, {WHOLE}", result.whole, {}))  # which no paper measured
        for said, metrics, numbers in sets:
            for name in dict.fromkeys([*self.system.metrics, *_ALWAYS]):
                if (here := _measured(result, metrics.get(name))) is not None:
                    number = numbers.get(name)
                    there = "–" if number is None else written(self.system.constant.get(name))
                    yield [_title(result), said, result.titles[name], *here, written(number), there]

    def _published(self) -> list[Published]:
        return [published for published in map(_find, self.results) if published is not None]

    def _data(self) -> list[str]:
        """What was trained and measured on, each kind of posters once."""
        lines = []
        for result in self.results:
            rows, kind = result.data["rows"], "crops" if result.data["crops"] else "posters"
            counts = ", ".join(f"{rows[side]} {word}" for side, word in _SIDES)
            lines.append(f"{result.data['name']}, {result.data['genres']} genres, {kind}: {counts}")
        return list(dict.fromkeys(lines))


_SIDES = (("train", "to train on"), ("val", "to validate on"), ("test", "to measure on"))


def group_results(results: Sequence[Result]) -> list[SystemRows]:
    """Results by system, in the papers' order; a result of ours stands with every system of its vocabulary."""
    order = {name: place for place, name in enumerate(published_names())}
    of_paper = sorted((result for result in results if result.name in order), key=lambda result: order[result.name])
    ours = [result for result in results if result.name not in order]
    groups = []
    for key, system in systems().items():
        own = [result for result in of_paper if result.name.startswith(f"{key}/")]
        beside = [result for result in ours if result.data["vocabulary"] == system.vocabulary]
        if own:
            groups.append(SystemRows(key, system, [*own, *beside]))
    return groups


def console_table(group: SystemRows) -> TableBlock:
    """The table of a system for a console; a network by the name that `--list` shows, which is short."""
    rows: list[list[str]] = []
    emphasis: dict[tuple[int, int | None], Emphasis] = {}
    for result in group.results:
        for _, variant, metric, here, constant, apart, verdict, published, there in group.rows_of(result):
            if verdict in VERDICTS:
                emphasis[len(rows), 4] = VERDICTS[verdict]
            # Intervals below their values: eighty letters are enough for all columns.
            rows.append(
                [
                    result.name + ("" if variant == "–" else "\n" + variant.replace(", ", "\n")),
                    metric,
                    here.replace(" (", "\n("),
                    constant if apart == "–" else f"{constant}\n({apart})",
                    verdict,
                    published if there == "–" else f"{published}\n({there})",
                ]
            )
    header = ["network", "metric", "here\n(95 %)", "constant\n(difference)", "verdict", "published\n(constant)"]
    return TableBlock(group.heading, header, rows, "llrrlr", emphasis, keys=2)


def to_markdown(groups: Sequence[SystemRows]) -> str:
    """All tables and notes as Markdown."""
    parts = ["# Published systems, trained here"]
    for group in groups:
        parts += [f"## {group.heading}", markdown_table(COLUMNS, group.rows(), ALIGN)]
        parts.append("\n".join(f"- {note}" for note in group.notes()))
    return "\n\n".join(parts) + "\n"


def list_rows() -> list[list[str]]:
    """Every network of every system: name, what it is, genres, published numbers, whether a fault was found."""
    from mmposter.evaluation.metrics import METRICS
    from mmposter.evaluation.single_label import SINGLE_LABEL_METRICS

    titles = {metric.name: metric.title for metric in (*SINGLE_LABEL_METRICS, *METRICS)}
    rows = []
    for name in published_names():
        published = find_published(name)
        numbers = [f"{titles[key]} {value:g}" for key, value in published.network.published.items()]
        rows.append(
            [
                name,
                published.network.title,
                published.system.vocabulary,
                ", ".join(numbers) or "–",
                "as_published, clean" if published.has_variants else "–",
            ]
        )
    return rows


LIST_COLUMNS = ("name", "network", "genres", "published", "variants")


def _of_result(result: Result) -> list[str]:
    lines = []
    published = _find(result)
    if published is not None and published.network.note:
        lines.append(published.network.note)
    if published is not None and published.network.training:
        found = ", ".join(f"{result.titles[key]} {value:g}" for key, value in published.network.training.items())
        lines.append(f"published for its own training posters: {found}")
    if published is not None and result.variant is not None:
        lines += [deviation.note for deviation in published.deviations(result.variant)]
    if result.data["leak_share"]:
        lines.append(f"{result.data['leak_share']:.1%} of what it is measured on has a sibling in training")
    if result.changed:
        changes = ", ".join(f"{key} {_plain(then)} -> {_plain(now)}" for key, (then, now) in result.changed.items())
        lines.append(f"changed from the recipe: {changes}")
    if result.diverged is not None:
        lines.append(result.diverged.removesuffix("."))
    lines.append(f"{result.epochs} epoch{'s' * (result.epochs != 1)}, {result.seconds:.0f} s on {result.device}")
    return lines


def _measured(result: Result, found: Mapping[str, Any] | None) -> list[str] | None:
    """Value, constant, difference and verdict of one metric; None where it was not measured."""
    if result.diverged is not None:
        return ["diverged", "–", "–", "–"]
    if found is None:
        return None
    # Above the constant or not: of posters that were trained on, it says nothing.
    verdict = LEAKS if result.data["leak_share"] else str(found["verdict"])
    apart = interval(found.get("difference"), "–", sign=True)
    return [with_interval(found["value"], found["ci95"], "–"), written(found["constant"]), apart, verdict]


def _find(result: Result) -> Published | None:
    return find_published(result.name) if result.name in published_names() else None


def _title(result: Result) -> str:
    """The network's name; another one in its place is told where nobody can miss it."""
    published = _find(result)
    if published is None:
        return result.label
    other = result.changed.get("cnn.backbone")
    return published.network.title + (f", but with {other[1]}" if other else "")


def _who(result: Result) -> str:
    return result.name + (f", {result.variant}" if result.variant else "")


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
