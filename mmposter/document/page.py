"""HTML from its parts: a page, one file with everything inside, or a fragment that a notebook shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from mmposter.document.blocks import Block, PageSection, PicturesBlock
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from jinja2 import Environment


def render_page(title: str, lead: str, facts: Mapping[str, str], sections: Sequence[PageSection]) -> str:
    """The whole HTML document; the same arguments give the same bytes.

    It loads nothing: style and figures are inside, and a content security policy forbids the browser to fetch
    anything else. It follows the reader's choice of light or dark and of a wide or a narrow screen.

    Args:
        title: of the page and of the browser's tab.
        lead: the paragraph below it: what this is, and the answer.
        facts: name and value of what the page was made from.
        sections: in order, listed in the table of contents.

    Raises:
        ValueError: two sections, or two figures, share an id.
    """
    template = environment().get_template("page.html.j2")
    pictures = any(isinstance(block, PicturesBlock) for section in sections for block in section.blocks)
    page = template.render(
        title=title, lead=lead, facts=facts, sections=sections, css=resource_text("page.css"), pictures=pictures
    )
    # Not in `<code>`: a quotation mark in a text is escaped there, so only real attributes match.
    twice = [name for name, count in Counter(re.findall(r' id="([^"]+)"', page)).items() if count > 1]
    if twice:
        raise ValueError(f"ids of sections and names of figures must be unique in a page, got twice: {twice}")
    return page


def render_fragment(
    title: str, blocks: Sequence[Block] = (), *, facts: Mapping[str, str] | None = None, text: Sequence[str] = ()
) -> str:
    """What a notebook shows of an object: one ``<div>`` for its `_repr_html_`.

    It loads nothing and sets no colour, so that it can be read in a light and in a dark notebook; without its style,
    which a notebook that is not trusted takes away, the tables are still whole.

    Args:
        title: in bold above it; shown as it is.
        blocks: tables and lists; figures show themselves.
        facts: name and value of what it is.
        text: paragraphs before the blocks.
    """
    template = environment().get_template("fragment.html.j2")
    return template.render(title=title, facts=facts or {}, text=text, blocks=blocks, css=resource_text("fragment.css"))


@cache
def environment() -> Environment:
    """Where templates are found and filled: every text is escaped, and what would steer a reader is shown as a code."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(resource_text),
        finalize=_visible,
    )
    environment.filters["pieces"] = _pieces
    environment.filters["options"] = _options
    return environment


def _visible(value: Any) -> Any:
    """Every text that a template puts in, before it is escaped; what is marked as safe is ours."""
    return visible_lines(value) if type(value) is str else value


def _pieces(text: str) -> list[tuple[bool, str]]:
    """A text cut at its backticks: (is code, piece). A last backtick without a partner is shown as it is."""
    text = re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)  # no line begins with a percent sign
    # An odd piece lies between two backticks.
    return [(bool(i % 2), piece) for i, piece in enumerate(re.split(r"`([^`]+)`", text))]


def _options(code: str) -> list[tuple[bool, str]]:
    """Code cut into options such as ``--out``, which no line may part at a hyphen, and what is between them."""
    return [(bool(i % 2), piece) for i, piece in enumerate(re.split(r"(?<!\S)(--[a-z-]+)", code)) if piece]


def resource_text(name: str) -> str:
    """A template, a style or a script of this folder."""
    return (resources.files("mmposter.document") / name).read_text(encoding="utf-8")
