"""Tables as CSV that a spreadsheet shows and never runs.

Excel, LibreOffice and Google Sheets take a cell that begins with one of a few signs as a formula, which may start
programs or send other cells away; file names, titles and genres come from strangers. A single quote before such a
text makes it text. Numbers stay numbers, a negative one too. What reads our tables takes the quote away again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import IO, Any

_QUOTE = "'"
# The signs, also as the wide letters of East Asian keyboards, behind quotation marks and blanks that an import strips.
_FORMULA = re.compile(r"[\s\"']*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\s\"']*[\t\r\n\0]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)")


def guarded(cell: Any) -> Any:
    """A cell as it is written: a text that would be a formula behind a single quote, anything else as it is.

    >>> guarded("=1+1"), guarded("-0.084"), guarded(-0.084), guarded("Alien")
    ("'=1+1", '-0.084', -0.084, 'Alien')
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return _QUOTE + cell
    return cell


def unguarded(cell: str) -> str:
    """What `guarded` was given: its quote is taken away, any other stays."""
    bare = cell.removeprefix(_QUOTE)
    return bare if bare != cell and guarded(bare) == cell else cell


class TableWriter:
    """Writes rows as guarded CSV to a text stream, opened with ``newline=""``; the first one is the header."""

    def __init__(self, stream: IO[str], *, line_end: str = "\r\n") -> None:
        self._writer = csv.writer(stream, lineterminator=line_end)

    def write(self, row: Iterable[Any]) -> None:
        """Write one row; None is an empty cell."""
        self._writer.writerow([guarded(cell) for cell in row])


def table_text(header: Sequence[str], rows: Iterable[Iterable[Any]], *, line_end: str = "\r\n") -> str:
    """A whole table as CSV, guarded.

    Args:
        rows: cells as text or numbers; None is an empty cell.
    """
    buffer = io.StringIO()
    writer = TableWriter(buffer, line_end=line_end)
    for row in (header, *rows):
        writer.write(row)
    return buffer.getvalue()
