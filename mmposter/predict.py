"""Genres of posters by a trained run: the library's front door, and what `mmposter predict` calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fusion import PosterModel, backbone_spec
from mmposter.config import BRANCHES
from mmposter.device import resolve_device
from mmposter.errors import BadImageError
from mmposter.evaluate import check_branches
from mmposter.evaluation import apply_thresholds
from mmposter.features.extract import run_extractor
from mmposter.features.extractors import BranchExtractors, build_extractors
from mmposter.features.store import Failure
from mmposter.images import ImageInput, load_image
from mmposter.run import Run
from mmposter.transforms import PosterTransform

BATCH_SIZE = 16


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


class PosterClassifier:
    """A trained model with everything in front of it. Make one with `PosterClassifier.load`."""

    def __init__(
        self,
        run: Run,
        model: PosterModel,
        extractors: Mapping[str, BranchExtractors],
        *,
        branches: Sequence[str],
        device: str,
    ) -> None:
        assert run.thresholds is not None  # Run.load has refused an unfinished run
        self.run, self.branches, self.device = run, tuple(branches), device
        self._thresholds: NDArray[np.float64] = run.thresholds
        self._model = model.to(device).eval()
        self._extractors = dict(extractors)
        self._transform: PosterTransform | None = None
        if model.tower is not None and {"cnn", "style"} & set(branches):
            self._transform = PosterTransform(backbone_spec(run.config.cnn.backbone), run.config.cnn.size)
        for branch in self._extractors.values():
            for step in branch.steps:
                step.start()

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        branches: Sequence[str] | None = None,
        device: str = "auto",
        offline: bool = False,
    ) -> PosterClassifier:
        """Load a run folder and the frozen models it stands on.

        Args:
            run: what `mmposter train` wrote.
            branches: look through these only, all others are masked; None: all that the run was trained with.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            offline: never touch the network.

        Raises:
            UserError: for an unfinished or damaged run, branches it does not have, or pretrained files that are
                missing or not those it was trained behind.
        """
        loaded = Run.load(run)
        check_branches(loaded, branches)
        kept = [name for name in BRANCHES if name in (branches or loaded.config.branches)]
        device = resolve_device(device)
        learnt = ("cnn", "style") if loaded.config.regime == "finetune" else ()
        frozen = [name for name in kept if name not in learnt]
        extractors = build_extractors(loaded.serving_config(), frozen, device=device, offline=offline)
        loaded.require_same_extractors(extractors)
        return cls(loaded, loaded.load_model(), extractors, branches=kept, device=device)

    @property
    def genres(self) -> tuple[str, ...]:
        """The genres in the order of the model."""
        return self.run.vocabulary.genres

    def predict(self, posters: Iterable[ImageInput] | ImageInput, *, top_k: int | None = None) -> list[Prediction]:
        """Genres of posters.

        Args:
            posters: paths, bytes, PIL images or arrays (see `mmposter.images.load_image`), or one of them.
            top_k: give the k surest genres in place of those above their thresholds.

        Returns:
            One prediction a poster, in order; a poster that cannot be used has its `error` set and no scores.
        """
        single = isinstance(posters, (str, Path, bytes, Image.Image)) or (
            isinstance(posters, np.ndarray) and posters.ndim < 4
        )
        items: Iterable[ImageInput] = [posters] if single else posters  # type: ignore[list-item,assignment]
        return list(self.stream(items, top_k=top_k))

    def stream(self, posters: Iterable[ImageInput], *, top_k: int | None = None) -> Iterator[Prediction]:
        """As `predict`, one batch at a time: memory does not grow with the number of posters.

        Raises:
            ValueError: if `top_k` is not positive.
        """
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be 1 or more; got {top_k}")
        iterator = iter(posters)
        while batch := list(islice(iterator, BATCH_SIZE)):
            yield from self._predict_batch(batch, top_k)

    def _predict_batch(self, batch: Sequence[ImageInput], top_k: int | None) -> list[Prediction]:
        predictions = [Prediction(str(item) if isinstance(item, (str, Path)) else None) for item in batch]
        arrays: dict[int, NDArray[np.uint8]] = {}
        errors: dict[int, str] = {}
        for index, item in enumerate(batch):
            try:
                arrays[index] = np.asarray(load_image(item))
            except BadImageError as error:
                errors[index] = f"{error.reason}: {error}"
        if arrays:
            probs, failed = self._probabilities(list(arrays.values()))
            rows = dict(zip(arrays, range(len(arrays)), strict=True))
            for index, row in rows.items():
                if row in failed:
                    errors[index] = failed[row]
                scores = probs[row]
                if scores is not None:
                    predictions[index] = self._prediction(predictions[index].path, scores, top_k)
        return [Prediction(p.path, p.genres, p.scores, errors.get(index)) for index, p in enumerate(predictions)]

    def _prediction(self, path: str | None, probs: NDArray[np.float32], top_k: int | None) -> Prediction:
        order = np.argsort(-probs, kind="stable").tolist()
        if top_k is None:
            policy = self.run.config.evaluation.empty
            chosen = apply_thresholds(probs[None], self._thresholds, empty=policy)[0]
            order = [index for index in order if chosen[index]]
        else:
            order = order[:top_k]
        scores = {genre: float(score) for genre, score in zip(self.genres, probs, strict=True)}
        return Prediction(path, [self.genres[index] for index in order], scores)

    def _probabilities(
        self, arrays: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[NDArray[np.float32] | None], dict[int, str]]:
        """Probabilities of decoded posters (None where a needed extractor failed), and what failed, by row."""
        failed: dict[int, str] = {}
        unusable: set[int] = set()
        inputs: dict[str, torch.Tensor] = {}
        if self._transform is not None:
            inputs["image"] = torch.stack([self._transform(array) for array in arrays])
        for name, branch in self._extractors.items():
            items: list[Any] = list(arrays)
            for step in branch.steps:
                good = [row for row, item in enumerate(items) if not isinstance(item, Failure)]
                for row, result in zip(good, run_extractor(step, [items[row] for row in good]), strict=True):
                    items[row] = result
            empty = branch.feature.empty()
            for row, item in enumerate(items):
                if isinstance(item, Failure):
                    failed[row] = f"{name}: {item.message}"
                    if empty is None:
                        unusable.add(row)
            stand_in = empty or next((item for item in items if not isinstance(item, Failure)), None)
            if stand_in is None:
                return [None] * len(arrays), failed
            inputs |= branch.feature.collate([stand_in if isinstance(i, Failure) else i for i in items])
        with torch.inference_mode():
            on_device = {key: value.to(self.device) for key, value in inputs.items()}
            probs = self._model(on_device, self.branches).float().sigmoid().cpu().numpy()
        return [None if row in unusable else probs[row] for row in range(len(arrays))], failed
