"""The card of an explanation: the poster with what counted on it, and a row for each genre.

A row reads from left to right: probability against threshold; how the branches lead from the logit of an empty poster
to this one's; where the cnn and the style branch found what speaks for the genre; the items that counted most.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import NDArray

from mmposter.branches import declared
from mmposter.explain.page import WIDTH, CardPage
from mmposter.explain.values import ExplainedPoster, GenreExplanation, HeatMap, Item
from mmposter.report.plots.style import GREY, INK, ORANGE, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

MOST_GENRES, MOST_ITEMS = 4, 3

_MARGIN, _GAP = 0.2, 0.25
_HEAD, _FOOT = 0.72, 0.62
_POSTER = 2.9  # width in inches, and the most of its height
_POSTER_HEIGHT = 5.6
_ROW, _HIGHEST_ROW = 1.72, 2.5
_SUM, _LABELS, _ITEMS = 1.35, 1.0, 2.05  # widths of columns: probability, names of the branches, items
_HEAT = 1.2  # the most that a heat map may be wide
_SMALL, _TINY = 9.0, 8.0


def draw_card(explanation: ExplainedPoster) -> Figure:
    """The card, 1200 pixels wide, of the surest genres (at most four).

    Raises:
        ValueError: the poster could not be used.
    """
    picture = explanation.picture
    if picture is None:
        raise ValueError(f"a poster must have been usable to be drawn, got the error {explanation.error!r}")
    genres = explanation.genres[:MOST_GENRES]
    numbers = _numbered(genres)
    scale = min(_POSTER / picture.width, _POSTER_HEIGHT / picture.height)
    size = picture.width * scale, picture.height * scale
    body = max(size[1], _ROW * len(genres))
    with figure_style():
        page = CardPage(_HEAD + body + _foot(explanation))
        _draw_head(page, explanation)
        _draw_poster(page.axes(_MARGIN + (_POSTER - size[0]) / 2, _HEAD, *size), picture, numbers)
        left = _MARGIN + _POSTER + _GAP
        if not genres:
            _draw_nothing(page, left, explanation)
        row = min(body / max(len(genres), 1), _HIGHEST_ROW)
        for place, genre in enumerate(genres):
            _draw_row(page, (left, _HEAD + place * row, row), genre, genres, picture, numbers)
        _draw_foot(page, explanation, genres)
    return page.figure


def _draw_head(page: CardPage, explanation: ExplainedPoster) -> None:
    page.fitted(_MARGIN, 0.14, _short(explanation.name, 150), WIDTH - 2 * _MARGIN, fontsize=14, fontweight="bold")
    more = len(explanation.genres) - MOST_GENRES
    said = [f"looked through {', '.join(explanation.branches)}"]
    said += [f"not drawn: {', '.join(genre.genre for genre in explanation.genres[MOST_GENRES:])}"] if more > 0 else []
    said += [explanation.error] if explanation.error else []
    text = _short("; ".join(said), 250)
    page.fitted(_MARGIN, 0.42, text, WIDTH - 2 * _MARGIN, fontsize=_SMALL, color="#666666")


def _draw_poster(axes: Axes, picture: Image.Image, numbers: dict[Item, int]) -> None:
    from matplotlib.patches import Rectangle

    width, height = picture.size
    axes.imshow(np.asarray(picture), aspect="auto", interpolation="lanczos")
    for item, number in numbers.items():
        left, top, right, bottom = (side * scale for side, scale in zip(item.box, (width, height) * 2, strict=True))
        colour = declared(item.branch).colour
        for line, edge in ((3.6, "white"), (2.0, colour)):  # a white rim, so that it shows on any poster
            axes.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=line, edgecolor=edge)
            )
        # Inside the picture, also where the box reaches out of it.
        place = min(max(left, 0), width * 0.93), min(max(top, 0), height * 0.95)
        axes.text(
            *place, str(number), va="top", ha="left", fontsize=_SMALL, fontweight="bold", color="white",
            bbox={"facecolor": colour, "edgecolor": "white", "linewidth": 0.8, "pad": 2},
        )  # fmt: skip
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _draw_row(
    page: CardPage,
    place: tuple[float, float, float],
    genre: GenreExplanation,
    genres: Sequence[GenreExplanation],
    picture: Image.Image,
    numbers: dict[Item, int],
) -> None:
    left, top, height = place
    page.rule(left, WIDTH - _MARGIN, top - 0.04)
    _draw_probability(page, left, top, genre)
    heat = [name for name, found in genre.heat_maps.items() if found is not None]
    width = min(_HEAT, (height - 0.34) * picture.width / picture.height)
    items = WIDTH - _MARGIN - _ITEMS
    first = items - 0.15 - len(heat) * (width + 0.1)
    shares = left + _SUM + _LABELS
    _draw_shares(page, (shares, top + 0.06, first - 0.2 - shares, min(height, 1.9) - 0.46), genre, _limits(genres))
    for column, name in enumerate(heat):
        found = genre.heat_maps[name]
        assert found is not None
        strongest = max(m.maximum for other in genres if (m := other.heat_maps[name]) is not None)
        axes = page.axes(first + column * (width + 0.1), top + 0.06, width, width * picture.height / picture.width)
        axes.imshow(_overlay(picture, found, strongest), aspect="auto", interpolation="bilinear")
        axes.text(
            0.5, -0.03, name, transform=axes.transAxes, va="top", ha="center", fontsize=_SMALL,
            color=declared(name).colour, fontweight="bold",
        )  # fmt: skip
        if found.maximum == 0:
            axes.text(0.5, 0.5, "nothing", transform=axes.transAxes, ha="center", color="white", fontsize=_SMALL)
    _draw_items(page, items, top, genre, numbers)


def _draw_probability(page: CardPage, left: float, top: float, genre: GenreExplanation) -> None:
    page.fitted(left, top + 0.06, genre.genre, _SUM, fontsize=12.5, fontweight="bold")
    page.text(left, top + 0.34, f"{genre.probability:.2f}", fontsize=18, color=INK)
    axes = page.axes(left, top + 0.72, _SUM - 0.15, 0.14)
    axes.barh(0, 1, color="#E6E6E6", height=1)
    axes.barh(0, genre.probability, color=INK if genre.chosen else GREY, height=1)
    words = "the surest genre" if genre.chosen else "not the surest"
    if genre.threshold is not None:
        axes.plot([genre.threshold] * 2, [-0.9, 0.9], color=ORANGE, linewidth=2.4, clip_on=False)
        words = f"threshold {genre.threshold:.2f}" + ("" if genre.chosen else ": not given")
        if genre.chosen and genre.probability < genre.threshold:
            words = f"below {genre.threshold:.2f}, but the surest"
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.5, 0.5)
    page.text(left, top + 0.93, "\n".join(textwrap.wrap(words, 18)), fontsize=_SMALL)


def _draw_shares(
    page: CardPage, place: tuple[float, float, float, float], genre: GenreExplanation, limits: tuple[float, float]
) -> None:
    if genre.empty_logit is None:
        page.text(place[0] - _LABELS, place[1] + 0.3, "no branches\nto share between", fontsize=_SMALL, color="#666666")
        return
    axes = page.axes(*place, bare=False)
    at = genre.empty_logit
    axes.axvline(at, color=GREY, linewidth=1.2, linestyle=":")
    for row, (branch, share) in enumerate(genre.shares.items()):
        axes.barh(row, share, left=at, color=declared(branch).colour, height=0.62)
        end = at + share
        axes.plot([end, end], [row, min(row + 1, len(genre.shares) - 0.6)], color=GREY, linewidth=0.8)
        at = end
    axes.axvline(genre.logit, color=INK, linewidth=1.6)
    if _drawn(genre.threshold):
        axes.axvline(_logit(genre.threshold), color=ORANGE, linewidth=1.6, linestyle=(0, (4, 2)), zorder=0)
    names = [f"{branch}  {_signed(share)}" for branch, share in genre.shares.items()]
    axes.set_yticks(range(len(names)), names, fontsize=10)
    for label, branch in zip(axes.get_yticklabels(), genre.shares, strict=True):
        label.set_color(declared(branch).colour)
        label.set_fontweight("bold")
    axes.set_ylim(len(genre.shares) - 0.4, -0.6)
    axes.set_xlim(*limits)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=_TINY)
    axes.spines["left"].set_visible(False)


def _draw_items(page: CardPage, left: float, top: float, genre: GenreExplanation, numbers: dict[Item, int]) -> None:
    if not genre.items:
        nothing = (declared(branch).nothing_found for branch in genre.shares)
        said = "\n".join(f"no {noun} {participle}" for noun, participle in filter(None, nothing))
        page.text(left, top + 0.1, said, fontsize=_SMALL, color="#666666")
    for row, item in enumerate(genre.items[:MOST_ITEMS]):
        y = top + 0.1 + 0.45 * row
        page.text(
            left + 0.06, y, str(numbers[_same(item)]), fontsize=_TINY, fontweight="bold", color="white",
            bbox={"facecolor": declared(item.branch).colour, "edgecolor": "none", "pad": 2},
        )  # fmt: skip
        around = "“”" if declared(item.branch).quoted else ""
        page.fitted(left + 0.3, y - 0.02, _short(item.label, 60), _ITEMS - 0.3, around, fontsize=_SMALL)
        page.text(left + 0.3, y + 0.15, _signed(item.contribution), fontsize=_SMALL, fontweight="bold")


def _draw_nothing(page: CardPage, left: float, explanation: ExplainedPoster) -> None:
    ranked = sorted(explanation.scores.items(), key=lambda pair: -pair[1])[:5]
    page.text(left, _HEAD + 0.06, "No genre is above its threshold.", fontsize=12.5, fontweight="bold")
    lines = "\n".join(f"{score:.2f}  {genre}" for genre, score in ranked)
    page.text(left, _HEAD + 0.5, f"The surest:\n{lines}", fontsize=11, linespacing=1.5)


def _foot(explanation: ExplainedPoster) -> float:
    """Inches below the rows; two lines more where near posters are named."""
    return _FOOT + (0.26 if explanation.nearest else 0)


def _draw_foot(page: CardPage, explanation: ExplainedPoster, genres: Sequence[GenreExplanation]) -> None:
    said = []
    if any(genre.shares for genre in genres):
        said.append(
            "Bars: what each branch (cnn: the picture, style, yolo: objects, ocr: words) adds from the logit of an "
            "empty poster (dotted) to this one's (solid), as Shapley values; dashed: the threshold."
        )
    if any(m is not None for genre in genres for m in genre.heat_maps.values()):
        said.append("Heat maps (Grad-CAM): the lighter, the more speaks for the genre; one scale for a column.")
    if any(genre.items for genre in genres):
        said.append("Numbered: the logit with the object or line minus the logit without it.")
    if explanation.nearest:
        near = ", ".join(f"{_short(one.name, 40)} {one.similarity:.2f}" for one in explanation.nearest)
        said.insert(0, f"Nearest of the films it was compared with: {near}.")
    text = " ".join([*said, *(f"{note[0].upper()}{note[1:]}." for note in explanation.notes)])
    lines = textwrap.wrap(text, 190)[: 3 if explanation.nearest is None else 5]
    page.text(_MARGIN, page.height - _foot(explanation) + 0.1, "\n".join(lines), fontsize=_TINY, color="#666666")


def _overlay(picture: Image.Image, heat: HeatMap, strongest: float) -> NDArray[np.float64]:
    """The poster in dark grey with the heat over it: as strong as it is beside the strongest of the shown genres."""
    from matplotlib import colormaps

    small = picture.convert("L")
    small.thumbnail((240, 360))
    grey = np.repeat(np.asarray(small, dtype=np.float64)[..., None] / 255, 3, axis=2)
    share = heat.resized(*small.size) * (heat.maximum / strongest if strongest > 0 else 0.0)
    alpha = 0.85 * share[..., None]
    # The upper half of the map, from orange to yellow: what is weak is transparent already.
    overlaid: NDArray[np.float64] = (1 - alpha) * grey * 0.6 + alpha * colormaps["inferno"](0.6 + 0.35 * share)[..., :3]
    return overlaid


def _limits(genres: Sequence[GenreExplanation]) -> tuple[float, float]:
    """One scale of logits for all rows, so that bars can be compared."""
    values = [0.0]
    for genre in genres:
        if genre.empty_logit is not None:
            values += (genre.empty_logit + np.cumsum([0.0, *genre.shares.values()])).tolist()
            values += [_logit(genre.threshold)] if _drawn(genre.threshold) else []
    room = max(0.5, max(values) - min(values))
    return min(values) - 0.08 * room, max(values) + 0.08 * room


def _drawn(threshold: float | None) -> TypeGuard[float]:
    """Whether a threshold has a place among logits."""
    return threshold is not None and 0 < threshold < 1


def _logit(probability: float) -> float:
    return float(np.log(probability) - np.log1p(-probability))


def _numbered(genres: Sequence[GenreExplanation]) -> dict[Item, int]:
    """The items that are listed, numbered in the order of the lists; one that counts for several genres once."""
    shown = dict.fromkeys(_same(item) for genre in genres for item in genre.items[:MOST_ITEMS])
    return {item: number for number, item in enumerate(shown, start=1)}


def _same(item: Item) -> Item:
    """The item without what differs between genres."""
    return Item(item.branch, item.label, item.confidence, item.box)


def _signed(value: float) -> str:
    """Two digits, and never "-0.00"."""
    return f"{round(value, 2) + 0.0:+.2f}"


def _short(text: str, length: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= length else f"{plain[: length - 1].rstrip()}…"
