"""One part of a prediction: decode, run the frozen extractors, fuse."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from fusion import ImageClassifier, PosterModel, probabilities
from mmposter.branches import on_images
from mmposter.engines import Task, finished
from mmposter.engines.device import resolve_device
from mmposter.engines.libraries import release_memory
from mmposter.evaluation.listing import SUREST, heading, listing_line
from mmposter.evaluation.promise import Promise, expected_gain
from mmposter.features.extractors import BranchExtractors, Preparation
from mmposter.features.loading import Loader, PosterWish, Prepared, prepared
from mmposter.images.reading import ImageInput
from mmposter.inference.perception import Perception, decode, split_usable
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
    """

    path: str | None
    genres: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    saw_nothing: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    gain: float | None = None

    @property
    def note(self) -> str | None:
        """That nothing was seen, in words; None where something was."""
        return saw_nothing_note(self.saw_nothing) if self.saw_nothing else None

    def to_json(self) -> dict[str, Any]:
        """The line of a `.jsonl` file."""
        scores = {genre: round(score, 6) for genre, score in self.scores.items()}
        plain = {"path": self.path, "genres": self.genres, "scores": scores, "error": self.error}
        plain["saw_nothing"] = self.saw_nothing
        if self.verdict is None or self.gain is None:
            return plain
        return {**plain, "verdict": self.verdict, "gain": round(self.gain, 6)}

    def listing(self, title: str | None = None, year: int | None = None, k: int = SUREST) -> str:
        """The line ``Title (year)  Genre (0.736), Genre (0.385), ...`` of the k surest genres.

        Args:
            title: None: the file's name without its ending, or ``untitled`` for a picture that came without a path.
            year: None: no year on the line.
            k: how many genres; a poster that could not be used has what was wrong with it in their place.

        Raises:
            ValueError: `k` below 1.
        """
        name = title if title is not None else "untitled" if self.path is None else Path(self.path).stem
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
        return "untitled" if self.path is None else visible(" ".join(Path(self.path).name.split()))


@dataclass(frozen=True)
class Request:
    """Posters to predict together."""

    posters: Sequence[ImageInput]  # in the order of the answers
    top_k: int | None = None  # how many genres are wanted of each; None: those above their thresholds
    branches: tuple[str, ...] | None = None  # to look through, in the task's order; None: all that the task has
    promise: Promise | None = None  # the genres that it gives are wanted, and a verdict


@dataclass(frozen=True)
class PredictLoading:
    """A request that is being read."""

    request: Request
    posters: list[Future[Prepared]]


class PredictTask(Task[Request, PredictLoading, list[Prediction]]):
    """Prediction as engines run it.

    The model stays on the CPU, a copy goes to the device; `extractors` are those of the branches that it does not
    compute itself, and are not started. All branches but `branches` are masked; a request may name fewer.
    """

    def __init__(
        self,
        run: Run,
        model: PosterModel | ImageClassifier,
        extractors: Mapping[str, BranchExtractors],
        *,
        branches: Sequence[str],
        device: str,
    ) -> None:
        self._run, self._branches, self.device = run, tuple(branches), device
        self._decisions = {self._branches: run.decision(branches)}
        self._model, self.perception = model.eval(), Perception(run, extractors)
        self._image: Preparation | None = None
        if model.tower is not None and on_images(branches):
            self._image = run.tower_input()
        self._started: PosterModel | ImageClassifier | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What other processes get: everything but what `start` has made."""
        return {key: value for key, value in vars(self).items() if key != "_loader"} | {"_started": None}

    def decision(self, branches: tuple[str, ...] | None = None) -> Decision:
        """How probabilities are shown, and become genres, through these branches; None: all that the task has."""
        names = self._branches if branches is None else branches
        if names not in self._decisions:  # read once: the file's weights are hashed for it
            self._decisions[names] = self._run.decision(names)
        return self._decisions[names]

    def start(self, threads: int) -> None:
        self._loader = Loader(threads)
        if self._started is None:
            resolve_device(self.device)
            self._started = self._model if self.device == "cpu" else copy.deepcopy(self._model).to(self.device)
        self.perception.start()

    def load(self, part: Request) -> PredictLoading:
        names, image = self._looked_at(part)
        wanted = self.perception.preparations(names) + (() if image is None else (image,))
        return PredictLoading(part, self._loader.load((PosterWish(poster, wanted) for poster in part.posters), decode))

    def compute(self, loading: PredictLoading) -> Future[list[Prediction]]:
        request = loading.request
        names, image = self._looked_at(request)
        posters = [future.result() for future in loading.posters]
        usable, errors = split_usable(posters, image)
        found: dict[int, _Said] = {}
        if usable:
            said, failed = self._probabilities([posters[row] for row in usable], names, image)
            errors |= {usable[index]: message for index, message in failed.items()}
            found = {row: one for row, one in zip(usable, said, strict=True) if one is not None}
        release_memory()
        rows = enumerate(request.posters)
        return finished([self._prediction(item, found.get(row), errors.get(row), request) for row, item in rows])

    def stop(self) -> None:
        self._loader.close()

    def _looked_at(self, request: Request) -> tuple[tuple[str, ...], Preparation | None]:
        """The branches of a request, and what feeds the model's own image network, where they need it."""
        names = self._branches if request.branches is None else request.branches
        return names, self._image if on_images(names) else None

    def _prediction(self, item: ImageInput, said: _Said | None, error: str | None, request: Request) -> Prediction:
        path = str(item) if isinstance(item, str | Path) else None
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
        nothing = [] if seen else list(self._looked_at(request)[0])
        return Prediction(path, [genres[index] for index in order], scores, error, nothing, verdict, gain)

    def _probabilities(
        self, posters: Sequence[Prepared], names: tuple[str, ...], image: Preparation | None
    ) -> tuple[list[_Said | None], dict[int, str]]:
        """What is said of decoded posters through the branches `names` (None where a needed extractor failed), and
        what failed, by row."""
        assert self._started is not None
        seen = self.perception.look(posters, names)
        if len(seen.unusable) == len(posters):
            return [None] * len(posters), seen.failed
        inputs = dict(seen.inputs)
        if image is not None:
            inputs["image"] = torch.stack(prepared(posters, image))
        with torch.inference_mode():
            on_device = {key: value.to(self.device) for key, value in inputs.items()}
            logits = self._started(on_device, names)
            probs = probabilities(logits, single_label=self._run.config.single_label).cpu().numpy()
            sees = self._started.sees(on_device, names).cpu().numpy()
        probs = self.decision(names).apply(probs, sees)
        said = (None if row in seen.unusable else (probs[row], bool(sees[row])) for row in range(len(posters)))
        return list(said), seen.failed
