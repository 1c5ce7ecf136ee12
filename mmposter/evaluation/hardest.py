"""The posters that a model is most wrong about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmposter.evaluation.arrays import BoolArray, has_genre
from mmposter.evaluation.calibration import cross_entropy
from mmposter.evaluation.metrics import labelled

TOP = 20


@dataclass(frozen=True)
class HardPoster:
    """One poster."""

    id: str  # as in the manifest
    loss: float  # mean over genres of the binary cross-entropy, in nats
    true: tuple[str, ...]  # its genres
    decided: tuple[str, ...]  # the genres that were decided
    missed: Mapping[str, float]  # probability of each genre that it has and that was not decided
    false: Mapping[str, float]  # probability of each genre that was decided and that it has not
    worst: str  # the genre that adds most to the loss
    worst_probability: float  # what the model gave to that genre


def hardest_posters(
    ids: Sequence[str],
    target: ArrayLike,
    probs: ArrayLike,
    decisions: ArrayLike,
    genres: Sequence[str],
    top: int = TOP,
) -> list[HardPoster]:
    """The `top` posters with the highest binary cross-entropy, the worst first; equal ones in the given order.

    Args:
        ids: N, one a poster.
        target: N x G of {0, 1}; posters without a genre are left out.
        probs: N x G in 0-1.
        decisions: N x G of {False, True}.
        genres: the G names.
        top: how many.

    Raises:
        ValueError: a wrong shape or value.
        UserError: no poster has a genre.

    >>> target, probs = [[1, 0], [0, 1]], [[0.9, 0.2], [0.3, 0.1]]
    >>> worst = hardest_posters(["a", "b"], target, probs, np.eye(2), ["War", "Drama"])[0]
    >>> worst.id, worst.worst, worst.worst_probability
    ('b', 'Drama', 0.1)
    """
    truth, scores, decided = labelled(target, probs, decisions)
    kept = [poster for poster, keep in zip(ids, has_genre(np.asarray(target) > 0), strict=True) if keep]
    losses = cross_entropy(truth, scores)
    found = []
    for row in np.argsort(-losses.mean(axis=1), kind="stable")[:top].tolist():
        has, said = truth[row], decided[row]
        worst = int(losses[row].argmax())

        given = dict(zip(genres, scores[row].tolist(), strict=True))
        found.append(
            HardPoster(
                id=str(kept[row]),
                loss=float(losses[row].mean()),
                true=tuple(_chosen(given, has)),
                decided=tuple(_chosen(given, said)),
                missed=_chosen(given, has & ~said),
                false=_chosen(given, said & ~has),
                worst=genres[worst],
                worst_probability=given[genres[worst]],
            )
        )
    return found


def _chosen(given: Mapping[str, float], which: BoolArray) -> dict[str, float]:
    return {genre: value for (genre, value), yes in zip(given.items(), which.tolist(), strict=True) if yes}
