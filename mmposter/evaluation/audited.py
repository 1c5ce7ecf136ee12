"""The result of an audit as plain values: the posters, what was found about them, and genres that are confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.mistakes import (
    KINDS,
    Finding,
    Kind,
    calibrated,
    label_findings,
    misleading_posters,
    ranks,
    suspicion,
    twin_findings,
)
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.separability import GenrePair, confused_genres


@dataclass(frozen=True)
class AuditedPoster:
    """What is told of a poster beside its labels; texts are as the data have them."""

    id: str
    source: str | None  # of several sources its own
    title: str | None
    year: int | None
    split: str
    group: str  # posters of one film, and near-duplicates, share it


@dataclass(frozen=True, eq=False)
class Audited:
    """N posters, and what should be looked at."""

    posters: tuple[AuditedPoster, ...]  # N
    genres: tuple[str, ...]  # the G names
    target: BoolArray  # N x G, as given
    probs: FloatArray  # N x G, out-of-fold and calibrated
    findings: tuple[Finding, ...]  # by kind, the surest first
    pairs: tuple[GenrePair, ...]  # genres that are hardly told apart
    facts: Mapping[str, Any]  # how it was made

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The place of each (poster, genre) in the list of all, from 1: N x G."""
        return ranks(suspicion(self.target, self.probs))

    @property
    def counts(self) -> dict[Kind, int]:
        """Posters with a finding of each kind."""
        rows = {(finding.kind, finding.row) for finding in self.findings}
        found = Counter(kind for kind, _ in rows)
        return {kind: found[kind] for kind in KINDS}

    @property
    def taught(self) -> int:
        """Posters whose given genres the image network behind the features has learnt."""
        return int(self.facts.get("taught_network", 0))

    def given(self, row: int) -> list[str]:
        """The genres that a poster has."""
        return [genre for genre, has in zip(self.genres, self.target[row].tolist(), strict=True) if has]

    def table(self) -> list[dict[str, Any]]:
        """One row a finding, for a table: texts, numbers, and None where there is nothing."""
        rows = []
        for finding in self.findings:
            poster = self.posters[finding.row]
            named = None if finding.genre is None else self.genres[finding.genre]
            suggestion = {True: "add", False: "remove", None: None}[finding.add]
            rows.append(
                {
                    "kind": finding.kind,
                    "id": poster.id,
                    "source": poster.source,
                    "title": poster.title,
                    "year": poster.year,
                    "split": poster.split,
                    "genres": "|".join(self.given(finding.row)),
                    "genre": named,
                    "suggestion": suggestion,
                    "probability": round(finding.probability, 4),
                    "score": round(finding.score, 4),
                    "place": None if finding.genre is None else int(self.places[finding.row, finding.genre]),
                    "others": "|".join(self.posters[other].id for other in finding.others),
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the probabilities of posters about which nothing was found."""
        return {
            **plain_values(self.facts),
            "posters": len(self.posters),
            "found": dict(self.counts),
            "findings": self.table(),
            "confused_genres": plain_values(self.pairs),
        }


def find_mistakes(
    posters: Sequence[AuditedPoster],
    genres: Sequence[str],
    target: BoolArray,
    probs: FloatArray,
    *,
    most: int,
    facts: Mapping[str, Any],
) -> Audited:
    """Everything that out-of-fold probabilities say about the given labels.

    Args:
        posters: N.
        genres: the G names.
        target: N x G, as given.
        probs: N x G in 0-1, each of a model that did not learn from the poster's group.
        most: findings of each kind at most.
        facts: how the probabilities were made.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.
    """
    scaled = calibrated(target, probs)
    findings = [
        *label_findings(target, scaled, most),
        *misleading_posters(target, scaled, most),
        *twin_findings(target, scaled, [poster.group for poster in posters], most),
    ]
    pairs = tuple(confused_genres(target, scaled, genres))
    return Audited(tuple(posters), tuple(genres), np.asarray(target, bool), scaled, tuple(findings), pairs, facts)
