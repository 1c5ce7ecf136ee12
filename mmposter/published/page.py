"""The page of published systems trained here: one HTML file, and the same as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmposter.document.blocks import Emphasis, ListBlock, PageSection, TableBlock
from mmposter.document.page import render_page
from mmposter.files.atomic import write_json, write_text
from mmposter.outputs import claim
from mmposter.outputs.kinds import PUBLISHED
from mmposter.published.table import ALIGN, COLUMNS, VERDICT, VERDICTS, SystemRows, to_markdown

PAGE, TEXT, NUMBERS = "published.html", "published.md", "published.json"
_LEAD = (
    "Networks of published systems, trained on your posters. Each number stands beside the paper's, which was measured "
    "on other posters, and beside the best answer that looks at no poster, on the paper's posters and on yours."
)


def write_page(groups: Sequence[SystemRows], out: Path) -> Path:
    """Write published.html, published.md and published.json.

    Returns:
        The page.
    """
    results = {f"{result.name} {result.variant or ''}": result for group in groups for result in group.results}
    commits = sorted({str(result.commit) for result in results.values()})
    facts = {"Networks": str(len(results)), "Commits of mmposter": ", ".join(f"`{commit}`" for commit in commits)}
    page = render_page("Published systems, trained here", _LEAD, facts, [*map(_section, groups)])
    with claim(out, PUBLISHED, go_on=True):
        write_json(out / NUMBERS, [result.to_json() for result in results.values()])
        write_text(out / TEXT, to_markdown(groups))
        write_text(out / PAGE, page)
    return out / PAGE


def _section(group: SystemRows) -> PageSection:
    rows = group.rows()
    emphasis: dict[tuple[int, int | None], Emphasis] = {
        (place, VERDICT): VERDICTS[row[VERDICT]] for place, row in enumerate(rows) if row[VERDICT] in VERDICTS
    }
    table = TableBlock("", COLUMNS, rows, ALIGN, emphasis)
    return PageSection(group.key, group.heading, (), (table, ListBlock(group.notes())))
