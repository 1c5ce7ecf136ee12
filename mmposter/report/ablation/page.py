"""The report as one HTML page, and what a notebook shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmposter.evaluation.ablation import AblationResult
from mmposter.report.ablation.findings import findings
from mmposter.report.ablation.outline import Code, Folded, Item, Listing, Outline, OutlineFigure, summary
from mmposter.report.ablation.sections import groups
from mmposter.report.ablation.tables import BETTER, WORSE, Table, cells_table

if TYPE_CHECKING:
    from mmposter.document import Block, Emphasis, TableBlock

_BY_TEXT: dict[str, Emphasis] = {"better": "good", "worse": "bad", "not told apart": "muted"}
_BY_MARK: dict[str, Emphasis] = {"reference": "strong", "best": "good", "constant": "muted"}


def to_html(outline: Outline) -> str:
    """The whole page, figures inside; it loads nothing."""
    from mmposter.document import PageSection, render_page

    sections = [
        PageSection(part.name, part.title, part.text, [_block(item) for item in part.items]) for part in outline.parts
    ]
    return render_page(outline.title, outline.lead, outline.facts, sections)


def to_fragment(result: AblationResult) -> str:
    """For a notebook: the sentences and the table of the first group, without a figure."""
    from mmposter.document import ListBlock, render_fragment

    blocks: list[Block] = [ListBlock(findings(result))]
    for first in groups(result)[:1]:
        table = cells_table(result, first)
        blocks += [_table(table), ListBlock([table.note])]
    return render_fragment(f"Ablation on {result.provenance.data}", blocks, text=[summary(result)])


def _block(item: Item) -> Block:
    from mmposter.document import CodeBlock, DetailsBlock, FigureBlock, ListBlock, figure_svg

    if isinstance(item, Table):
        return _table(item)
    if isinstance(item, OutlineFigure):
        return FigureBlock(figure_svg(item.figure, item.name), item.caption, item.alt)
    if isinstance(item, Listing):
        return ListBlock(item.texts)
    if isinstance(item, Code):
        return CodeBlock(item.text)
    assert isinstance(item, Folded)
    return DetailsBlock(item.summary, [_block(inner) for inner in item.items])


def _table(table: Table) -> TableBlock:
    from mmposter.document import TableBlock

    emphasis: dict[tuple[int, int | None], Emphasis] = {}
    for number, row in enumerate(table.rows):
        if row.mark:
            emphasis[number, None] = _BY_MARK[row.mark]
        for column, text in enumerate(row.cells):
            if text in _BY_TEXT:
                emphasis[number, column] = _BY_TEXT[text]
            elif text.endswith((f" {BETTER}", f" {WORSE}")):
                emphasis[number, column] = "good" if text.endswith(BETTER) else "bad"
    align = "".join("l" if i == 0 or i in table.left else "r" for i in range(len(table.header)))
    rows = [[_together(text) for text in row.cells] for row in table.rows]
    return TableBlock(table.title, table.header, rows, align, emphasis)


def _together(text: str) -> str:
    """A verdict stays on one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}") if text in _BY_TEXT else text
