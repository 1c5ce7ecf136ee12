"""Tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mmposter.visible import visible_lines

# A bar ends a cell and a tag may run in a page; neither a `<` before a number nor an arrow is one. A backslash before
# them would take ours away.
_SPECIAL = re.compile(r"(\\*)(\||<(?=[A-Za-z/!?]))")

_RULES = {"l": "---", "r": "---:", "c": ":---:"}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str | None = None) -> str:
    """A table whose cells may hold bars, line feeds and what looks like HTML: all is shown.

    Args:
        header: one text a column.
        rows: cells as texts.
        align: one letter a column, ``l``, ``c`` or ``r``; by default all left.
    """
    rules = [_RULES[letter] for letter in align or "l" * len(header)]
    lines = [header, rules, *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    line = visible_lines(" ".join(text.split()))
    return _SPECIAL.sub(lambda found: f"{found[1] * 2}\\{found[2]}", line)
