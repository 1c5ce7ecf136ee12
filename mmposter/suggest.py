"""What somebody who typed an unknown name may have meant: the one place that every "did you mean" comes from."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_ALIKE = 0.6  # how near a name must be to be proposed, as `difflib` counts it; 1 is the same
_LONGEST = 200  # letters; comparing takes the product of two lengths, and a name may come from a file


def closest(name: str, known: Iterable[str], *, alike: float = _ALIKE) -> str | None:
    """The known name that is nearest to `name`, capitals aside; None where none is near.

    >>> closest("gatde", ["sum", "concat", "gated"])
    'gated'

    Args:
        name: what was typed.
        known: the names that are allowed.
        alike: how near it must be, from 0 to 1.
    """
    if len(name) > _LONGEST:
        return None
    folded = {other.casefold(): other for other in known}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=alike)
    return folded[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence's part that proposes the nearest known name, with a blank before it; empty where none is near.

    >>> did_you_mean("stlye", ["cnn", "style"])
    ' (did you mean style?)'
    """
    near = closest(name, known)
    return "" if near is None else f" (did you mean {near}?)"
