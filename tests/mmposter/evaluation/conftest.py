"""What several tests of the evaluation measure with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmposter.evaluation import weighted
from mmposter.evaluation.metrics import labelled


def _genre_precisions(target: np.ndarray, probs: np.ndarray) -> np.ndarray:
    truth, scores, _ = labelled(target, probs, None)
    return weighted.average_precision_by_genre(truth, scores)(np.ones((1, len(truth))))[0]


@pytest.fixture(scope="session")
def genre_precisions() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Average precision of each genre (G) over the posters that have one, of arrays N x G; NaN without a positive."""
    return _genre_precisions
