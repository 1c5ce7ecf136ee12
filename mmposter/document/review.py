"""A page to go through with keys: an item is kept, fixed or skipped, and the decisions become a table.

The only page of ours with a script besides those of the server. The script is inside, the page's policy names it by its
hash and lets nothing else run, and it reads what the page says as text. Decisions stay in the reader's browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmposter.document.blocks import Block
from mmposter.document.page import environment, resource_text
from mmposter.visible import visible_json


@dataclass(frozen=True)
class ReviewGenre:
    """A genre of an item, as a button."""

    column: int  # its place in the vocabulary
    given: bool
    suggested: bool  # whether the item shall have it, as far as is suggested
    probability: float
    folded: bool  # shown only where somebody asks for more genres

    @property
    def percent(self) -> str:
        """The probability for people."""
        return f"{self.probability * 100:.0f} %"


@dataclass(frozen=True)
class ReviewItem:
    """One poster to decide on."""

    id: str
    source: str | None
    title: str
    details: str  # a line below the title
    picture: str | None  # for the attribute ``src``
    kinds: Sequence[str]  # what was found, short names
    notes: Sequence[str]  # what was found, sentences
    genres: Sequence[ReviewGenre]

    @property
    def key(self) -> str:
        """Id and source as JSON, for an attribute: exactly as they are, also what cannot be shown."""
        return visible_json(json.dumps([self.id, self.source or ""]))


@dataclass(frozen=True)
class ReviewPage:
    """What `render_review` shows."""

    title: str
    lead: str
    facts: Mapping[str, str]
    kinds: Mapping[str, str]  # what can be found: short name and its meaning
    genres: Sequence[str]  # names of the vocabulary
    items: Sequence[ReviewItem]
    blocks: Sequence[Block]  # after the items
    blocks_title: str
    state: str  # under this name the browser keeps the decisions: another for other data
    file: str  # name of the table that is downloaded


def render_review(page: ReviewPage) -> str:
    """The whole HTML document; the same arguments give the same bytes."""
    script = resource_text("review.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("review.html.j2")
        .render(
            page=page,
            names=visible_json(json.dumps(list(page.genres))),
            css=resource_text("page.css") + resource_text("review.css"),
            script=script,
            script_hash=f"sha256-{digest}",
        )
    )
