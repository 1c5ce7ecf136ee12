"""What `prepare` found and did, as plain values; the files of a prepared folder are written from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mmposter.data.sources.base import Issue
from mmposter.data.splitting import NO_SPLIT, SPLITS
from mmposter.data.titles import Titles
from mmposter.data.unknown import UnknownName
from mmposter.data.vocabulary import Vocabulary
from mmposter.document import TableBlock, render_fragment

REPORT = "report.md"
_NOT_KEPT = ("out", "notes", "passed_over", "downloaded", "seconds")


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did, in numbers: ``kept + sum(dropped) == posters_found + without_poster`` always holds."""

    out: Path
    posters_found: int
    without_poster: int
    kept: int
    dropped: Mapping[str, int]  # by reason, in the order of the steps
    issues: Mapping[str, int]  # oddities that dropped no row, by kind
    passed_over: Sequence[str]  # files in a folder of pictures that are none by their names
    records: Mapping[str, int]  # metadata records, see `SourceRows.records`
    titles: Mapping[str, int]  # films without a poster, kept and left out by reason; empty where none were given
    links: Mapping[str, int]  # posters of a source with links: how many are there, and why the others are not
    splits: Mapping[str, int]  # posters by side
    near_duplicate_groups: int  # groups of two posters and more
    near_duplicate_posters: int  # posters in these groups
    unknown_genres: Mapping[str, int]  # posters by a name that the vocabulary does not know, commonest first
    notes: tuple[str, ...]  # for people: what became of genres that is not as the source has it
    sources: Mapping[str, Mapping[str, int]]  # of each of several sources: found, kept, by side, dropped by reason
    downloaded: int = field(compare=False)  # of those that are there, how many came in this run
    seconds: float = field(compare=False)
    corrections: Mapping[str, int] = field(default_factory=dict)  # see `apply_corrections`; empty where none were given

    def counts(self) -> dict[str, Any]:
        """What dataset.json keeps of it: all that does not depend on when and where it was made."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NOT_KEPT}
        for name in ("sources", "corrections"):
            if not kept[name]:
                del kept[name]
        return kept

    @property
    def report_path(self) -> Path:
        """The report for people."""
        return self.out / REPORT

    def _repr_html_(self) -> str:
        """How a notebook shows it: every poster accounted for."""
        found = self.posters_found + self.without_poster
        counts = {f"kept, {side}": count for side, count in self.splits.items()}
        counts |= {f"dropped, {reason}": count for reason, count in self.dropped.items()}
        tables = [TableBlock("", ["", "posters"], [[name, str(count)] for name, count in counts.items()])]
        if self.sources:
            tables.append(TableBlock("By source", ["", *self.sources], source_rows(self.sources)))
        title = f"Prepared {self.out.name}: {self.kept} of {found} posters kept"
        facts = {"folder": str(self.out), "report": str(self.report_path)}
        facts |= {f"note {number}": note for number, note in enumerate(self.notes, 1)}
        return render_fragment(title, tables, facts=facts)


@dataclass(frozen=True)
class Prepared:
    """Everything that the report and the files are written from."""

    root: Path  # absolute; the manifest's paths are relative to it
    records: Mapping[str, int]  # see `SourceRows.records`; of several sources, each has its own in `parts`
    table: pd.DataFrame
    dropped: pd.DataFrame
    issues: list[Issue]
    unknown: list[UnknownName]
    vocabulary: Vocabulary | None
    titles: Titles | None
    titles_out: Mapping[str, int]  # films left out, by reason
    posters_found: int
    without_poster: int
    parts: Mapping[str, Prepared] = field(default_factory=dict)  # by name, of several sources what each is alone
    corrections: Mapping[str, int] = field(default_factory=dict)  # how many of each kind, see `apply_corrections`


def source_counts(result: Prepared) -> dict[str, dict[str, int]]:
    """Of each of several sources what was found, kept, on which side, and dropped by reason; empty for one source."""
    counts = {}
    for name, part in result.parts.items():
        kept = result.table[result.table["source"] == name]
        sides = Counter(kept["split"])
        counts[name] = {
            "posters found": part.posters_found,
            "rows without a poster": part.without_poster,
            "kept": len(kept),
            **{side: sides[side] for side in (*SPLITS, NO_SPLIT) if sides[side]},
            **Counter(f"dropped: {reason}" for reason in result.dropped["reason"][result.dropped["source"] == name]),
        }
    return counts


def source_rows(sources: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    """A table for people: one row a count, one column a source."""
    names = dict.fromkeys(name for counts in sources.values() for name in counts)
    # Sides and reasons that the first source has not come after its own; sorted as they are told elsewhere.
    order = ["posters found", "rows without a poster", "kept", *SPLITS, NO_SPLIT]
    ranked = sorted(names, key=lambda name: order.index(name) if name in order else len(order))
    return [[name, *(f"{counts.get(name, 0):,}" for counts in sources.values())] for name in ranked]
