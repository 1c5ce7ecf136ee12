"""The JSON of the interface, as the documentation shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from mmposter.branches import own_names


class PosterAnswer(BaseModel):
    """What the model says of one poster."""

    name: str = Field(description="As the file was called in the request.")
    genres: list[str] = Field(description="Above their thresholds, or the top_k; the surest first.")
    scores: dict[str, float] = Field(description="Every genre's probability; empty where the poster is unusable.")
    error: str | None = Field(description="What was wrong with the poster, or with one branch; null if nothing was.")
    saw_nothing: list[str] = Field(
        [], description="The branches, where none saw anything: the scores are base rates. Empty where one did."
    )


class PredictAnswer(BaseModel):
    """One entry a poster, in the order of the request."""

    model: str
    branches: list[str] = Field(description="That the model looked through.")
    thresholds: dict[str, float] = Field(description="Probability from which a genre is given, through these branches.")
    posters: list[PosterAnswer]


class ItemAnswer(BaseModel):
    """An object, or a line of text, that the model saw on the poster."""

    branch: str = Field(description="`yolo` for an object, `ocr` for a line of text.")
    label: str = Field(description="The object's class, or the text as it was read.")
    confidence: float
    box: list[float] = Field(description="Left, top, right, bottom in 0-1 of the poster.")
    contribution: float = Field(description="The genre's logit with all that is there minus that without this one.")


class HeatMapAnswer(BaseModel):
    """Where on the poster a branch found what speaks for a genre (Grad-CAM)."""

    maximum: float = Field(description="What 1 stands for; 0 where nothing speaks for the genre.")
    values: list[list[float]] = Field(description="Rows from the top, in 0-1, as small as the network's own map.")


class GenreAnswer(BaseModel):
    """Why a genre has the probability that it has."""

    genre: str
    probability: float
    threshold: float | None = Field(description="Null where the surest genre alone is given.")
    chosen: bool
    logit: float
    empty_logit: float | None = Field(description="Of a poster of which no branch is looked at.")
    shares: dict[str, float] = Field(description="Of each branch; their sum is `logit` - `empty_logit` (Shapley).")
    heat_maps: dict[str, HeatMapAnswer | None] | None = Field(None, description="By branch; null if not asked for.")
    objects: list[ItemAnswer] = Field(description="The one that counts most first.")
    words: list[ItemAnswer] = Field(description="The line that counts most first.")


class ExplainedPoster(BaseModel):
    """Why the model says what it says of one poster."""

    name: str = Field(description="As the file was called in the request.")
    scores: dict[str, float] = Field(description="As in a prediction.")
    genres: list[GenreAnswer] = Field(description="Those predicted, or those asked for; the surest first.")
    notes: list[str] = Field(description="What could not be explained, and why; and where nothing was seen.")
    error: str | None = Field(description="As in a prediction.")


class ExplainAnswer(BaseModel):
    """One entry a poster, in the order of the request."""

    model: str
    branches: list[str] = Field(description="That the model looked through.")
    scale: Literal["calibrated", "raw"] = Field(description="Whether logits are calibrated, or the model's own.")
    posters: list[ExplainedPoster]


class LeftOut(BaseModel):
    """A branch that the model goes without, because its files are not on the server."""

    branch: str
    why: str


class Limits(BaseModel):
    """Of one request."""

    posters: int
    bytes_a_poster: int
    bytes_a_body: int
    shortest_side: int = Field(description="Pixels.")
    pixels: int = Field(description="Width times height above which a poster is not decoded.")


class ModelAnswer(BaseModel):
    """What is served."""

    name: str
    version: str = Field(description="Of mmposter.")
    genres: list[str]
    branches: list[str] = Field(description="All that a request may ask for.")
    thresholds: dict[str, float] = Field(description="With all these branches.")
    left_out: list[LeftOut]
    limits: Limits


class HealthAnswer(BaseModel):
    """Whether the model is ready."""

    status: Literal["ready", "loading", "stopped"]


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="A word that stays the same.")
    message: str = Field(description="For people.")
    allowed: Any = Field(description="What would have been right; null where that is no question.")


class ErrorAnswer(BaseModel):
    """Every answer with a status from 400 looks like this."""

    error: ErrorBody


_SHOWN = own_names()[:2]  # as of a model of two branches

EXAMPLES: dict[str, dict[str, Any]] = {
    "PredictAnswer": {
        "model": "posters",
        "branches": list(_SHOWN),
        "thresholds": {"Comedy": 0.38, "Horror": 0.29},
        "posters": [
            {
                "name": "a.jpg",
                "genres": ["Horror"],
                "scores": {"Comedy": 0.07, "Horror": 0.61},
                "saw_nothing": [],
                "error": None,
            },
            {"name": "b.jpg", "genres": [], "scores": {}, "saw_nothing": [], "error": "empty: the file is empty"},
        ],
    },
    "ErrorAnswer": {
        "error": {
            "code": "bad_branches",
            "message": f"branches: 'wheels' is none of {', '.join(_SHOWN)}",
            "allowed": list(_SHOWN),
        }
    },
}
"""By name of the answer."""
