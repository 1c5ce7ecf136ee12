"""A near poster: how near, and by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DIGITS = 6


@dataclass(frozen=True)
class Neighbour:
    """One of the nearest posters of an index.

    Attributes:
        rank: 1 is the nearest.
        similarity: the cosine of the two fused representations, 1 for one and the same picture.
        shares: by branch its term of that cosine; they sum to `similarity`. A branch that saw nothing on one of the two
            posters adds 0.
        nothing: branches that saw nothing on this one.
        id: of the data set; of a folder of pictures the path.
        title: None where none is known.
        year: None where none is known.
        genres: those that the data set has of it.
        split: the side of the data set that it is on, or none.
    """

    rank: int
    similarity: float
    shares: Mapping[str, float]
    nothing: tuple[str, ...]
    id: str
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()
    split: str = "none"

    @property
    def name(self) -> str:
        """What a person knows it by: title and year, or the id."""
        if self.title is None:
            return self.id
        return self.title if self.year is None else f"{self.title} ({self.year})"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rank": self.rank,
            "similarity": round(self.similarity, _DIGITS),
            "id": self.id,
            "title": self.title,
            "year": self.year,
            "genres": list(self.genres),
            "split": self.split,
            "shares": {branch: round(share, _DIGITS) + 0.0 for branch, share in self.shares.items()},
            "saw_nothing": list(self.nothing),
        }


def flat_rows(poster: str | None, neighbours: Sequence[Neighbour], error: str | None) -> list[dict[str, Any]]:
    """Rows of a table: one a neighbour, and one with the error alone of a poster that could not be used."""
    if error is not None and not neighbours:
        return [{"poster": poster, "error": error}]
    rows = []
    for one in neighbours:
        row: dict[str, Any] = {"poster": poster, "rank": one.rank, "similarity": round(one.similarity, _DIGITS)}
        row |= {"id": one.id, "title": one.title, "year": one.year, "genres": "|".join(one.genres), "split": one.split}
        row |= {branch: round(share, _DIGITS) + 0.0 for branch, share in one.shares.items()}
        rows.append(row | {"error": error})
    return rows
