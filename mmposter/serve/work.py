"""What can be asked of the model: jobs that ask for the same are done together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from mmposter.explain import Explanation
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.inference.classifier import Prediction


class Work(Protocol):
    """Something to do with posters. Equal ones may be done in one go, whoever sent the posters."""

    @property
    def batch(self) -> int:
        """Posters that are done in one go."""

    def __call__(self, classifier: PosterClassifier, posters: Sequence[bytes]) -> Sequence[Any]:
        """One result a poster, in order.

        Args:
            classifier: nobody else uses it meanwhile.
            posters: bytes of image files; some may be no picture.
        """


@dataclass(frozen=True)
class Predict:
    """Genres.

    Attributes:
        branches: to look through, in the model's order.
    """

    branches: tuple[str, ...]
    batch: ClassVar[int] = 32  # as many as `PosterClassifier` takes at once

    def __call__(self, classifier: PosterClassifier, posters: Sequence[bytes]) -> list[Prediction]:
        return classifier.predict(posters, branches=self.branches)


@dataclass(frozen=True)
class Explain:
    """Why these genres.

    Attributes:
        branches: as for `Predict`.
        genres: to explain, predicted or not; None: those that are predicted.
    """

    branches: tuple[str, ...]
    genres: tuple[str, ...] | None = None
    batch: ClassVar[int] = 8  # each takes many passes, and others wait

    def __call__(self, classifier: PosterClassifier, posters: Sequence[bytes]) -> list[Explanation]:
        return classifier.explain(posters, branches=self.branches, genres=self.genres)
