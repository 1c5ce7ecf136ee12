"""Everything that `mmposter evaluate` says about one run on one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmposter.document.shown import Shown
from mmposter.evaluation.calibration import CalibrationResult, Method, Reliability, calibrate, reliability
from mmposter.evaluation.cooccurrence import CoOccurrence, cooccurrence
from mmposter.evaluation.evaluate import Evaluation
from mmposter.evaluation.hardest import HardPoster, hardest_posters
from mmposter.evaluation.listing import listing_line
from mmposter.evaluation.operating import GenreThresholds, threshold_table
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.scored import ScoredPosters


@dataclass(frozen=True)
class PartResult:
    """The metrics on a part of the posters, such as those of one source."""

    by: str  # what the posters are parted by, such as ``source``
    name: str  # of the part
    posters: int
    evaluation: Evaluation | None  # None: none of its posters has a genre

    def to_json(self) -> dict[str, Any]:
        """The number of posters, and every metric beside the constant answer's; null where there is none."""
        metrics = None if self.evaluation is None else plain_values(self.evaluation.metrics)
        return {"posters": self.posters, "metrics": metrics}


@dataclass(frozen=True, eq=False)
class Examination(Shown):
    """The metrics, and what they are made of.

    Attributes:
        scored: the posters and the probabilities.
        evaluation: every metric, its interval, the constant answers.
        reliability: of the probabilities as they are.
        calibration: what calibrating them on validation posters would change; None where that was not asked for, or
            where there are no validation posters.
        together: co-occurrence of true and decided genres.
        thresholds: each genre at its threshold and at others.
        hardest: the posters with the highest loss.
        listing: of each poster, in the order of `scored`, its title, year and three surest genres, as text; not in
            `to_json`.
        parts: the metrics on parts of the posters, if any were asked for.
    """

    scored: ScoredPosters
    evaluation: Evaluation
    reliability: Reliability
    calibration: CalibrationResult | None
    together: CoOccurrence
    thresholds: tuple[GenreThresholds, ...]
    hardest: tuple[HardPoster, ...]
    listing: tuple[str, ...]
    parts: tuple[PartResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """`Evaluation.to_json` and the rest, as plain values."""
        source = plain_values(self.scored.source)
        del source["constant"]  # stands beside each metric
        thresholds = plain_values(self.thresholds)
        parts: dict[str, dict[str, Any]] = {}
        for part in self.parts:
            parts.setdefault(part.by, {})[part.name] = part.to_json()
        return {
            **self.evaluation.to_json(),
            **({"parts": parts} if parts else {}),
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "reliability": plain_values(self.reliability),
            "cooccurrence": self.together.to_json(),
            "thresholds": {row.pop("genre"): row for row in thresholds},
            "hardest": plain_values(self.hardest),
            "provenance": {**source, "seed": self.scored.source.seed},
        }

    @property
    def fitted_on_itself(self) -> bool:
        """Whether the calibration was fitted on the very posters it is measured on."""
        return self.calibration is not None and self.calibration.fitted_on == self.evaluation.split


def examine(
    scored: ScoredPosters,
    evaluation: Evaluation,
    *,
    method: Method | None = None,
    fit: tuple[ArrayLike, ArrayLike] | None = None,
    titles: Sequence[tuple[str | None, int | None]] | None = None,
    parts: Sequence[PartResult] = (),
) -> Examination:
    """Look at scored posters from all sides.

    Args:
        scored: the posters.
        evaluation: their metrics; its bootstrap settings are used for the calibration too.
        method: how to calibrate; None: not.
        fit: target and probabilities of the validation posters; None where there are none.
        titles: title and year of each poster, None for what is not known; a poster without a title is listed by id.
        parts: the metrics on parts of the posters.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.
    """
    target, probs = scored.target, scored.probs.astype(np.float64)
    calibration = None
    if method is not None and fit is not None:
        settings = evaluation.bootstrap
        calibration = calibrate(
            method,
            fit,
            (target, probs),
            n_boot=settings["n_boot"],
            seed=settings["seed"],
            groups=scored.groups,
        )
    return Examination(
        scored=scored,
        evaluation=evaluation,
        reliability=reliability(target, probs),
        calibration=calibration,
        together=cooccurrence(target, scored.decisions, scored.genres),
        thresholds=tuple(threshold_table(target, probs, scored.thresholds, scored.genres)),
        hardest=tuple(hardest_posters(scored.ids, target, probs, scored.decisions, scored.genres)),
        listing=tuple(
            listing_line(title or name, year, dict(zip(scored.genres, row.tolist(), strict=True)))
            for name, (title, year), row in zip(
                scored.ids, titles or [(None, None)] * len(scored.ids), probs, strict=True
            )
        ),
        parts=tuple(parts),
    )
