"""One part of a prediction: decode, run the frozen extractors, fuse."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fusion import ImageClassifier, PosterModel, probabilities
from mmposter.device import resolve_device
from mmposter.engines import Task, finished
from mmposter.errors import BadImageError
from mmposter.evaluation import apply_thresholds
from mmposter.evaluation.listing import SUREST, heading, listing_line
from mmposter.features.extractors import BranchExtractors, Preparation
from mmposter.features.index import Failure
from mmposter.features.work import run_among_failures
from mmposter.images import ImageInput
from mmposter.libraries import release_memory
from mmposter.loading import Decoded, Loader, Prepared, Wish, prepared
from mmposter.picture import decode_picture
from mmposter.run import Run


@dataclass(frozen=True)
class Prediction:
    """What the model says of one poster.

    Attributes:
        path: where the poster came from; None for a picture that was given as such.
        genres: the genres above their thresholds, the surest first.
        scores: every genre's probability in 0-1; empty where the poster could not be used.
        error: what was wrong with the poster or with one of its branches; None if nothing was.
    """

    path: str | None
    genres: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The line of a `.jsonl` file."""
        scores = {genre: round(score, 6) for genre, score in self.scores.items()}
        return {"path": self.path, "genres": self.genres, "scores": scores, "error": self.error}

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
            return listing_line(name, year, self.scores, k)
        return f"{heading(name, year)}  {' '.join((self.error or '').split())}"


@dataclass(frozen=True)
class Request:
    """Posters to predict together, and how many genres are wanted of each (None: those above their thresholds)."""

    posters: Sequence[ImageInput]
    top_k: int | None = None


@dataclass(frozen=True)
class Loading:
    """A request that is being read."""

    request: Request
    posters: list[Future[Prepared]]


class PredictTask(Task[Request, Loading, list[Prediction]]):
    """Prediction as engines run it.

    Args:
        run: a finished run.
        model: its model, on the CPU; it stays there, and a copy goes to the device.
        extractors: of the branches that the model does not compute itself; not started, and they stay so.
        branches: to look through; all others are masked.
        device: ``cpu``, ``cuda`` or ``mps``.
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
        self._decision = run.decision(branches)
        self._model, self._extractors = model.eval(), dict(extractors)
        self._image: Preparation | None = None
        if model.tower is not None and {"cnn", "style"} & set(branches):
            self._image = run.tower_input()
        self._started: tuple[PosterModel | ImageClassifier, dict[str, BranchExtractors]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What other processes get: everything but what `start` has made."""
        return {key: value for key, value in vars(self).items() if key != "_loader"} | {"_started": None}

    def start(self, threads: int) -> None:
        self._loader = Loader(threads)
        if self._started is None:
            resolve_device(self.device)
            extractors = copy.deepcopy(self._extractors)
            for branch in extractors.values():
                for step in branch.steps:
                    step.start()
            allowed = [name for name in self._run.other_weights_allowed if name in extractors]
            self._run.require_same_sizes({name: extractors[name].feature.metadata() for name in allowed})
            model = self._model if self.device == "cpu" else copy.deepcopy(self._model).to(self.device)
            self._started = model, extractors

    def load(self, part: Request) -> Loading:
        first = dict.fromkeys(branch.steps[0].preparation for branch in self._extractors.values())
        wanted = tuple(first | ({} if self._image is None else {self._image: None}))
        return Loading(part, self._loader.load((Wish(poster, wanted) for poster in part.posters), _decode))

    def compute(self, loading: Loading) -> Future[list[Prediction]]:
        posters = [future.result() for future in loading.posters]
        errors: dict[int, str] = {}
        usable: list[int] = []
        for row, poster in enumerate(posters):
            problem = poster if isinstance(poster, Failure) or self._image is None else poster[self._image]
            if isinstance(problem, Failure):
                errors[row] = f"{problem.reason}: {problem.message}"
            else:
                usable.append(row)
        scores: dict[int, NDArray[np.float32]] = {}
        if usable:
            probs, failed = self._probabilities([posters[row] for row in usable])
            errors |= {usable[index]: message for index, message in failed.items()}
            scores = {row: values for row, values in zip(usable, probs, strict=True) if values is not None}
        release_memory()
        request = loading.request
        return finished(
            [
                self._prediction(item, scores.get(row), errors.get(row), request.top_k)
                for row, item in enumerate(request.posters)
            ]
        )

    def stop(self) -> None:
        self._loader.close()

    def _prediction(
        self, item: ImageInput, probs: NDArray[np.float32] | None, error: str | None, top_k: int | None
    ) -> Prediction:
        path = str(item) if isinstance(item, str | Path) else None
        if probs is None:
            return Prediction(path, error=error)
        genres = self._run.vocabulary.genres
        order = np.argsort(-probs, kind="stable").tolist()
        if top_k is None:
            policy = self._run.config.evaluation.empty
            chosen = apply_thresholds(probs[None], self._decision.thresholds, empty=policy)[0]
            order = [index for index in order if chosen[index]]
        else:
            order = order[:top_k]
        scores = {genre: float(score) for genre, score in zip(genres, probs, strict=True)}
        return Prediction(path, [genres[index] for index in order], scores, error)

    def _probabilities(self, posters: Sequence[Prepared]) -> tuple[list[NDArray[np.float32] | None], dict[int, str]]:
        """Probabilities of decoded posters (None where a needed extractor failed), and what failed, by row."""
        assert self._started is not None
        model, extractors = self._started
        failed: dict[int, str] = {}
        unusable: set[int] = set()
        inputs: dict[str, torch.Tensor] = {}
        if self._image is not None:
            inputs["image"] = torch.stack(prepared(posters, self._image))
        for name, branch in extractors.items():
            items = prepared(posters, branch.steps[0].preparation)
            for step in branch.steps:
                items = run_among_failures(step, items)
            empty = branch.feature.empty()
            for row, item in enumerate(items):
                if isinstance(item, Failure):
                    failed[row] = f"{name}: {item.message}"
                    if empty is None:
                        unusable.add(row)
            stand_in = empty or next((item for item in items if not isinstance(item, Failure)), None)
            if stand_in is None:
                return [None] * len(posters), failed
            inputs |= branch.feature.collate([stand_in if isinstance(i, Failure) else i for i in items])
        with torch.inference_mode():
            on_device = {key: value.to(self.device) for key, value in inputs.items()}
            logits = model(on_device, self._branches)
            probs = probabilities(logits, single_label=self._run.config.single_label).cpu().numpy()
        probs = self._decision.apply(probs)
        return [None if row in unusable else probs[row] for row in range(len(posters))], failed


def _decode(poster: ImageInput) -> Decoded:
    try:
        return decode_picture(poster)
    except BadImageError as error:
        return Failure(error.reason, str(error))
