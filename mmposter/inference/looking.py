"""What predicts and what embeds have in common: decode posters, run the frozen extractors, ask the model."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from fusion import ImageClassifier, PosterModel
from mmposter.branches import on_images
from mmposter.data.downloading import DownloadOptions, LinkReader
from mmposter.engines import Task, finished
from mmposter.engines.device import resolve_device
from mmposter.engines.libraries import release_memory
from mmposter.evaluation.promise import Promise
from mmposter.features.extractors import BranchExtractors, Preparation
from mmposter.features.loading import Loader, PosterWish, Prepared, prepared
from mmposter.images.reading import ImageInput
from mmposter.inference.perception import Perception, decode, split_usable
from mmposter.runs.run import Run

_MADE = ("_loader", "_links")  # by `start`

Said = TypeVar("Said")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Request:
    """Posters to look at together."""

    posters: Sequence[ImageInput]  # in the order of the answers
    top_k: int | None = None  # how many genres are wanted of each; None: those above their thresholds
    branches: tuple[str, ...] | None = None  # to look through, in the task's order; None: all that the task has
    promise: Promise | None = None  # the genres that it gives are wanted, and a verdict


@dataclass(frozen=True)
class LookLoading:
    """A request that is being read."""

    request: Request
    posters: list[Future[Prepared]]


class LookTask(Task[Request, LookLoading, list[Answer]], Generic[Said, Answer]):
    """What an engine runs to ask a model about posters; a subclass says what it asks (`Said`, of a poster) and answers.

    The model stays on the CPU, a copy goes to the device; `extractors` are those of the branches that it does not
    compute itself, and are not started. All branches but `branches` are masked; a request may name fewer. Links are
    read as their posters are looked at; where it is `offline`, none is.
    """

    def __init__(
        self,
        run: Run,
        model: PosterModel | ImageClassifier,
        perception: Perception | Mapping[str, BranchExtractors],
        *,
        branches: Sequence[str],
        device: str,
        offline: bool = False,
    ) -> None:
        self._run, self._branches, self.device = run, tuple(branches), device
        self._download = DownloadOptions(offline=offline)
        self._model = model.eval()
        self.perception = perception if isinstance(perception, Perception) else Perception(run, perception)
        self._image: Preparation | None = None
        if model.tower is not None and on_images(branches):
            self._image = run.tower_input()
        self._started: PosterModel | ImageClassifier | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What other processes get: everything but what `start` has made."""
        return {key: value for key, value in vars(self).items() if key not in _MADE} | {"_started": None}

    @abstractmethod
    def ask(
        self, model: PosterModel | ImageClassifier, inputs: Mapping[str, Tensor], names: tuple[str, ...]
    ) -> Sequence[Said]:
        """What the model says of B posters through the branches `names`; without gradients."""

    @abstractmethod
    def answer(self, poster: ImageInput, said: Said | None, error: str | None, request: Request) -> Answer:
        """The answer of one poster; `said` is None where it could not be used."""

    def start(self, threads: int) -> None:
        self._loader, self._links = Loader(threads), LinkReader(self._download)
        if self._started is None:
            resolve_device(self.device)
            self._started = self._model if self.device == "cpu" else copy.deepcopy(self._model).to(self.device)
        self.perception.start()

    def load(self, part: Request) -> LookLoading:
        image = self._image_of(part)
        wanted = self.perception.preparations(self.looked_at(part)) + (() if image is None else (image,))
        wishes = (PosterWish(poster, wanted) for poster in part.posters)
        return LookLoading(part, self._loader.load(wishes, partial(decode, links=self._links)))

    def compute(self, loading: LookLoading) -> Future[list[Answer]]:
        request = loading.request
        image = self._image_of(request)
        posters = [future.result() for future in loading.posters]
        usable, errors = split_usable(posters, image)
        found: dict[int, Said] = {}
        if usable:
            said, failed = self._asked([posters[row] for row in usable], self.looked_at(request), image)
            errors |= {usable[index]: message for index, message in failed.items()}
            found = {row: one for row, one in zip(usable, said, strict=True) if one is not None}
        release_memory()
        rows = enumerate(request.posters)
        return finished([self.answer(item, found.get(row), errors.get(row), request) for row, item in rows])

    def stop(self) -> None:
        self._links.close()
        self._loader.close()

    def looked_at(self, request: Request) -> tuple[str, ...]:
        """The branches of a request."""
        return self._branches if request.branches is None else request.branches

    def _image_of(self, request: Request) -> Preparation | None:
        """What feeds the model's own image network, where the branches of a request need it."""
        return self._image if on_images(self.looked_at(request)) else None

    def _asked(
        self, posters: Sequence[Prepared], names: tuple[str, ...], image: Preparation | None
    ) -> tuple[list[Said | None], dict[int, str]]:
        """What is said of decoded posters (None where a needed extractor failed), and what failed, by row."""
        assert self._started is not None
        seen = self.perception.look(posters, names)
        if len(seen.unusable) == len(posters):
            return [None] * len(posters), seen.failed
        inputs = dict(seen.inputs)
        if image is not None:
            inputs["image"] = torch.stack(prepared(posters, image))
        with torch.inference_mode():
            on_device = {key: value.to(self.device) for key, value in inputs.items()}
            said = self.ask(self._started, on_device, names)
        return [None if row in seen.unusable else said[row] for row in range(len(posters))], seen.failed
