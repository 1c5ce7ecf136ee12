"""Tables on a console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmposter.document.blocks import TableBlock

if TYPE_CHECKING:
    from rich.console import Console

_STYLES: Mapping[str | None, str] = {
    "strong": "bold",
    "good": "green",
    "bad": "bold red",
    "unsure": "yellow",
    "muted": "dim",
}
_JUSTIFY: Mapping[str, str] = {"l": "left", "c": "center", "r": "right"}


def print_table(console: Console, block: TableBlock) -> None:
    """Print a table whose cells stand out as on a page; its caption is its title."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=block.caption, title_justify="left", title_style="bold")
    for name, letter in zip(block.header, block.alignment, strict=True):
        table.add_column(name, justify=_JUSTIFY[letter])  # type: ignore[arg-type]
    for at, row in enumerate(block.rows):
        cells = [Text(cell, style=_STYLES.get(block.emphasis.get((at, None)), "")) for cell in row]
        for column, cell in enumerate(cells):
            if (own := block.emphasis.get((at, column))) is not None:
                cell.stylize(_STYLES[own])
        table.add_row(*cells)
    console.print(table)
