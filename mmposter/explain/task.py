"""Explanations as engines run them: decode, run the frozen extractors, ask a probe of each poster."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fusion import ImageClassifier, PosterModel, probabilities
from mmposter.branches import declared, on_images
from mmposter.data.downloading import DownloadOptions, LinkReader
from mmposter.engines import Task, finished
from mmposter.engines.libraries import release_memory
from mmposter.explain.parts import Parts
from mmposter.explain.probe import FusionProbe, NetworkProbe, Probe, branch_shares
from mmposter.explain.result import Explanation
from mmposter.explain.values import GenreExplanation, HeatMap, Item
from mmposter.features.extractors import Preparation
from mmposter.features.extractors.base import pixels
from mmposter.features.index import Failure
from mmposter.features.loading import Loader, PosterWish, Prepared
from mmposter.images.reading import ImageInput
from mmposter.inference.perception import Perception, Seen, decode, split_usable
from mmposter.progress import begin_step, step_on
from mmposter.runs.decisions import Decision, saw_nothing_note
from mmposter.runs.run import Run

_PICTURE = (720, 900)  # width and height in pixels that a card needs of a poster


@dataclass(frozen=True)
class ExplainRequest:
    """Posters to explain together."""

    posters: Sequence[ImageInput]  # in the order of the answers
    branches: tuple[str, ...]  # to look through, in the run's order
    genres: tuple[int, ...] | None = None  # numbers of those to explain; None: those that are predicted


@dataclass(frozen=True)
class ExplainLoading:
    """A request that is being read."""

    request: ExplainRequest
    posters: list[Future[Prepared]]


@dataclass(frozen=True)
class Sighting:
    """One poster that could be used."""

    row: int  # its place in the request
    probe: Probe  # to ask about it
    picture: NDArray[np.uint8]  # its pixels
    error: str | None  # what failed of it without making it unusable


class ExplainTask(Task[ExplainRequest, ExplainLoading, list[Explanation]]):
    """Explanation of posters.

    A run of cached features is explained as what it is, a model above a frozen image network: both are put together,
    so that one pass of the network gives the maps too.

    Args:
        run: a finished run.
        model: its model, on the CPU, where it stays.
        perception: the frozen extractors; those of cnn and style are not used.
        decision: of the run for certain branches.
        branches: that requests may look through.
        device: ``cpu``, ``cuda`` or ``mps``.
        offline: read no poster from a link.
    """

    def __init__(
        self,
        run: Run,
        model: PosterModel | ImageClassifier,
        perception: Perception,
        decision: Callable[[tuple[str, ...]], Decision],
        *,
        branches: Sequence[str],
        device: str,
        offline: bool = False,
    ) -> None:
        self._download = DownloadOptions(offline=offline)
        self._run, self._perception, self._decision = run, perception, decision
        self._branches, self.device = tuple(branches), device
        self._image = run.tower_input() if on_images(branches) else None
        self._trained = model
        self._model: PosterModel | ImageClassifier | None = None

    def start(self, threads: int) -> None:
        self._loader, self._links = Loader(threads), LinkReader(self._download)
        self._perception.start(_frozen(self._branches))
        if self._model is None:
            model = self._trained
            if self._image is not None:
                model = self._run.with_tower(model)
            self._model = model if self.device == "cpu" else copy.deepcopy(model).to(self.device)
            self._model.eval()

    def load(self, part: ExplainRequest) -> ExplainLoading:
        image = self._image_of(part)
        wanted = [*self._perception.preparations(_frozen(part.branches)), pixels, *([] if image is None else [image])]
        wishes = (PosterWish(poster, tuple(dict.fromkeys(wanted))) for poster in part.posters)
        return ExplainLoading(part, self._loader.load(wishes, partial(decode, links=self._links)))

    def compute(self, loading: ExplainLoading) -> Future[list[Explanation]]:
        request = loading.request
        paths = [str(item) if isinstance(item, str | Path) else None for item in request.posters]
        sightings, errors = self.sightings(loading)
        found: dict[int, Explanation] = {}
        begin_step("explain", len(sightings))
        for sighting in sightings:
            found[sighting.row] = self._explanation(sighting, request)
            step_on()
        release_memory()
        return finished(
            [
                replace(found[row], path=path) if row in found else Explanation(path, error=errors.get(row))
                for row, path in enumerate(paths)
            ]
        )

    def stop(self) -> None:
        self._links.close()
        self._loader.close()

    def sightings(self, loading: ExplainLoading) -> tuple[list[Sighting], dict[int, str]]:
        """The posters of a request that can be used, and what is wrong with the others, by row."""
        assert self._model is not None, "start() comes first"
        image = self._image_of(loading.request)
        posters = [future.result() for future in loading.posters]
        rows, errors = split_usable(posters, image)
        usable = [poster for row in rows if isinstance(poster := posters[row], dict)]
        names = loading.request.branches
        seen = self._perception.look(usable, _frozen(names)) if usable else Seen()
        found = []
        for index, (row, poster) in enumerate(zip(rows, usable, strict=True)):
            if index in seen.failed:
                errors[row] = seen.failed[index]
            if index not in seen.unusable:
                probe = self._probe(seen, index, None if image is None else poster[image], names)
                found.append(Sighting(row, probe, poster[pixels], errors.get(row)))
        return found, errors

    def _image_of(self, request: ExplainRequest) -> Preparation | None:
        return self._image if on_images(request.branches) else None

    def _probe(self, seen: Seen, index: int, image: torch.Tensor | None, names: tuple[str, ...]) -> Probe:
        decision = self._decision(names)
        if isinstance(self._model, ImageClassifier):
            assert image is not None  # its one branch is cnn
            return NetworkProbe(self._model, image[None].to(self.device), decision)
        assert self._model is not None
        inputs = {name: values[index : index + 1].to(self.device) for name, values in seen.inputs.items()}
        if image is not None:
            inputs["image"] = image[None].to(self.device)
        return FusionProbe(self._model, inputs, names, self._parts(seen, index), decision)

    def _parts(self, seen: Seen, index: int) -> dict[str, Parts]:
        parts: dict[str, Parts] = {}
        for name, steps in seen.records.items():
            branch = self._perception.started(name)
            record = steps[branch.steps[0].name][index]
            if any(isinstance(steps[feature.name][index], Failure) for feature in branch.features):
                continue  # the fusion saw none of it, or not all
            assert not isinstance(record, Failure)  # the others are made of it
            found = declared(name).parts(branch, record, self._run.config, self._run.sizes)
            if found is not None:
                parts[name] = found
        return parts

    def _explanation(self, sighting: Sighting, request: ExplainRequest) -> Explanation:
        probe, names, run = sighting.probe, request.branches, self._run
        decision, genres = self._decision(names), run.vocabulary.genres
        model_probs = probabilities(probe.raw, single_label=run.config.single_label).cpu().numpy()
        seen = np.array([probe.sees])
        probs = decision.apply(model_probs, seen)[0]
        chosen = decision.decide(probs[None], run.config.evaluation.empty, seen)[0]
        wanted = np.flatnonzero(chosen).tolist() if request.genres is None else request.genres
        wanted = sorted(wanted, key=lambda g: -probs[g])
        values = probe.by_subset()
        shares = {} if values is None else branch_shares(values)
        heat = probe.heat_maps(wanted) if wanted else {}
        counted = _counted(probe)
        explained = tuple(
            GenreExplanation(
                genre=genres[g],
                probability=float(probs[g]),
                threshold=float(decision.thresholds[g]) if decision.thresholds[g] <= 1 else None,
                chosen=bool(chosen[g]),
                logit=float(probe.logits[g]),
                empty_logit=None if values is None else float(values[frozenset()][g]),
                shares={branch: float(share[g]) for branch, share in shares.items()},
                heat_maps={name: None if maps is None else HeatMap.of(maps[i]) for name, maps in heat.items()},
                items=_sorted(counted, g),
            )
            for i, g in enumerate(wanted)
        )
        picture = Image.fromarray(sighting.picture)
        picture.thumbnail(_PICTURE)
        return Explanation(
            path=None,
            genres=explained,
            scores={genre: float(prob) for genre, prob in zip(genres, probs, strict=True)},
            branches=names,
            scale="raw" if decision.scaling is None else "calibrated",
            notes=(*self._notes(heat, fused=values is not None), *([] if probe.sees else [saw_nothing_note(names)])),
            error=sighting.error,
            picture=picture,
            vector=probe.representation,
        )

    def _notes(self, heat: dict[str, Any], *, fused: bool) -> tuple[str, ...]:
        backbone = self._run.config.cnn.backbone
        notes = [f"{name} has no heat map: {backbone} gives no map of places" for name, m in heat.items() if m is None]
        if self._run.config.single_label:
            notes.append("one genre a poster: shares and contributions are of the logits before the softmax")
        if not fused:
            notes.append("no shares: a network without fusion has no branch that could be left out")
        return tuple(notes)


def _frozen(branches: Sequence[str]) -> list[str]:
    """The branches whose extractors run; the image network is a part of the model here."""
    return [name for name in branches if not declared(name).on_images]


def _counted(probe: Probe) -> list[tuple[Item, NDArray[np.float64]]]:
    """Each object and line with its contribution to each logit (G)."""
    places = [(name, index) for name, parts in probe.parts.items() for index in range(len(parts.items))]
    if not places:
        return []
    changes = probe.logits - probe.without([{name: (index,)} for name, index in places])
    return [(probe.parts[name].items[i], change) for (name, i), change in zip(places, changes, strict=True)]


def _sorted(counted: Sequence[tuple[Item, NDArray[np.float64]]], genre: int) -> tuple[Item, ...]:
    items = (replace(item, contribution=float(change[genre])) for item, change in counted)
    return tuple(sorted(items, key=lambda item: -abs(item.contribution)))
