"""Tables on a console. What is too wide for it is laid out anew, and no number is ever cut or broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mmposter.document.blocks import TableBlock
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES: Mapping[str | None, str] = {
    "strong": "bold",
    "good": "green",
    "bad": "bold red",
    "unsure": "yellow",
    "muted": "dim",
}
_JUSTIFY: Mapping[str, str] = {"l": "left", "c": "center", "r": "right"}

_AROUND = 3  # a space on both sides of a cell, and a line
_READABLE = 24
"""Letters of a column of words that can still be read; a longer word, such as a path, is folded there."""
_MOST_TABLES = 3


def print_all(console: Console, things: Iterable[TableBlock | str]) -> None:
    """Print tables and lines; a line that begins with a dash is a note, and faint."""
    from rich.text import Text

    for thing in things:
        if isinstance(thing, TableBlock):
            print_table(console, thing)
        else:
            console.print(Text(thing, style="dim" if thing.startswith("- ") else ""))


def print_table(console: Console, block: TableBlock) -> None:
    """Print a table whose cells stand out as on a page; its caption is its title.

    Columns of words wrap between words. Where that is not enough, columns of numbers move into further tables below,
    which name the rows again; and where that would tear words apart, each row is printed as lines ``name: value``.
    """
    groups = _groups(block, console.width)
    if groups is None:
        _print_blocks(console, block)
        return
    for number, columns in enumerate(groups):
        widths = _widths(block, columns, console.width)
        assert widths is not None
        _print_columns(console, block, columns, widths, block.caption if number == 0 else "")


def _groups(block: TableBlock, width: int) -> list[list[int]] | None:
    """The columns of each table that is printed; None where rows are better printed as lines."""
    everything, keys = list(range(len(block.header))), list(range(block.keys))
    if _widths(block, everything, width) is not None:
        return [everything]
    others = everything[block.keys :]
    if len(block.rows) < 2 or sum(block.alignment[column] == "l" for column in others) > 1:
        return None
    groups: list[list[int]] = [[]]
    for column in others:
        if _widths(block, [*keys, *groups[-1], column], width) is None:
            groups.append([])
        groups[-1].append(column)
    fit = all(group and _widths(block, [*keys, *group], width) is not None for group in groups)
    return [[*keys, *group] for group in groups] if fit and len(groups) <= _MOST_TABLES else None


def _widths(block: TableBlock, columns: Sequence[int], width: int) -> list[int] | None:
    """Letters of each of these columns so that all fit into `width`; None where they cannot."""
    cells = [[block.header[column], *(row[column] for row in block.rows)] for column in columns]
    widths = [max(map(_widest_line, column)) for column in cells]
    least = [_least(found, block.alignment[column]) for found, column in zip(cells, columns, strict=True)]
    room = width - _AROUND * len(widths) - 1
    if sum(least) > room:
        return None
    while sum(widths) > room:
        # The widest column that can give gives, a letter at a time: so long columns end up alike.
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _print_columns(
    console: Console, block: TableBlock, columns: Sequence[int], widths: Sequence[int], caption: str
) -> None:
    from rich.table import Table

    table = Table(title=caption or None, title_justify="left", title_style="bold")
    table.show_header = any(block.header)
    for column, width in zip(columns, widths, strict=True):
        justify = _JUSTIFY[block.alignment[column]]
        table.add_column(block.header[column], justify=justify, width=width, overflow="fold")  # type: ignore[arg-type]
    for at in range(len(block.rows)):
        cells = _cells(block, at)
        table.add_row(*(cells[column] for column in columns))
    console.print(table)


def _print_blocks(console: Console, block: TableBlock) -> None:
    from rich.text import Text

    if block.caption:
        console.print(Text(block.caption, style="bold"))
    known = [""] * block.keys
    for at, row in enumerate(block.rows):
        known = [cell or before for cell, before in zip(row, known, strict=False)]
        console.print(Text("  ".join(cell for cell in known if cell), style="bold"), overflow="fold")
        rest = list(zip(block.header, block.alignment, _cells(block, at), strict=True))[block.keys :]
        for name, letter, cell in rest:
            if cell.plain.strip():
                # The lines of one cell stand below one another in a table, and beside one another here.
                value = Text("; " if letter == "l" else " ").join(cell.split("\n"))
                line = Text.assemble("  ", (f"{name}: ", "dim") if name else "", value)
                # A path that is longer than the line is left to the terminal to wrap: so it can be copied.
                console.print(line, soft_wrap=_longest_word(line.plain) > console.width)


def _cells(block: TableBlock, at: int) -> list[Text]:
    from rich.text import Text

    cells = [Text(cell, style=_STYLES.get(block.emphasis.get((at, None)), "")) for cell in block.rows[at]]
    for column, cell in enumerate(cells):
        if (own := block.emphasis.get((at, column))) is not None:
            cell.stylize(_STYLES[own])
    return cells


def _least(column: Sequence[str], letter: str) -> int:
    """Letters that a column needs: words and headings may wrap, a number is whole or not there."""
    if letter == "l":
        return min(max(map(_longest_word, column)), _READABLE)
    return max(_longest_word(column[0]), *map(_widest_line, column[1:]), 0)


def _widest_line(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, visible_lines(text).split("\n")))


def _longest_word(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, visible_lines(text).split()), default=0)
