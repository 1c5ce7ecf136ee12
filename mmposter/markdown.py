"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_RULES = {"l": "---", "r": "---:", "c": ":---:"}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str | None = None) -> str:
    """A table whose cells may hold bars and line feeds.

    Args:
        header: one text a column.
        rows: cells as texts.
        align: one letter a column, ``l``, ``c`` or ``r``; by default all left.
    """
    rules = [_RULES[letter] for letter in align or "l" * len(header)]
    lines = [header, rules, *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
