"""What the page shows of posters: asked of the worker once, and kept for a while."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmposter.serve.answers import explain_answer, predict_answer
from mmposter.serve.errors import RequestError
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.schema import ExplainAnswer, PosterAnswer
from mmposter.serve.work import Explain, Predict
from mmposter.serve.worker import Worker

if TYPE_CHECKING:
    from mmposter.explain import Explanation, GenreExplanation
    from mmposter.explain.classifier import PosterClassifier

_KEPT_SCORES, _KEPT_EXPLANATIONS = 1024, 32


@dataclass(frozen=True, eq=False)
class Explained:
    """Why a poster gets its genres: for people, and the same for programs."""

    explanation: Explanation
    answer: ExplainAnswer

    def genre(self, name: str) -> GenreExplanation:
        """One of the genres that were asked for."""
        return next(genre for genre in self.explanation.genres if genre.genre == name)


class Results:
    """Scores and explanations of posters; a switch that is turned back and forth costs nothing the second time.

    Nothing of a visitor is held beside these: what is kept is found by the content of a poster alone. The worker alone
    computes with the classifier.
    """

    def __init__(self, classifier: PosterClassifier, worker: Worker) -> None:
        self._classifier, self._worker = classifier, worker
        self._scores = _Recent(_KEPT_SCORES)
        self._explanations = _Recent(_KEPT_EXPLANATIONS)

    def scores(self, posters: Sequence[UploadedPoster], branches: tuple[str, ...]) -> list[PosterAnswer]:
        """One answer a poster, in order; one that is unusable has its error set and no scores.

        Raises:
            RequestError: the server is stopping.
        """
        keys = [(_digest(poster), branches) for poster in posters]
        known = {key: self._scores.get(key) for key in keys}
        missing = {key: poster for key, poster in zip(keys, posters, strict=True) if known[key] is None}
        if missing:
            work = Predict(branches)
            found = self._worker.submit(list(missing.values()), work).future.result()
            for (key, poster), prediction in zip(missing.items(), found, strict=True):
                try:
                    answer = predict_answer(self._classifier, work, [poster.name], [prediction]).posters[0]
                except RequestError as error:
                    why = prediction.error if error.code == "no_usable_poster" else error.message
                    answer = PosterAnswer(name=poster.name, genres=[], scores={}, error=why)
                known[key] = answer
                self._scores.put(key, answer)
        return [known[key].model_copy(update={"name": p.name}) for key, p in zip(keys, posters, strict=True)]

    def explanation(self, poster: UploadedPoster, branches: tuple[str, ...], genres: tuple[str, ...]) -> Explained:
        """Why a poster has the probabilities of some genres.

        Args:
            poster: a usable one.
            branches: that are looked through.
            genres: at least one.

        Raises:
            RequestError: the poster cannot be explained, or the server is stopping.
        """
        genres = tuple(genre for genre in self._classifier.genres if genre in genres)
        work = Explain(branches, genres)
        key = _digest(poster), work
        explanation: Explanation | None = self._explanations.get(key)
        if explanation is None:
            explanation = self._worker.submit([poster], work).future.result()[0]
            self._explanations.put(key, explanation)
        explanation = replace(explanation, path=poster.name)
        return Explained(explanation, explain_answer(self._classifier, work, [poster.name], [explanation]))


def _digest(poster: UploadedPoster) -> str:
    return hashlib.sha256(poster.data).hexdigest()


class _Recent:
    """The last so many values, by key; in any thread."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._values: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any) -> Any:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Any, value: Any) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
