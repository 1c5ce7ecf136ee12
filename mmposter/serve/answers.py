"""From what the model says to what a client gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmposter.images.reading import MAX_PIXELS, MIN_SIDE
from mmposter.serve.errors import RequestError, logged
from mmposter.serve.schema import ExplainAnswer, ExplainedPoster, PosterAnswer, PredictAnswer
from mmposter.serve.work import Explain, Predict
from mmposter.shipped import run_name

if TYPE_CHECKING:
    from mmposter.explain import Explanation
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.inference.classifier import Prediction

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# The reasons of a `BadImageError` that a file can have: the client's own mistakes. Everything else is ours.
_PICTURE_FAULTS = frozenset({"empty", "not_an_image", "truncated", "too_small", "too_large", "too_dark"})


class BranchError(Exception):
    """A frozen model that raised on a poster; goes to the log only."""


def predict_answer(
    classifier: PosterClassifier, work: Predict, names: Sequence[str], found: Sequence[Prediction]
) -> PredictAnswer:
    """The answer to a request for genres.

    Args:
        classifier: that was asked.
        work: what it was asked for.
        names: of the posters.
        found: of the posters, in the same order.

    Raises:
        RequestError: 422 where no poster is a usable picture, 500 where none has scores for reasons of ours.
    """
    errors = _errors_for_clients(names, found)
    posters = []
    for name, error, prediction in zip(names, errors, found, strict=True):
        scores, genres = prediction.scores, list(prediction.genres)
        if work.top_k is not None:  # chosen here, so that requests with different ones can be computed together
            genres = sorted(scores, key=lambda genre: -scores[genre])[: work.top_k]
        rounded = prediction.to_json()["scores"]
        nothing = prediction.saw_nothing
        posters.append(PosterAnswer(name=name, genres=genres, scores=rounded, error=error, saw_nothing=nothing))
    return answer_with(classifier, work.branches, posters)


def answer_with(
    classifier: PosterClassifier, branches: Sequence[str], posters: Sequence[PosterAnswer]
) -> PredictAnswer:
    """Posters, with what is said of the model and of the branches that it looked through."""
    return PredictAnswer(
        model=run_name(classifier.run.folder),
        branches=list(branches),
        thresholds=classifier.thresholds(branches),
        posters=list(posters),
    )


def explain_answer(
    classifier: PosterClassifier, work: Explain, names: Sequence[str], found: Sequence[Explanation]
) -> ExplainAnswer:
    """The answer to a request for explanations; arguments and errors as for `predict_answer`."""
    errors = _errors_for_clients(names, found)
    posters = []
    for name, error, explanation in zip(names, errors, found, strict=True):
        values = explanation.to_json(heat_maps=work.heat_maps)
        kept = {key: values[key] for key in ("scores", "genres", "notes")}
        posters.append(ExplainedPoster(name=name, error=error, **kept))
    usable = next(explanation for explanation in found if explanation.scores)
    return ExplainAnswer(
        model=run_name(classifier.run.folder), branches=list(work.branches), scale=usable.scale, posters=posters
    )


def _errors_for_clients(names: Sequence[str], found: Sequence[Prediction] | Sequence[Explanation]) -> list[str | None]:
    """The error of each poster in words for a client."""
    texts = [_error_for_clients(result.error, bool(result.scores)) for result in found]
    if any(result.scores for result in found):
        return texts
    listed = "; ".join(f"{name}: {error}" for name, error in zip(names, texts, strict=True))
    if not all(_is_picture_fault(result.error) for result in found):
        raise RequestError(500, "internal_error", f"no poster could be computed: {listed}")
    allowed = {"formats": FORMATS, "shortest_side": MIN_SIDE, "pixels": MAX_PIXELS}
    raise RequestError(422, "no_usable_poster", f"no file is a usable picture: {listed}", allowed=allowed)


def _error_for_clients(error: str | None, has_scores: bool) -> str | None:
    if error is None or _is_picture_fault(error):
        return error
    number = logged(BranchError(error), "a branch")
    kept = "; the scores are without it" if has_scores else ""
    return f"failed: a branch failed on this poster{kept}; the server's log has the cause under the id {number}"


def _is_picture_fault(error: str | None) -> bool:
    return error is not None and error.partition(":")[0] in _PICTURE_FAULTS
