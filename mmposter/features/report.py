"""The report of an extraction: counts, and every poster without a record with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmposter.features.extract import ExtractorReport
from mmposter.files.atomic import write_text


def write_report(folder: Path, reports: Sequence[ExtractorReport]) -> Path:
    """Write `report.md` into the store's folder and return its path."""
    lines = ["# Extraction", "", "| extractor | computed now | there before | failed | ms a poster |"]
    lines += ["|---|---|---|---|---|"]
    lines += [f"| {r.name} | {r.computed} | {r.present} | {len(r.failed)} | {r.pace()} |" for r in reports]
    for report in reports:
        if report.failed:
            lines += ["", f"## {report.name}: posters without a record", ""]
            lines += [f"- {reason}: {count}" for reason, count in report.reasons().most_common()]
            lines += ["", "| poster | reason | what happened |", "|---|---|---|"]
            lines += [f"| {poster} | {f.reason} | {_cell(f.message)} |" for poster, f in report.failed.items()]
    path = folder / "report.md"
    write_text(path, "\n".join(lines) + "\n")
    return path


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
