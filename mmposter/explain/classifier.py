"""The library's front door: genres of posters by a trained run, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mmposter.engines import run
from mmposter.errors import UserError
from mmposter.explain.result import Explanation
from mmposter.explain.task import ExplainRequest, ExplainTask
from mmposter.files.paths import folder_here
from mmposter.hub import HUB, parse_address
from mmposter.hub.address import looks_like_a_name
from mmposter.images.reading import ImageInput
from mmposter.inference.classifier import GenrePredictor, cut, several
from mmposter.runs.seen import TRAIN
from mmposter.shipped import POSTERS, find_run
from mmposter.similarity.index import PosterIndex
from mmposter.suggest import did_you_mean

_EXPLAINED_TOGETHER = 8  # little is gained by more, and a command that is stopped loses what it has not written yet
_NEAREST = 5


class PosterClassifier(GenrePredictor):
    """A trained model with everything in front of it. Make one with `PosterClassifier.load`.

    The frozen models are loaded by the first prediction in this process, and by each worker for itself.

    Attributes:
        run: the trained run.
        branches: that it looks through.
        device: where it computes.
        left_out: branches of a shipped model that it goes without, as their files are not here; see `load`.
    """

    def explain(
        self,
        posters: Iterable[ImageInput] | ImageInput,
        *,
        genres: Sequence[str] | None = None,
        branches: Sequence[str] | None = None,
        among: PosterIndex | None = None,
    ) -> list[Explanation]:
        """Why posters get the genres that they get: see `mmposter.explain`.

        Args:
            posters: as for `predict`.
            genres: explain these, predicted or not; None: those that are predicted.
            branches: as for `predict`.
            among: an index of `mmposter.similarity` made with this model: its nearest posters are named (`nearest`),
                training posters where it has some.

        Returns:
            One explanation a poster, in order; a poster that cannot be used has its `error` set and no genres.

        Raises:
            UserError: for a genre that the model does not know, or branches that are not looked through.
        """
        return list(self.stream_explanations(posters, genres=genres, branches=branches, among=among))

    def stream_explanations(
        self,
        posters: Iterable[ImageInput] | ImageInput,
        *,
        genres: Sequence[str] | None = None,
        branches: Sequence[str] | None = None,
        among: PosterIndex | None = None,
    ) -> Iterator[Explanation]:
        """As `explain`, some 8 at a time: memory does not grow with the number of posters.

        Args:
            posters: as for `predict`.
            genres: as for `explain`.
            branches: as for `predict`.
            among: as for `explain`.

        Raises:
            UserError: as `explain`, at once.
        """
        names = self.branches if branches is None else self._chosen(branches)
        numbers = None if genres is None else self._numbers(genres)
        parts = (ExplainRequest(part, names, numbers) for part in cut(several(posters), _EXPLAINED_TOGETHER))
        return self._explanations(parts, among, names)

    def _explanations(
        self, parts: Iterable[ExplainRequest], among: PosterIndex | None, names: Sequence[str]
    ) -> Iterator[Explanation]:
        with closing(run(self._explainer, parts)) as results:
            for explanations in results:
                yield from explanations if among is None else _with_nearest(explanations, among, names)

    @cached_property
    def _explainer(self) -> ExplainTask:
        """What explains; it shares the frozen extractors with what predicts."""
        task = self._task
        return ExplainTask(
            self.run,
            self._model,
            task.perception,
            task.decision,
            branches=self.branches,
            device=self.device,
            offline=self._offline,
        )

    def _numbers(self, genres: Sequence[str]) -> tuple[int, ...]:
        """Genres by their place in the model."""
        unknown = [genre for genre in genres if genre not in self.genres]
        if unknown or not genres:
            meant = did_you_mean(unknown[0], self.genres) if unknown else ""
            raise UserError(
                f"genres must be one or more of {', '.join(self.genres)}; got {', '.join(unknown)!r}{meant}"
            )
        return tuple(dict.fromkeys(self.genres.index(genre) for genre in genres))


def from_pretrained(
    model: str | Path = POSTERS,
    *,
    revision: str | None = None,
    branches: Sequence[str] | None = None,
    device: str = "auto",
    offline: bool = False,
) -> PosterClassifier:
    """A trained model by its name, ready to predict.

    Args:
        model: ``ORG/NAME`` or ``hf://ORG/NAME[@REVISION]`` of the Hugging Face hub, ``posters``, or a run folder. A
            folder that is there comes before a repository of the same name.
        revision: of a model of the hub a branch, a tag or, best, a commit: it never changes.
        branches: as for `PosterClassifier.load`.
        device: as for `PosterClassifier.load`.
        offline: never touch the network.

    Raises:
        UserError: as `PosterClassifier.load`; a model of the hub that cannot be had; a revision of what is not there.
    """
    name = str(model)
    on_hub = isinstance(model, str) and (
        name.startswith(HUB) or (looks_like_a_name(name) and (revision is not None or folder_here(name) is None))
    )
    if on_hub:
        try:
            model = find_run(str(parse_address(name, revision)), offline=offline)
        except UserError as error:
            if name.startswith(HUB) or revision is not None:
                raise
            raise UserError(f"there is no run folder {name} here, and as a model of the hub: {error}") from error
    elif revision is not None:
        raise UserError(f"revision={revision!r} is for a model of the hub (ORG/NAME); {name!r} is none")
    return PosterClassifier.load(model, branches=branches, device=device, offline=offline)


def _with_nearest(explanations: Sequence[Explanation], among: PosterIndex, by: Sequence[str]) -> list[Explanation]:
    """Explanations with the nearest posters of an index, of its training side where it has one."""
    vectors = [one.vector for one in explanations if one.vector is not None]
    if not vectors:
        return list(explanations)
    compared = [name for name in among.branches if name in by]
    side = TRAIN if TRAIN in among.splits else None
    every = len(compared) == len(among.branches)
    found = iter(among.search(np.stack(vectors), _NEAREST, by=None if every else compared, split=side))
    return [one if one.vector is None else replace(one, nearest=tuple(next(found))) for one in explanations]
