"""Self-contained HTML pages: text, tables and figures in one file that needs no network and no script.

One page has a script, its own and no other: that on which a person decides item by item (`review`).

The rest of mmposter says what a page, or a notebook, holds (`PageSection` and its blocks); how it looks is decided here
alone.
"""

from __future__ import annotations

from mmposter.document.blocks import (
    Block,
    CodeBlock,
    DetailsBlock,
    Emphasis,
    FigureBlock,
    ListBlock,
    PageSection,
    TableBlock,
)
from mmposter.document.page import render_fragment, render_page
from mmposter.document.svg import figure_svg

__all__ = [
    "Block",
    "CodeBlock",
    "DetailsBlock",
    "Emphasis",
    "FigureBlock",
    "ListBlock",
    "PageSection",
    "TableBlock",
    "figure_svg",
    "render_fragment",
    "render_page",
]
