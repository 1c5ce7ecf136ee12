"""One part of a prediction: what the model says of posters, and the genres that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fusion import ImageClassifier, PosterModel, probabilities
from mmposter.evaluation.listing import SUREST, heading, listing_line
from mmposter.evaluation.promise import expected_gain
from mmposter.features.extractors import BranchExtractors
from mmposter.images.reading import ImageInput
from mmposter.inference.looking import LookTask, Request
from mmposter.runs.decisions import Decision, saw_nothing_note
from mmposter.runs.run import Run
from mmposter.visible import visible

_NEXT = 5  # genres that a notebook shows beside those that are given
_BAR = 20  # letters of a bar in a notebook that stands for 1

Verdict: TypeAlias = Literal["accept", "review"]

_Said: TypeAlias = tuple[NDArray[np.float32], bool]
"""Of one poster the probabilities (G) as they are shown, and whether anything was seen on it."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one poster.

    Attributes:
        path: where the poster came from; None for a picture that was given as such.
        genres: the genres above their thresholds, the surest first.
        scores: every genre's probability in 0-1; empty where the poster could not be used.
        error: what was wrong with the poster or with one of its branches; None if nothing was.
        saw_nothing: the branches that were looked through, where none of them saw anything on the poster; empty where
            one did. Then the scores are the base rates, and the genres those of the best constant answer.
        verdict: where a precision was asked for, ``accept`` if the genres may stand without a look, ``review`` if none
            may and a person should look; else None. Of a poster that could not be used it is None, too; one of which a
            branch failed is for review, as nothing was promised of what the others say alone.
        gain: with a verdict, how many genres a person's look is expected to put right: those that it adds and takes
            away (see `mmposter.evaluation.promise.expected_gain`).
        film: what the film of the poster is called, where a media library said so.
    """

    path: str | None
    genres: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    saw_nothing: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    gain: float | None = None
    film: str | None = None

    @property
    def note(self) -> str | None:
        """That nothing was seen, in words; None where something was."""
        return saw_nothing_note(self.saw_nothing) if self.saw_nothing else None

    def to_json(self) -> dict[str, Any]:
        """The line of a `.jsonl` file."""
        scores = {genre: round(score, 6) for genre, score in self.scores.items()}
        plain = {"path": self.path, "genres": self.genres, "scores": scores, "error": self.error}
        plain["saw_nothing"] = self.saw_nothing
        plain |= {} if self.film is None else {"film": self.film}
        if self.verdict is None or self.gain is None:
            return plain
        return {**plain, "verdict": self.verdict, "gain": round(self.gain, 6)}

    def listing(self, title: str | None = None, year: int | None = None, k: int = SUREST) -> str:
        """The line ``Title (year)  Genre (0.736), Genre (0.385), ...`` of the k surest genres.

        Args:
            title: None: the film's name, else the file's without its ending, or ``untitled`` for a picture that came
                without a path.
            year: None: no year on the line.
            k: how many genres; a poster that could not be used has what was wrong with it in their place.

        Raises:
            ValueError: `k` below 1.
        """
        name = title if title is not None else self.film
        name = name or ("untitled" if self.path is None else Path(self.path).stem)
        if self.scores:
            return listing_line(name, year, self.scores, k) + (f"  ({self.note})" if self.note else "")
        return f"{heading(name, year)}  {visible(' '.join((self.error or '').split()))}"

    def __repr__(self) -> str:
        """Short, so that a list of predictions can be read: the file's name and the genres that are given."""
        given = ", ".join(f"{genre} {self.scores[genre]:.3f}" if self.scores else genre for genre in self.genres)
        error = None if self.error is None else f"error: {visible(' '.join(self.error.split()))}"
        given = given or ("no genre" if self.scores else "")
        parts = [part for part in (self.verdict, given, self.note, error) if part]
        return f"<Prediction {self._name}: {'; '.join(parts)}>"

    def _repr_html_(self) -> str:
        """How a notebook shows it: the genres that are given in bold, and the next ones."""
        from mmposter.document import Block, Emphasis, ListBlock, TableBlock, render_fragment

        problems = [] if self.error is None else [f"Error: {self.error}"]
        problems += [f"It {self.note}."] if self.note else []
        if not self.scores:
            return render_fragment(self._name, text=problems)
        surest = sorted(self.scores, key=lambda genre: -self.scores[genre])
        shown = [*self.genres, *[genre for genre in surest if genre not in self.genres][:_NEXT]]
        rows = [[genre, f"{self.scores[genre]:.3f}", "█" * round(_BAR * self.scores[genre])] for genre in shown]
        strong: dict[tuple[int, int | None], Emphasis] = {(row, None): "strong" for row in range(len(self.genres))}
        blocks: list[Block] = [TableBlock("", ["genre", "probability", ""], rows, align="lrl", emphasis=strong)]
        if more := len(surest) - len(shown):
            blocks.append(ListBlock([f"{more} more below {self.scores[shown[-1]]:.3f}"]))
        return render_fragment(f"{self._name}: {', '.join(self.genres) or 'no genre'}", blocks, text=problems)

    @property
    def _name(self) -> str:
        name = self.film or ("untitled" if self.path is None else Path(self.path).name)
        return visible(" ".join(name.split()))


class PredictTask(LookTask[_Said, Prediction]):
    """Prediction as engines run it; see `LookTask`."""

    def __init__(
        self,
        run: Run,
        model: PosterModel | ImageClassifier,
        extractors: Mapping[str, BranchExtractors],
        *,
        branches: Sequence[str],
        device: str,
        offline: bool = False,
    ) -> None:
        super().__init__(run, model, extractors, branches=branches, device=device, offline=offline)
        self._decisions = {self._branches: run.decision(branches)}

    def decision(self, branches: tuple[str, ...] | None = None) -> Decision:
        """How probabilities are shown, and become genres, through these branches; None: all that the task has."""
        names = self._branches if branches is None else branches
        if names not in self._decisions:  # read once: the file's weights are hashed for it
            self._decisions[names] = self._run.decision(names)
        return self._decisions[names]

    def ask(
        self, model: PosterModel | ImageClassifier, inputs: Mapping[str, Tensor], names: tuple[str, ...]
    ) -> Sequence[_Said]:
        logits = model(inputs, names)
        probs = probabilities(logits, single_label=self._run.config.single_label).cpu().numpy()
        sees = model.sees(inputs, names).cpu().numpy()
        return list(zip(self.decision(names).apply(probs, sees), sees.tolist(), strict=True))

    def answer(self, poster: ImageInput, said: _Said | None, error: str | None, request: Request) -> Prediction:
        path = str(poster) if isinstance(poster, str | Path) else None
        if said is None:
            return Prediction(path, error=error)
        probs, seen = said
        genres = self._run.vocabulary.genres
        verdict: Verdict | None = None
        gain: float | None = None
        order = np.argsort(-probs, kind="stable").tolist()
        if request.promise is not None:
            given = request.promise.give(probs[None]) & (error is None)
            verdict, gain = ("accept" if given.any() else "review"), float(expected_gain(probs[None], given)[0])
            order = [index for index in order if given[0, index]]
        elif request.top_k is None:
            policy = self._run.config.evaluation.empty
            chosen = self.decision(request.branches).decide(probs[None], policy, np.array([seen]))[0]
            order = [index for index in order if chosen[index]]
        else:
            order = order[: request.top_k]
        scores = {genre: float(score) for genre, score in zip(genres, probs, strict=True)}
        nothing = [] if seen else list(self.looked_at(request))
        return Prediction(path, [genres[index] for index in order], scores, error, nothing, verdict, gain)
