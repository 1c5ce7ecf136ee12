"""An explanation as HTML: boxes and heat maps on the poster, shares of the branches, objects and words."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from PIL import Image

from mmposter.branches import declared
from mmposter.explain import Explanation, GenreExplanation, HeatMap, Item
from mmposter.images.thumbnails import data_uri
from mmposter.serve.page_scores import signed

_MOST_ITEMS = 8


def why_html(explanation: Explanation, genre: GenreExplanation, meanings: Mapping[str, str]) -> str:
    """Why a poster has the probability of one genre.

    Args:
        explanation: of the poster, with its picture.
        genre: one of its genres.
        meanings: what each branch sees, in a word or two.
    """
    items = genre.items[:_MOST_ITEMS]
    return (
        f'<div class="mm"><h2>{escape(explanation.name)}: {escape(genre.genre)} {genre.probability:.2f}</h2>'
        f"<p>{escape(_verdict(genre))} Looked through: {escape(', '.join(explanation.branches))}.</p>"
        f"{_sights(explanation, genre, items, meanings)}"
        f'<div class="mm-two">{_shares(genre, meanings)}{_table(items, genre)}</div>'
        f"{_notes(explanation)}</div>"
    )


def _verdict(genre: GenreExplanation) -> str:
    if genre.threshold is None:
        return "It is given: it is the surest genre." if genre.chosen else "It is not given: another genre is surer."
    beyond = genre.probability >= genre.threshold
    if genre.chosen and not beyond:
        return f"It is below its threshold {genre.threshold:.2f}, and given as the surest genre."
    return f"It is {'given' if genre.chosen else 'not given'}: its threshold is {genre.threshold:.2f}."


def _sights(
    explanation: Explanation, genre: GenreExplanation, items: tuple[Item, ...], meanings: Mapping[str, str]
) -> str:
    picture = explanation.picture
    assert picture is not None  # the poster could be used
    source = data_uri(picture.convert("RGB"))
    boxes = "".join(_box(number, item) for number, item in enumerate(items, start=1))
    poster = f'<img alt="the poster" src="{source}">{boxes}'
    named = "objects (orange) and words (green) that counted most" if items else "the poster"
    figures = [f'<figure><div class="mm-poster">{poster}</div><figcaption>{named}</figcaption></figure>']
    for branch, heat in genre.heat_maps.items():
        if heat is None:
            continue
        over = f'<img class="heat" alt="" src="{data_uri(_overlay(heat, picture.size), "PNG")}">'
        grey = f'<img class="grey" alt="heat map of {branch}" src="{source}">'
        where = "the lighter, the more speaks for the genre" if heat.maximum > 0 else "nothing speaks for the genre"
        caption = f"{_named(branch, meanings)}: {where}"
        figures.append(f'<figure><div class="mm-poster">{grey}{over}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="mm-sights">{"".join(figures)}</div>'


def _box(number: int, item: Item) -> str:
    left, top, right, bottom = (min(max(side, 0.0), 1.0) for side in item.box)
    colour = declared(item.branch).colour
    place = f"left:{left:.1%};top:{top:.1%};width:{right - left:.1%};height:{bottom - top:.1%}"
    label = escape(item.label, quote=True)
    return (
        f'<span class="mm-box" style="{place};border-color:{colour}" title="{label}">'
        f'<b style="background:{colour}">{number}</b></span>'
    )


def _overlay(heat: HeatMap, size: tuple[int, int]) -> Image.Image:
    """The heat alone, transparent where nothing speaks for the genre; drawn in colours as on the card."""
    from matplotlib import colormaps

    share = heat.resized(*size)
    # The upper half of the map, from orange to yellow: what is weak is transparent already.
    pixels = colormaps["inferno"](0.6 + 0.35 * share)
    pixels[..., 3] = 0.85 * share
    return Image.fromarray((255 * pixels).astype(np.uint8), "RGBA")


def _shares(genre: GenreExplanation, meanings: Mapping[str, str]) -> str:
    if genre.empty_logit is None:
        return ""
    longest = max([abs(share) for share in genre.shares.values()], default=0.0) or 1.0
    rows = []
    for branch, share in genre.shares.items():
        width = 50 * abs(share) / longest
        left = 50 if share >= 0 else 50 - width
        rows.append(
            f'<li><div class="line"><span class="name">{_named(branch, meanings)}</span><b>{signed(share)}</b></div>'
            f'<div class="share" aria-hidden="true"><i style="left:{left:.1f}%;width:{width:.1f}%;'
            f'background:{declared(branch).colour}"></i><b></b></div></li>'
        )
    return (
        f'<section><h3>Shares of the branches</h3><ul class="bars">{"".join(rows)}</ul>'
        '<p class="faint">To the right: speaks for the genre; to the left: against it. The numbers are steps of the '
        f"log-odds: an empty poster starts at {signed(genre.empty_logit)}, this one ends at {signed(genre.logit)}; 0 "
        "is a probability of one half.</p></section>"
    )


def _table(items: tuple[Item, ...], genre: GenreExplanation) -> str:
    seen = {item.branch for item in genre.items}
    nothing = (declared(branch).nothing_found for branch in genre.shares if branch not in seen)
    missing = [f"no {noun} was {participle}" for noun, participle in filter(None, nothing)]
    said = f'<p class="faint">On this poster {" and ".join(missing)}.</p>' if missing else ""
    if not items:
        return f"<section><h3>Objects and words</h3>{said}</section>" if said else ""
    rows = "".join(
        f'<tr><td><span class="number" style="background:{declared(item.branch).colour}">{number}</span></td>'
        f"<td>{_quoted(item)}</td>"
        f'<td class="sum">{item.confidence:.2f}</td><td class="sum">{signed(item.contribution)}</td></tr>'
        for number, item in enumerate(items, start=1)
    )
    more = len(genre.items) - len(items)
    left = f'<p class="faint">{more} more counted less.</p>' if more else ""
    return (
        "<section><h3>Objects and words that counted most</h3><table><thead><tr><th></th><th>object or “words”</th>"
        '<th class="sum">sure</th><th class="sum">counts</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{left}{said}"
        '<p class="faint">counts: the log-odds with it minus those without it. sure: how sure the detector or the '
        "reader was.</p></section>"
    )


def _quoted(item: Item) -> str:
    return f"“{escape(item.label)}”" if declared(item.branch).quoted else escape(item.label)


def _named(branch: str, meanings: Mapping[str, str]) -> str:
    dot = f'<span class="dot" style="background:{declared(branch).colour}"></span>'
    return f"{dot}{escape(branch)} ({escape(meanings[branch])})"


def _notes(explanation: Explanation) -> str:
    notes = [*explanation.notes, *([explanation.error] if explanation.error else [])]
    return "".join(f'<p class="faint">{escape(note[0].upper() + note[1:])}.</p>' for note in notes if note)
