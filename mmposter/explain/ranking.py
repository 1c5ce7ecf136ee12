"""Which of several posters of a film says its genres best, and by which branch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmposter.errors import UserError
from mmposter.explain.result import Explanation
from mmposter.explain.values import GenreExplanation
from mmposter.suggest import did_you_mean

_LEAST = 1e-12  # a probability of 0 has no logarithm


@dataclass(frozen=True, eq=False)
class RankedPoster:
    """How well one poster says some genres.

    Attributes:
        rank: 1 is the best.
        score: the geometric mean of the probabilities of the genres, exp of the mean of their logarithms. It ranks
            posters as the product does, the probability that all of the genres hold if they are independent given the
            poster, and reads like the probability of one. A genre that a poster does not say costs most.
        explanation: what it was made of.
        genres: that are to be said, in the order in which they were named.
    """

    rank: int
    score: float
    explanation: Explanation
    genres: tuple[str, ...]

    @property
    def evidence(self) -> dict[str, GenreExplanation]:
        """Why each genre has its probability."""
        by_name = {one.genre: one for one in self.explanation.genres}
        return {genre: by_name[genre] for genre in self.genres}

    @property
    def louder(self) -> dict[str, float]:
        """Genres that were not named and have a higher probability than one of those that were; the surest first."""
        least = min(one.probability for one in self.evidence.values())
        rest = sorted(self.explanation.scores.items(), key=lambda pair: -pair[1])
        return {genre: score for genre, score in rest if genre not in self.genres and score > least}

    def to_json(self) -> dict[str, Any]:
        """The line of a `.jsonl` file."""
        return {
            "rank": self.rank,
            "path": self.explanation.path,
            "score": round(self.score, 6),
            "genres": [one.to_json(heat_maps=False) for one in self.evidence.values()],
            "louder": {genre: round(score, 6) for genre, score in self.louder.items()},
            "error": self.explanation.error,
        }

    def row(self) -> dict[str, Any]:
        """The row of a table: each genre's probability, and by genre and branch what it adds to the logit."""
        found: dict[str, Any] = {"rank": self.rank, "path": self.explanation.path, "score": round(self.score, 6)}
        found |= {genre: round(one.probability, 6) for genre, one in self.evidence.items()}
        for genre, one in self.evidence.items():
            found |= {f"{genre} by {branch}": round(share, 6) + 0.0 for branch, share in one.shares.items()}
        return found | {"louder": "|".join(self.louder), "error": self.explanation.error}


def rank_explained(explanations: Iterable[Explanation], genres: Sequence[str]) -> list[RankedPoster]:
    """Posters by how well they say `genres`, the best first; those that could not be used are left out.

    Args:
        explanations: of these genres, as from `PosterClassifier.explain`.
        genres: one or more.
    """
    scored = []
    for explanation in explanations:
        said = [one.probability for one in explanation.genres if one.genre in genres]
        if said:
            logs = [math.log(max(probability, _LEAST)) for probability in said]
            scored.append((math.exp(math.fsum(logs) / len(logs)), explanation))
    scored.sort(key=lambda pair: -pair[0])
    return [RankedPoster(rank, score, one, tuple(genres)) for rank, (score, one) in enumerate(scored, start=1)]


def strongest(one: GenreExplanation) -> str:
    """What speaks for a genre most, in words: the branch with the largest share, and its item that counts most."""
    if not one.shares:
        return ""
    branch = max(one.shares, key=lambda name: one.shares[name])
    if one.shares[branch] <= 0:
        return "no branch"
    items = [item for item in one.items if item.branch == branch and item.contribution > 0]
    named = f": {max(items, key=lambda item: item.contribution).label}" if items else ""
    return f"{branch} {one.shares[branch]:+.2f}{named}"


def parse_genres(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The genres of ``--as``, as the model spells them.

    Args:
        text: names with commas between them; capitals do not count.
        known: the genres of the model.

    Raises:
        UserError: none is named, or one that the model does not know; with the nearest name, and those that it knows.
    """
    spelt = {genre.casefold(): genre for genre in known}
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name.casefold() not in spelt:
            meant = did_you_mean(name, known)
            raise UserError(f"--as {name}: the model has no such genre{meant}; allowed are {', '.join(known)}")
    if not names:
        raise UserError(f"--as names no genre; allowed are {', '.join(known)}")
    return tuple(dict.fromkeys(spelt[name.casefold()] for name in names))


def short_name(path: str | None) -> str:
    """The file of a poster, for a table."""
    return "untitled" if path is None else Path(path).name
