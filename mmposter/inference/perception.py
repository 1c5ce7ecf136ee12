"""What frozen extractors see on decoded posters: their records, and the fusion's inputs made of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mmposter.data.downloading import LinkReader
from mmposter.errors import BadImageError
from mmposter.features.extractors import BranchExtractors, Preparation
from mmposter.features.index import Failure
from mmposter.features.loading import Decoded, Prepared, prepared
from mmposter.features.store import Record
from mmposter.features.work import run_among_failures
from mmposter.images.links import is_link
from mmposter.images.picture import decode_picture
from mmposter.images.reading import ImageInput
from mmposter.objects import is_object
from mmposter.progress import begin_part, begin_step
from mmposter.runs.run import Run


@dataclass(frozen=True)
class Seen:
    """What some branches see on B posters."""

    # Of the fusion, B rows each, on the CPU; empty where no poster can be used.
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    # By branch and step what it gave of each poster; the steps in their order.
    records: dict[str, dict[str, list[Record | Failure]]] = field(default_factory=dict)
    # What failed of which poster, by row. Another branch may do without it.
    failed: dict[int, str] = field(default_factory=dict)
    unusable: frozenset[int] = frozenset()  # rows that cannot go into the fusion


class Perception:
    """The frozen extractors (by branch) of a run in one process, each started when it is first needed.

    It is picklable, and goes to other processes not started; the given extractors stay as they are.
    """

    def __init__(self, run: Run, extractors: Mapping[str, BranchExtractors]) -> None:
        self._run, self._extractors = run, dict(extractors)
        self._copies: dict[str, BranchExtractors] = {}
        self._started: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_copies": {}, "_started": set()}

    def start(self, branches: Sequence[str] | None = None) -> None:
        """Load the models of these branches (None: of all) that are not there yet.

        Raises:
            UserError: models of another kind than the run was trained behind.
        """
        if not self._copies:
            self._copies = copy.deepcopy(self._extractors)  # all together: cnn and style share a tower
        new = [name for name in self._copies if (branches is None or name in branches) and name not in self._started]
        for name in new:
            for step in self._copies[name].steps:
                step.start()
        allowed = [name for name in self._run.other_weights_allowed if name in new]
        self._run.require_same_sizes({name: self._copies[name].metadata() for name in allowed})
        self._started |= set(new)

    def started(self, branch: str) -> BranchExtractors:
        """The started extractors of a branch."""
        assert branch in self._started, "start() comes first"
        return self._copies[branch]

    def preparations(self, branches: Sequence[str]) -> tuple[Preparation, ...]:
        """What must be made of a poster for these branches, each once."""
        frozen = (branch for name, branch in self._extractors.items() if name in branches)
        return tuple(dict.fromkeys(branch.steps[0].preparation for branch in frozen))

    def look(self, posters: Sequence[Prepared], branches: Sequence[str], *, more: int = 1) -> Seen:
        """What those of `branches` (started) that have extractors see on B posters, made as `preparations` says.

        `more` is how many steps follow, for the progress that is shown: by default one, the model's.
        """
        inputs: dict[str, torch.Tensor] = {}
        records: dict[str, dict[str, list[Record | Failure]]] = {}
        failed: dict[int, str] = {}
        unusable: set[int] = set()
        names = [name for name in self._extractors if name in branches]
        begin_part(len(posters), sum(len(self.started(name).steps) for name in names) + more)
        for name in names:
            branch = self.started(name)
            mine = records[name] = {}
            for step in branch.steps:
                begin_step(step.name, len(posters))
                source = branch.source_of(step)
                items = prepared(posters, step.preparation) if source is None else mine[source]
                mine[step.name] = run_among_failures(step, items)
            for feature in branch.features:
                items, empty = mine[feature.name], feature.empty()
                for row, item in enumerate(items):
                    if isinstance(item, Failure):
                        failed[row] = f"{name}: {item.message}"
                        if empty is None:
                            unusable.add(row)
                stand_in = empty or next((item for item in items if not isinstance(item, Failure)), None)
                if stand_in is None:
                    return Seen({}, records, failed, frozenset(range(len(posters))))
                inputs |= feature.collate([stand_in if isinstance(i, Failure) else i for i in items])
        return Seen(inputs, records, failed, frozenset(unusable))


def decode(poster: ImageInput, links: LinkReader) -> Decoded:
    """A decoded poster, read through `links` where it is named by one, or why it cannot be used; in any thread."""
    try:
        return decode_picture(links.read(poster) if is_link(poster) and not is_object(poster) else poster)
    except BadImageError as error:
        return Failure(error.reason, str(error))


def split_usable(posters: Sequence[Prepared], image: Preparation | None = None) -> tuple[list[int], dict[int, str]]:
    """Rows of posters that can be used, and what is wrong with the others, by row.

    Without `image`, if one is named, a poster cannot be used.
    """
    usable: list[int] = []
    errors: dict[int, str] = {}
    for row, poster in enumerate(posters):
        problem = poster if isinstance(poster, Failure) or image is None else poster[image]
        if isinstance(problem, Failure):
            errors[row] = f"{problem.reason}: {problem.message}"
        else:
            usable.append(row)
    return usable, errors
