"""Posters as lines to read: ``Title (year)  Genre (0.736), Genre (0.385), Genre (0.234)``, as published system P4."""

from __future__ import annotations

from collections.abc import Mapping

from mmposter.visible import visible

SUREST = 3
"""Genres on a line."""

LISTING = "listing.txt"


def listing_line(title: str, year: int | None, scores: Mapping[str, float], k: int = SUREST) -> str:
    """One poster and its k surest genres, the surest first (equal ones in the order of `scores`).

    Args:
        title: line breaks in it become blanks, what would steer a terminal its code.
        year: None where it is not known; then there are no brackets.
        scores: probability of each genre.
        k: how many genres.

    Raises:
        ValueError: `k` below 1.

    >>> listing_line("Gladiator", 2000, {"War": 0.234, "Family": 0.7361, "Drama": 0.1, "Adult": 0.385})
    'Gladiator (2000)  Family (0.736), Adult (0.385), War (0.234)'
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    surest = sorted(scores.items(), key=lambda item: -item[1])[:k]
    return f"{heading(title, year)}  " + ", ".join(f"{visible(genre)} ({score:.3f})" for genre, score in surest)


def heading(title: str, year: int | None) -> str:
    """Title and year on one line, the year only where it is known.

    >>> heading("Heat", 1995), heading("Heat", None)
    ('Heat (1995)', 'Heat')
    """
    text = visible(" ".join(title.split()))
    return text if year is None else f"{text} ({year})"
