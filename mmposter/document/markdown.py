"""Reports and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mmposter.document.blocks import (
    Block,
    CodeBlock,
    DetailsBlock,
    Document,
    FigureBlock,
    ListBlock,
    PicturesBlock,
    TableBlock,
)
from mmposter.visible import visible_lines

# A bar ends a cell and a tag may run in a page; neither a `<` before a number nor an arrow is one. A backslash before
# them would take ours away.
_SPECIAL = re.compile(r"(\\*)(\||<(?=[A-Za-z/!?]))")

_RULES = {"l": "---", "r": "---:", "c": ":---:"}
_MARKS = {"good": "**", "muted": "_"}
"""What stands around the cells of a row that stands out."""


def document_markdown(document: Document) -> str:
    """The whole report; figures are linked as ``plots/NAME.png``."""
    facts = "\n".join(f"- {name}: {text}" for name, text in document.facts.items())
    parts = [f"# {document.title}", document.lead, facts]
    for section in document.sections:
        parts += [f"## {section.title}", *section.text, *(block_markdown(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def block_markdown(block: Block) -> str:
    """One block; a table with its caption in bold above it and its note below, what a page folds away open."""
    match block:
        case TableBlock():
            table = markdown_table(block.header, _marked(block), block.alignment)
            return f"**{block.caption}**\n\n{table}\n\n{block.note}"
        case FigureBlock():
            return f"![{block.alt}](plots/{block.name}.png)\n\n{block.caption}"
        case PicturesBlock():
            return "\n".join(f"- {picture.title}: {picture.caption}" for picture in block.pictures)
        case ListBlock():
            return "\n".join(f"- {text}" for text in block.items)
        case CodeBlock():
            return f"```{block.language}\n{block.text.rstrip()}\n```"
        case DetailsBlock():
            return "\n\n".join(map(block_markdown, block.blocks))


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


def _marked(table: TableBlock) -> Iterable[Sequence[str]]:
    for number, row in enumerate(table.rows):
        around = _MARKS.get(table.emphasis.get((number, None), ""), "")
        yield [f"{around}{cell}{around}" if cell else cell for cell in row]
