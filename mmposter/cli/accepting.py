"""What `mmposter predict --precision` says at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.document.numbers import DASH
from mmposter.progress import say
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.inference.accepting import Share, Tally


def print_tally(tally: Tally) -> None:
    """How many posters may stand, which to look at first, and what share of genres each precision gives."""
    say(tally.asked.text())
    review = f"{tally.review:,} to review"
    if tally.first:
        named = ", ".join(f"{visible(path)} ({gain:.1f})" for path, gain in tally.first)
        review += f", first those of which a look puts most genres right: {named}"
    say(f"{tally.accepted:,} accepted, with {tally.genres:,} genres; {review}")
    if tally.others:
        say(f"{tally.others:,} without a verdict, as they could not be used")
    Summary(stderr=True).details(_table(tally.shares()))


def _table(shares: list[Share]) -> TableBlock:
    from mmposter.evaluation.promise import short

    rows = []
    for share in shares:
        promise = share.promise
        if promise.holds:
            cells = [short(promise.percent / 100), _percent(promise.share), _percent(share.expected)]
        else:
            cells = [DASH, "none", "none"]
        rows.append([short(promise.precision), *cells])
    header = ("precision", "genres from", "of validation posters", "of these, expected")
    return TableBlock("Share of all genres that is given without a person", header, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
