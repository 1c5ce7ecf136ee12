"""A matplotlib figure as SVG that can stand inside an HTML page, beside others."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONG = 1000

LEGIBLE = 0.72
"""Of its own width, the least that a figure is shown at: 10 pt letters stay 10 pixels high. Below it scrolls."""


def figure_svg(figure: Figure, name: str) -> str:
    """One ``<svg>`` element as wide as its place; a figure drawn from the same numbers gives the same bytes.

    Letters stay text (`svg.fonttype` none): half the size of outlines, sharp, and found by a search in the page. The
    reader's own sans-serif takes their place where DejaVu Sans is not installed; it is narrower, so nothing overlaps.
    What matplotlib writes for a file of its own is taken away: the XML heading, metadata, the style sheet (inside a
    page it would reach all other figures) and ids that two figures would share.

    Args:
        figure: is drawn, not changed.
        name: unique in the page; every id inside begins with it.

    Raises:
        ValueError: `name` is no small letters, digits and hyphens.
    """
    import matplotlib as mpl

    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ValueError(f"name must be small letters, digits and hyphens, a letter first, got {name!r}")
    buffer = io.StringIO()
    # Ids of clip paths and markers are random without a salt.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = text.replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r' (?:d|x|y|transform)="[^"]*"', _shorter, text)
    text = re.sub(r"('DejaVu Sans')(?:, (?:'[^']+'|[\w-]+))*, sans-serif", r"\1, sans-serif", text)
    text = re.sub(r"\n\s*", "\n", text)
    return _heading(text, figure)


def _shorter(attribute: re.Match[str]) -> str:
    """Coordinates on one line with few digits: a third of the bytes, and no eye sees it.

    A hundredth of a point; a tenth in a long path, where markers and letters, which are drawn small, are none.
    """
    text = attribute[0]
    digits = 2 if len(text) < _LONG else 1
    text = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.{digits}f}", text)
    text = re.sub(r"\s+(?=\")", "", re.sub(r"\s+", " ", text))
    if re.fullmatch(r' d="[ML\d.\sz-]*"', text):
        text = text.replace(" L ", " ")  # points that follow a move are lines without being told
    return text


def _heading(text: str, figure: Figure) -> str:
    """The first tag anew: no fixed size, no namespaces (HTML needs none)."""
    end = text.index(">") + 1
    found = re.search(r'viewBox="[^"]+"', text[:end])
    assert found is not None  # matplotlib always writes it
    width = figure.get_figwidth() * 100
    head = (
        f'<svg {found[0]} width="100%" stroke-linejoin="round" stroke-linecap="butt" '
        f'style="max-width:{width:.0f}px;min-width:{width * LEGIBLE:.0f}px">'
    )
    return head + text[end:].rstrip()
