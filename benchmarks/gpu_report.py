"""What benchmarks/gpu.py has measured: its table, its JSON, and the time that is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from measure import CommandError, DeadlineError

LEAST_S, END_S = 5.0, 5.0
"""A part is not begun with less time; what the end takes."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    result: str
    beside: str = ""  # what it is compared with, and how it was measured
    numbers: dict[str, float] = field(default_factory=dict)


class Report:
    """What was measured, and how much time is left.

    Args:
        out: folder of both files.
        facts: about the machine, for the JSON.
        minutes: that all may take.
    """

    def __init__(self, out: Path, facts: dict[str, Any], minutes: float) -> None:
        self._out, self._facts, self._minutes = out, facts, minutes
        self._begun = time.monotonic()
        self.rows: list[Row] = []
        self.notes: list[str] = []

    @property
    def left(self) -> float:
        """Seconds."""
        return 60 * self._minutes - END_S - (time.monotonic() - self._begun)

    def limit(self, most: float = float("inf")) -> float:
        """Seconds that a command may take.

        Args:
            most: that it is given, however much is left.

        Raises:
            DeadlineError: too little is left to begin it.
        """
        if self.left < LEAST_S:
            raise DeadlineError
        return min(most, self.left)

    def add(self, row: Row) -> None:
        """Keep a row, and write what there is."""
        self.rows.append(row)
        print(f"{time.monotonic() - self._begun:5.0f} s  {row.what}: {row.result}  {row.beside}", flush=True)
        self.write()

    @contextmanager
    def part(self, *what: str) -> Iterator[None]:
        """A part that may fail or come too late: then its rows that are not there yet say why."""
        try:
            yield
        except DeadlineError as error:
            late = f"no time left of {self._minutes:g} minutes"
            self._missing(what, reason(error) if str(error) else f"left out: {late}")
        except (Exception, CommandError) as error:  # whatever it is, the others go on
            self._missing(what, f"failed: {reason(error)}")

    def _missing(self, what: tuple[str, ...], why: str) -> None:
        for name in what:
            if all(row.what != name for row in self.rows):
                self.add(Row(name, why))

    def write(self) -> None:
        """Both files."""
        self._out.mkdir(parents=True, exist_ok=True)
        seconds = round(time.monotonic() - self._begun, 1)
        content = {**self._facts, "seconds": seconds, "notes": self.notes, "rows": [asdict(row) for row in self.rows]}
        (self._out / "gpu.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (self._out / "gpu.md").write_text(self.markdown(seconds), encoding="utf-8")

    def markdown(self, seconds: float) -> str:
        """The table and what must be known to read it."""
        versions = ", ".join(f"{name} {number}" for name, number in self._facts["versions"].items())
        lines = [
            f"{self._facts['device']}, {self._facts['cores']} processor cores; {versions}. {seconds:.0f} s in all."
        ]
        lines += ["", "| what | result | beside it |", "|---|---|---|"]
        lines += [f"| {row.what} | {row.result} | {row.beside} |" for row in self.rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"


def reason(error: BaseException) -> str:
    """What a command or an exception says was wrong, in a line that fits into a cell."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = next((line for line in lines if line.startswith("error: ")), lines[-1])
    return said.removeprefix("error: ").replace("|", "/")[:200]
