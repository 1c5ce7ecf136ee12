"""What a client asks of the model: requests that ask for the same are computed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from starlette.datastructures import QueryParams

from mmposter.serve.errors import RequestError

if TYPE_CHECKING:
    from mmposter.explain import Explanation
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.inference.classifier import Prediction


@dataclass(frozen=True)
class Predict:
    """Genres."""

    branches: tuple[str, ...]  # to look through, in the model's order
    # How many genres; None: those above their thresholds.
    top_k: int | None = field(default=None, compare=False)  # chosen from the same scores
    batch: ClassVar[int] = 32  # as many as `PosterClassifier` takes at once

    @classmethod
    def parse(cls, given: QueryParams, branches: Sequence[str], genres: Sequence[str]) -> Predict:
        """Check the parameters of a request.

        Args:
            given: as they came.
            branches: that the model has.
            genres: that the model has.

        Raises:
            RequestError: 422, with what is allowed.
        """
        _require_known(given, ("branches", "top_k"))
        return cls(_names(given, "branches", branches) or tuple(branches), _top_k(given.get("top_k"), len(genres)))

    def __call__(self, classifier: PosterClassifier, posters: Sequence[bytes]) -> Sequence[Prediction]:
        """One result a poster, in order; some may be no picture. Nobody else may use the classifier meanwhile."""
        return classifier.predict(posters, branches=self.branches)


@dataclass(frozen=True)
class Explain:
    """Why these genres."""

    branches: tuple[str, ...]  # to look through, in the model's order
    # To explain, in the model's order, predicted or not; None: those that are predicted.
    genres: tuple[str, ...] | None = None
    heat_maps: bool = field(default=True, compare=False)  # whether they are wanted
    batch: ClassVar[int] = 8  # each takes many passes, and others wait

    @classmethod
    def parse(cls, given: QueryParams, branches: Sequence[str], genres: Sequence[str]) -> Explain:
        """As `Predict.parse`."""
        _require_known(given, ("branches", "genres", "heat_maps"))
        heat_maps = given.get("heat_maps", "true")
        if heat_maps not in ("true", "false"):
            message = f"heat_maps must be true or false; got {heat_maps[:40]!r}"
            raise RequestError(422, "bad_heat_maps", message, allowed=["true", "false"])
        asked = _names(given, "branches", branches), _names(given, "genres", genres)
        return cls(asked[0] or tuple(branches), asked[1], heat_maps == "true")

    def __call__(self, classifier: PosterClassifier, posters: Sequence[bytes]) -> Sequence[Explanation]:
        """As `Predict.__call__`."""
        return classifier.explain(posters, branches=self.branches, genres=self.genres)


Work: TypeAlias = Predict | Explain
"""Something to do with posters. Equal ones are done in one go, whoever sent the posters."""


def _require_known(given: QueryParams, known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            message = f"there is no parameter {name[:40]!r}"
            raise RequestError(422, "unknown_parameter", message, allowed=list(known))
        if len(given.getlist(name)) > 1:
            raise RequestError(422, "repeated_parameter", f"{name} is given more than once", allowed="once")


def _names(given: QueryParams, parameter: str, there: Sequence[str]) -> tuple[str, ...] | None:
    """A list with commas, in the model's order; None where it is not given."""
    text = given.get(parameter)
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        why = f"{unknown[0][:40]!r} is none of {', '.join(there)}" if unknown else "none is named"
        raise RequestError(422, f"bad_{parameter}", f"{parameter}: {why}", allowed=list(there))
    return tuple(name for name in there if name in names)


def _top_k(text: str | None, genres: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= genres):
        message = f"top_k must be a whole number from 1 to {genres}, the number of genres; got {text[:40]!r}"
        raise RequestError(422, "bad_top_k", message, allowed=[1, genres])
    return int(text)
