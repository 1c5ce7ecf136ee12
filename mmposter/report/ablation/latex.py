"""The tables as LaTeX, for a paper: booktabs rules, and captions that say what the numbers were made from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmposter.report.ablation.tables import BETTER, WORSE, CellRow, Table

_HEAD = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx} (wide tables are scaled to the width of the text).\n"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "–": "--",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    BETTER: r"$\uparrow$",
    WORSE: r"$\downarrow$",
}
_WIDE = 6  # columns from which a table may not fit between margins


def to_latex(tables: Sequence[Table]) -> str:
    """Every table as a float of its own, labelled ``tab:ablation-NAME``."""
    return _HEAD + "\n" + "\n".join(table_latex(table) for table in tables)


def table_latex(table: Table) -> str:
    """One ``table`` environment: the best row is bold, the constant's stands below a rule."""
    columns = "".join("l" if i == 0 or i in table.left else "r" for i in range(len(table.header)))
    body = [_line([escape(text) for text in table.header]), r"\midrule"]
    for place, row in enumerate(table.rows):
        if row.mark == "constant" and place:
            body.append(r"\midrule")
        body.append(_line(_marked(row)))
    grid = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]
    if len(columns) > _WIDE:
        grid = [r"\resizebox{\textwidth}{!}{%", *grid[:-1], grid[-1] + "%", "}"]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(table.note)}}}",
        rf"\label{{tab:ablation-{table.name}}}",
        r"\small",
        *grid,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Plain text as LaTeX that prints the same; a sign before a number becomes a real one."""
    escaped = "".join(_SPECIAL.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.)])([+-])(?=\.?\d)", r"$\1$", escaped)


def _marked(row: CellRow) -> list[str]:
    texts = [escape(cell) for cell in row.cells]
    return [rf"\textbf{{{text}}}" if text else text for text in texts] if row.mark == "best" else texts


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
