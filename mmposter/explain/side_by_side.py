"""Two posters side by side: a page with what differs between them, by genre, branch, word and object."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from mmposter.branches import declared
from mmposter.document.blocks import Block, PageSection, PicturesBlock, TableBlock, Thumbnail
from mmposter.document.page import render_page
from mmposter.explain.result import Explanation
from mmposter.explain.values import GenreExplanation, Item

_ITEMS = 8
_SIZE = (240, 360)


def side_by_side_page(one: Explanation, other: Explanation, genres: Sequence[str] | None = None) -> str:
    """The page (HTML, nothing is loaded) of two posters that were explained for the same genres.

    Args:
        one: of all genres that may be shown.
        other: of the same genres.
        genres: those to show; None: those that one of the two is given.

    Raises:
        ValueError: a poster that could not be used, or other genres.
    """
    pairs = _pairs(one, other, genres)
    names = ("A", "B")
    pictures = [_thumbnail(name, poster) for name, poster in zip(names, (one, other), strict=True)]
    rows = [
        [
            first.genre,
            f"{first.probability:.2f}",
            f"{second.probability:.2f}",
            _signed(_gap(first, second)),
            _why(first, second),
        ]
        for first, second in pairs
    ]
    header = ["genre", *names, "B - A", "the branch that differs most"]
    table = TableBlock("", header, rows, align="lrrrl", note="")
    sections = [PageSection("posters", "The posters and their genres", (), [PicturesBlock(pictures), table])]
    for number, (first, second) in enumerate(pairs):
        sections.append(PageSection(f"genre-{number}", first.genre, (), _blocks(first, second)))
    lead = (
        f"A is {one.name}, B is {other.name}. For each genre: the probability, what each branch adds to its logit "
        "(Shapley values), and the logit with a word or object minus the logit without it."
    )
    facts = {"branches": ", ".join(one.branches), "logits": one.scale}
    return render_page(f"{one.name} and {other.name}", lead, facts, sections)


def _pairs(
    one: Explanation, other: Explanation, genres: Sequence[str] | None
) -> list[tuple[GenreExplanation, GenreExplanation]]:
    mine, theirs = ({found.genre: found for found in poster.genres} for poster in (one, other))
    if one.picture is None or other.picture is None or set(mine) != set(theirs):
        raise ValueError("two posters that could be used must have been explained for the same genres")
    shown = [name for name in mine if mine[name].chosen or theirs[name].chosen] if genres is None else list(genres)
    shown.sort(key=lambda name: -max(mine[name].probability, theirs[name].probability))
    return [(mine[name], theirs[name]) for name in shown]


def _thumbnail(name: str, poster: Explanation) -> Thumbnail:
    assert poster.picture is not None
    small = poster.picture.convert("RGB")
    small.thumbnail(_SIZE, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    given = [found.genre for found in poster.genres if found.chosen]
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Thumbnail(source, f"{name}: {poster.name}", ", ".join(given) or "no genre")


def _blocks(first: GenreExplanation, second: GenreExplanation) -> list[Block]:
    blocks: list[Block] = []
    if first.shares:
        rows = [
            [name, _signed(share), _signed(second.shares[name]), _signed(second.shares[name] - share)]
            for name, share in first.shares.items()
        ]
        rows.append(["logit", f"{first.logit:.2f}", f"{second.logit:.2f}", _signed(second.logit - first.logit)])
        strong = {(len(rows) - 1, None): "strong"}
        blocks.append(TableBlock("By branch", ["branch", "A", "B", "B - A"], rows, emphasis=strong))  # type: ignore[arg-type]
    found = [("A", item) for item in first.items] + [("B", item) for item in second.items]
    found.sort(key=lambda pair: -abs(pair[1].contribution))
    if found:
        rows = [[_label(item), name, item.branch, _signed(item.contribution)] for name, item in found[:_ITEMS]]
        header = ["word or object", "on", "seen by", "adds"]
        blocks.append(TableBlock("By word and object", header, rows, align="lllr"))
    return blocks


def _label(item: Item) -> str:
    return f"“{item.label}”" if declared(item.branch).quoted else item.label


def _why(first: GenreExplanation, second: GenreExplanation) -> str:
    if not first.shares:
        return ""
    gaps = {name: second.shares[name] - share for name, share in first.shares.items()}
    most = max(gaps, key=lambda name: abs(gaps[name]))
    return f"{most} {_signed(gaps[most])}"


def _gap(first: GenreExplanation, second: GenreExplanation) -> float:
    return second.probability - first.probability


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"
