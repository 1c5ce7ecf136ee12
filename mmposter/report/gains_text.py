"""What a training gained and lost against the model that it went on from, on a console and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mmposter.document.blocks import Emphasis, TableBlock
from mmposter.document.markdown import markdown_table
from mmposter.document.numbers import DASH, number, signed
from mmposter.evaluation.gains import Gain

_COLUMNS = ("mAP on", "posters", "genres", "constant", "before", "after", "gained")


def gains_table(start: str, gains: Sequence[Gain]) -> TableBlock:
    """One row a group of posters; `start` is the name of the model that was gone on from."""
    rows = [_row(gain) for gain in gains]
    emphasis: dict[tuple[int, int | None], Emphasis] = {
        (at, len(_COLUMNS) - 1): "good" if gain.after > gain.before else "bad"
        for at, gain in enumerate(gains)
        if gain.before is not None
    }
    return TableBlock(f"Started from {start}", _COLUMNS, rows, emphasis=emphasis)


def gains_markdown(gains: Sequence[Gain]) -> str:
    """The same rows as a Markdown table."""
    return markdown_table(_COLUMNS, [_row(gain) for gain in gains]).removesuffix("\n")


def _row(gain: Gain) -> list[str]:
    change = DASH if gain.before is None else signed(gain.after - gain.before)
    numbers = [number(gain.constant), number(gain.before), number(gain.after)]
    return [gain.posters, f"{gain.n:,}", str(gain.genres), *numbers, change]
