"""Predictions together: a list, and the table that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmposter.inference.task import Prediction

if TYPE_CHECKING:
    import pandas as pd


class Predictions(list[Prediction]):
    """What `PosterClassifier.predict` gives: a list with one prediction a poster, in order.

    >>> found = Predictions([Prediction("a.jpg", ["Drama"], {"Drama": 0.7, "War": 0.1})])
    >>> found.to_frame()[["path", "Drama", "War"]].values.tolist()
    [['a.jpg', 0.7, 0.1]]
    """

    def to_frame(self) -> pd.DataFrame:
        """One row a poster: path, genres, the probability of each genre in a column of its name, verdict, error.

        `genres` holds lists. A poster that could not be used has no probabilities (NaN). What one column says of the
        others is in `Prediction`.
        """
        import pandas as pd

        names = next((list(prediction.scores) for prediction in self if prediction.scores), [])
        rows = [
            [
                one.path,
                list(one.genres),
                *(one.scores.get(name, float("nan")) for name in names),
                one.verdict,
                one.error,
            ]
            for one in self
        ]
        return pd.DataFrame(rows, columns=["path", "genres", *names, "verdict", "error"])
