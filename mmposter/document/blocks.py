"""What a page is made of. All texts are plain: they are escaped, and only `code` between backticks is set apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from mmposter.document.numbers import DASH
from mmposter.document.svg import figure_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Emphasis = Literal["strong", "good", "bad", "unsure", "muted"]
"""How a cell may stand out: bold, green, red, amber, grey. Colour is never alone: the cell's text says the same."""

# Of a phone 390 pixels wide, in CSS pixels: what a page leaves of it, a letter of a table, and what is beside a cell.
_PHONE, _LETTER, _BESIDE = 358, 6.9, 16
_FIRST, _WORDS = 19, 15  # letters at which the first column, and another one of words, may wrap
_SLUG = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class TableBlock:
    """A table that scrolls inside its own box where it is wider than the page.

    Raises:
        ValueError: a row, or `align`, of another length than the header, or an `emphasis` that is not there.
    """

    kind: ClassVar[str] = "table"

    caption: str  # above it; may be empty
    header: Sequence[str]  # one text a column
    rows: Sequence[Sequence[str]]  # cells as texts; the first one of a row is its heading
    # One letter a column, ``l``, ``c`` or ``r``; by default the first column is left, the others right.
    align: str | None = None
    # By (row, column), or (row, None) for a whole row, counted from 0.
    emphasis: Mapping[tuple[int, int | None], Emphasis] = field(default_factory=dict)
    name: str = ""  # of its label in LaTeX
    note: str = ""  # how to read it; below the table in Markdown, in its caption in LaTeX, not on a page
    keys: int = 1  # how many columns, the first ones, say which row it is; an empty cell of them is as in the row above

    def __post_init__(self) -> None:
        width = len(self.header)
        for number, row in enumerate(self.rows):
            if len(row) != width:
                raise ValueError(f"every row must have {width} cells, one a column, got {len(row)} in row {number}")
        if self.align is not None and not re.fullmatch(f"[lcr]{{{width}}}", self.align):
            raise ValueError(f"align must be {width} letters of l, c and r, got {self.align!r}")
        for (row_at, column), name in self.emphasis.items():
            if not 0 <= row_at < len(self.rows) or (column is not None and not 0 <= column < width):
                raise ValueError(
                    f"emphasis must name a cell of {len(self.rows)} x {width}, got ({row_at}, {column}) -> {name}"
                )
            if name not in get_args(Emphasis):
                raise ValueError(f"emphasis must be one of {', '.join(get_args(Emphasis))}, got {name!r}")

    @property
    def alignment(self) -> str:
        """One letter a column."""
        return self.align or "l" + "r" * (len(self.header) - 1)

    def classes(self, row: int, column: int | None) -> str:
        """CSS classes of a cell, or of a whole row where `column` is None."""
        found: list[str] = [self.emphasis.get((row, column)) or ""]
        if column is not None:
            empty = self.rows[row][column] in ("", DASH)
            long = self.alignment[column] == "l" and len(self.rows[row][column]) > _WORDS
            found = [self.alignment[column], *found, "none" if empty else "", "words" if long else ""]
        return " ".join(filter(None, found))

    @cached_property
    def stacks(self) -> bool:
        """Whether it is wider than a phone: there each row is a block of names and values, so that none is cut."""
        pixels = 0
        for place, (letter, name, *cells) in enumerate(zip(self.alignment, self.header, *self.rows, strict=True)):
            widest, most = max(map(len, cells), default=0), _FIRST if place == 0 else _WORDS
            letters = min(widest, most) if letter == "l" else widest
            pixels += round(_LETTER * max(letters, *map(len, name.split()), 0)) + _BESIDE
        return pixels > _PHONE


@dataclass(frozen=True)
class FigureBlock:
    """A figure on a white card."""

    kind: ClassVar[str] = "figure"

    name: str  # unique in a page, and that of its file; small letters, digits and hyphens
    figure: Figure  # not drawn yet
    caption: str  # below it
    alt: str  # what it shows, for those who cannot see it

    @cached_property
    def svg(self) -> str:
        """Goes into a page as it is.

        Make the page before other files: a layout that was drawn once moves by hundredths when it is drawn again.
        """
        return figure_svg(self.figure, self.name)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture inside a page."""

    source: str  # for the attribute ``src``, from `mmposter.images.thumbnails`: a page loads nothing
    title: str  # below it, in bold
    caption: str  # below that


@dataclass(frozen=True)
class PicturesBlock:
    """Small pictures side by side, as many a line as there is room for. Markdown has their words alone."""

    kind: ClassVar[str] = "pictures"

    pictures: Sequence[Thumbnail]


@dataclass(frozen=True)
class ListBlock:
    """A bulleted list."""

    kind: ClassVar[str] = "list"

    items: Sequence[str]


@dataclass(frozen=True)
class CodeBlock:
    """Text to copy, such as a command or a configuration; keeps its line breaks. `language` colours it in Markdown."""

    kind: ClassVar[str] = "code"

    text: str
    language: str = ""


@dataclass(frozen=True)
class DetailsBlock:
    """Blocks that are folded away under a line that opens them."""

    kind: ClassVar[str] = "details"

    summary: str
    blocks: Sequence[Block]


Block = TableBlock | FigureBlock | PicturesBlock | ListBlock | CodeBlock | DetailsBlock


@dataclass(frozen=True)
class PageSection:
    """A part of a page, listed in its table of contents.

    Raises:
        ValueError: another kind of `id`.
    """

    id: str  # what a link to it names; small letters, digits and hyphens
    title: str  # its heading
    text: Sequence[str] = ()  # paragraphs, before the blocks
    blocks: Sequence[Block] = ()  # in order

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.id):
            raise ValueError(f"id must be small letters, digits and hyphens, a letter first, got {self.id!r}")


@dataclass(frozen=True)
class Document:
    """A whole report; `render_page`, `document_markdown` and `tables_latex` are made from the same one."""

    title: str  # of the whole
    lead: str  # the paragraph below it: what this is, and the answer
    facts: Mapping[str, str]  # name and value of what it was made from
    sections: Sequence[PageSection]  # in order

    @property
    def figures(self) -> list[FigureBlock]:
        """Every figure, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, FigureBlock)]
