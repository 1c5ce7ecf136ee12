"""What a training that went on from another model gained and lost: mAP before and after, on the same posters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import check_binary, check_probs
from mmposter.evaluation.metrics import get_metric


@dataclass(frozen=True)
class Gain:
    """mAP over some genres on some posters, of the model that was started from and of the one that came of it."""

    posters: str  # which posters, in words
    n: int  # how many
    genres: int  # how many genres with a positive the mean is over
    constant: float  # of an answer that never looks
    before: float | None  # of the start; None where it does not know the genres
    after: float  # of the run

    @classmethod
    def measure(cls, posters: str, target: ArrayLike, after: ArrayLike, before: ArrayLike | None = None) -> Self | None:
        """Compare scores of the same N posters in G genres; None where no poster has any of the genres.

        A poster without any of them counts: where few genres are shared, most of what tells them apart are others.

        Args:
            posters: which these are, in words.
            target: N x G of {0, 1}.
            after: N x G, probabilities by the run.
            before: the same by the start; None: it does not know the genres.

        Raises:
            ValueError: a wrong shape or value.

        >>> gain = Gain.measure("two posters", [[1], [0]], after=[[0.9], [0.1]], before=[[0.2], [0.3]])
        >>> gain.constant, gain.before, gain.after
        (0.5, 0.5, 1.0)
        """
        truth = check_binary(target, "target")
        occurs = truth.any(axis=0)
        if not occurs.any():
            return None

        def score(probs: ArrayLike) -> float:
            checked = check_probs(probs, truth.shape)
            statistic = get_metric("mean_average_precision").prepare(truth, checked, np.zeros_like(truth))
            return float(statistic(np.ones((1, len(truth))))[0])

        constant = float(truth[:, occurs].mean())
        known = None if before is None else score(before)
        return cls(posters, len(truth), int(occurs.sum()), constant, known, score(after))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the facts of a run."""
        return asdict(self)
