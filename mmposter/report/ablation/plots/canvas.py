"""What the figures of an ablation share: the canvas with its footer, the colours, and how an estimate is drawn."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from mmposter.document.numbers import Ends
from mmposter.report.plots.style import BLUE, GREY, ORANGE, figure_style, new_figure
from mmposter.visible import visible_lines

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

ROW = 0.3
"""Inches a row of a dot plot takes."""

VERDICTS = {
    1: (BLUE, "^", BLUE, "better than"),
    -1: (ORANGE, "v", ORANGE, "worse than"),
    0: (GREY, "o", "white", "not told apart from"),
}
"""Colour, marker, filling and words of `numbers.carried`: shape says the same as colour."""

_LABEL_WIDTH = 34  # letters in a line of a row's label


@contextmanager
def canvas(height: float, footer: str) -> Iterator[tuple[Figure, SubFigure]]:
    """A figure 900 pixels wide: the part to draw in, `height` inches high, and `footer` in small letters below it.

    Settings hold while it is drawn; pyplot and the caller's settings stay out of it.
    """
    with figure_style():
        lines = textwrap.wrap(visible_lines(footer), 140)
        margin = 0.16 * len(lines) + 0.06
        figure = new_figure(height + margin)
        both: Any = figure.subfigures(2, 1, height_ratios=[height, margin])
        body, foot = both
        # On a line of its own: a legend outside the axes would be drawn over a text of the same figure.
        foot.text(0.008, 0.3, "\n".join(lines), fontsize=8, color="#666666")
        yield figure, body


def draw_title(body: SubFigure, text: str) -> None:
    """The title, from the figure's left edge: above the axes alone a long one would be cut."""
    body.suptitle(
        "\n".join(textwrap.wrap(visible_lines(text), 95)),
        x=0.01,
        ha="left",
        fontsize=11,
        fontweight="bold",
    )


def draw_rows(axes: Axes, labels: Sequence[str], texts: Sequence[str]) -> None:
    """Name the rows of a dot plot, the first on top: labels on the left, what they say in numbers on the right."""
    places = list(range(len(labels)))
    axes.set_yticks(places, ["\n".join(textwrap.wrap(visible_lines(label), _LABEL_WIDTH)) for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    right = axes.secondary_yaxis("right")
    right.set_yticks(places, texts)
    right.tick_params(axis="y", length=0, labelsize=9)
    right.spines["right"].set_visible(False)
    grid(axes, "x")


def draw_constant(line: Callable[..., object], value: float) -> None:
    """A dashed line at the best constant answer's value, by `axvline` or `axhline`; a key explains it."""
    line(value, color=ORANGE, linewidth=1.6, linestyle=(0, (4, 2)), label="best constant answer")


def draw_verdict(axes: Axes, x: float, y: float, ends: Ends, side: int, *, upright: bool = False) -> None:
    """A dot with its interval in the colour and shape of `VERDICTS`; `upright` draws the interval along y."""
    colour, marker, filling, _ = VERDICTS[side]
    if ends is not None:
        (axes.vlines if upright else axes.hlines)(x if upright else y, *ends, color=colour, linewidth=2, alpha=0.55)
    axes.plot([x], [y], marker, color=colour, markerfacecolor=filling, markersize=7, markeredgewidth=1.6, zorder=4)


def verdict_handles(sides: Sequence[int], other: str) -> list[Line2D]:
    """What a legend needs to explain the shapes of the verdicts that occur: "better than `other`"."""
    from matplotlib.lines import Line2D

    handles = []
    for side in (1, 0, -1):
        if side in sides:
            colour, marker, filling, words = VERDICTS[side]
            handles.append(
                Line2D(
                    [], [], color=colour, marker=marker, markerfacecolor=filling, linestyle="", markersize=7,
                    label=f"{words} {other}",
                )
            )  # fmt: skip
    return handles


def draw_key(body: SubFigure, handles: Sequence[Artist] | None = None) -> None:
    """The legend in one line below the axes; by default of everything that has a label."""
    known = body.axes[0].get_legend_handles_labels()[0] if handles is None else list(handles)
    body.legend(handles=known, loc="outside lower center", ncols=len(known), fontsize=9, columnspacing=1.4)


def grid(axes: Axes, along: Literal["x", "y"]) -> None:
    """Faint lines behind the data, and ticks written as in the tables."""
    axes.grid(axis=along)
    short_ticks(axes.xaxis if along == "x" else axes.yaxis)


def short_ticks(axis: Axis) -> None:
    """Write ticks without the leading zero and with a plain minus, as the numbers of the tables: ``.25``, ``-.010``."""
    from matplotlib.ticker import ScalarFormatter

    class Short(ScalarFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            text = super().__call__(x, pos).replace("\N{MINUS SIGN}", "-")
            return "0" if x == 0 else re.sub(r"^(-?)0\.", r"\1.", text)

    axis.set_major_formatter(Short(useOffset=False))


def height_of(labels: Sequence[str]) -> float:
    """Inches that rows with these labels take; a label of two lines takes more."""
    return sum(ROW + 0.16 * (len(textwrap.wrap(label, _LABEL_WIDTH)) - 1) for label in labels)
