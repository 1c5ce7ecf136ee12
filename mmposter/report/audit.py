"""The files of an audit."""

from __future__ import annotations

from pathlib import Path

from mmposter.evaluation.audited import Audited
from mmposter.files.atomic import write_json, write_text
from mmposter.files.spreadsheets import table_text
from mmposter.outputs import claim
from mmposter.outputs.kinds import AUDIT

TABLE, NUMBERS = "audit.csv", "audit.json"
COLUMNS = (
    "kind",
    "id",
    "source",
    "title",
    "year",
    "split",
    "genres",
    "genre",
    "suggestion",
    "probability",
    "score",
    "place",
    "others",
)


def write_audit(found: Audited, out: Path) -> Path:
    """Write audit.csv, a row a finding, and audit.json, each one atomically.

    Returns:
        The table.

    Raises:
        UserError: files of others would be replaced, or another process is writing there.
        OSError: the folder cannot be written.
    """
    with claim(out, AUDIT, go_on=True):
        write_json(out / NUMBERS, found.to_json())
        rows = ([row[name] for name in COLUMNS] for row in found.table())
        write_text(out / TABLE, table_text(COLUMNS, rows))
    return out / TABLE
