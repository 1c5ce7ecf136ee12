"""Tables as LaTeX, for a paper: booktabs rules, and captions that say what the numbers were made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mmposter.document.blocks import TableBlock

_HEAD = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx} (wide tables are scaled to the width of the text).\n"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"${letter}$" for letter in "<>|"},
    "–": "--",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "\N{NO-BREAK SPACE}": " ",
}
_WIDE = 6  # columns from which a table may not fit between margins


def tables_latex(tables: Iterable[TableBlock], label: str) -> str:
    """Every table as a float of its own, labelled ``tab:LABEL-NAME``."""
    return _HEAD + "\n" + "\n".join(table_latex(table, f"{label}-{table.name}") for table in tables)


def table_latex(table: TableBlock, label: str) -> str:
    """One ``table`` environment: a good row is bold, a muted one stands below a rule."""
    body = [_line(map(escape, table.header)), r"\midrule"]
    for place, row in enumerate(table.rows):
        texts, standing = [escape(cell) for cell in row], table.emphasis.get((place, None))
        if standing == "muted" and place:
            body.append(r"\midrule")
        body.append(_line(rf"\textbf{{{text}}}" if text and standing == "good" else text for text in texts))
    grid = [rf"\begin{{tabular}}{{{table.alignment}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]
    if len(table.header) > _WIDE:
        grid = [r"\resizebox{\textwidth}{!}{%", *grid[:-1], grid[-1] + "%", "}"]
    lines: Sequence[str] = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.caption)}. {escape(table.note)}}}",
        rf"\label{{tab:{label}}}",
        r"\small",
        *grid,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Plain text as LaTeX that prints the same; a sign before a number becomes a real one."""
    escaped = "".join(_SPECIAL.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.)])([+-])(?=\.?\d)", r"$\1$", escaped)


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
