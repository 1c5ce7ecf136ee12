"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mmposter.document.markdown import markdown_table
from mmposter.report.ablation.outline import Code, Folded, Item, Listing, Outline, OutlineFigure
from mmposter.report.ablation.tables import CellRow, Table


def to_markdown(outline: Outline) -> str:
    """The whole report; figures are linked as ``plots/NAME.png``."""
    parts = [f"# {outline.title}", outline.lead, "\n".join(f"- {name}: {text}" for name, text in outline.facts.items())]
    for part in outline.parts:
        parts += [f"## {part.title}", *part.text, *(text for item in part.items for text in _item(item))]
    return "\n\n".join(parts) + "\n"


def table_markdown(table: Table) -> str:
    """One table: its title, its rows, and its note; the best row is bold, the constant's is in italics."""
    align = "".join("l" if i == 0 or i in table.left else "r" for i in range(len(table.header)))
    rows = markdown_table(table.header, map(_marked, table.rows), align)
    return f"**{table.title}**\n\n{rows}\n\n{table.note}"


def _item(item: Item) -> list[str]:
    if isinstance(item, Table):
        return [table_markdown(item)]
    if isinstance(item, OutlineFigure):
        return [f"![{item.alt}](plots/{item.name}.png)", item.caption]
    if isinstance(item, Listing):
        return ["\n".join(f"- {text}" for text in item.texts)]
    if isinstance(item, Code):
        return [f"```{item.language}\n{item.text.rstrip()}\n```"]
    assert isinstance(item, Folded)
    return [text for inner in item.items for text in _item(inner)]


def _marked(row: CellRow) -> Sequence[str]:
    around = {"best": "**", "constant": "_"}.get(row.mark, "")
    return [f"{around}{cell}{around}" if cell else cell for cell in row.cells]
