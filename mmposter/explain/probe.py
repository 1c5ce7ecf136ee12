"""One poster before the model, and what its logits would be if some of it were hidden.

A probe runs the image network once, and each branch once for what it is asked: everything else is the head, or what
stands above a map. All logits are on the scale of the probability that is shown, see `GenreExplanation`.

Letters: G genres, K branches, D_k embedding of branch k, C channels, h w height and width of a map, V variants.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion import ImageClassifier, PosterModel
from fusion.base import IMAGE, POOLED, Branch, Inputs
from mmposter.branches import branch_names
from mmposter.evaluation.shapley import shapley_weights
from mmposter.explain.gradcam import Score, grad_cam
from mmposter.explain.parts import Parts
from mmposter.explain.sight import Sight, cam_stage, with_places
from mmposter.runs.decisions import Decision

Logits = NDArray[np.float64]
_LEAST = 1e-7  # a genre that no poster has would have no logit


class Probe(ABC):
    """What can be asked about one poster.

    Args:
        decision: how the model's probabilities are shown.

    Attributes:
        parts: the objects and lines that can be hidden, by branch; none for a network without fusion.
    """

    def __init__(self, decision: Decision) -> None:
        self._scaling, self._unseen = decision.scaling, decision.unseen
        self.parts: Mapping[str, Parts] = {}

    @property
    def sees(self) -> bool:
        """Whether any branch that is looked through sees something."""
        return True

    @property
    @abstractmethod
    def raw(self) -> Tensor:
        """The model's own logits: 1 x G."""

    @property
    @abstractmethod
    def representation(self) -> NDArray[np.float32]:
        """The fused representation, as `PosterClassifier.embed` gives it: D."""

    @abstractmethod
    def by_subset(self) -> dict[frozenset[str], Logits] | None:
        """The logits (G) that every subset of the branches gives; None for a network that cannot be masked."""

    @abstractmethod
    def heat_maps(self, genres: Sequence[int]) -> dict[str, NDArray[np.float32] | None]:
        """Grad-CAM of these genres by branch, n x h x w; None where the network has no map of places."""

    @abstractmethod
    def without(self, hidden: Sequence[Mapping[str, Collection[int]]]) -> Logits:
        """The logits with some objects and lines hidden.

        Args:
            hidden: V times, for a branch of `parts` which of its items are left out.

        Returns:
            V x G.
        """

    @property
    def logits(self) -> Logits:
        """The logits of the poster as it is: G."""
        shown: Logits = self._shown(self.raw)[0]
        return shown

    def _shown(self, raw: Tensor) -> Logits:
        values: Logits = raw.detach().double().cpu().numpy()
        if not self.sees and self._unseen is not None:  # nothing that is hidden changes that
            least = np.clip(self._unseen.probs, _LEAST, 1 - _LEAST)
            return np.tile(np.log(least / (1 - least)), (len(values), 1))
        return values if self._scaling is None else self._scaling.slope * values + self._scaling.offsets

    def _heat(self, score: Score, features: Tensor | None, genres: Sequence[int]) -> NDArray[np.float32] | None:
        """Grad-CAM of one map, whose gradient is that of the logit that is shown."""
        if features is None:
            return None
        slope = 1.0 if self._scaling is None else self._scaling.slope
        heat: NDArray[np.float32] = (slope * grad_cam(score, features, genres)).cpu().numpy()
        return heat


class FusionProbe(Probe):
    """A probe of a model with branches.

    Args:
        model: in evaluation mode, with its image network where a branch looks at the picture.
        inputs: the batch of one poster; "image" in place of what branches read of the image network.
        branches: that are looked through, in the model's order.
        parts: of the branches that have items.
        decision: fitted for `branches`.
    """

    def __init__(
        self,
        model: PosterModel,
        inputs: Inputs,
        branches: Sequence[str],
        parts: Mapping[str, Parts],
        decision: Decision,
    ) -> None:
        super().__init__(decision)
        self._fusion, self._branches, self.parts = model.fusion, tuple(branches), parts
        self._names = model.fusion.branch_names
        with torch.no_grad():
            self._sight = None
            if IMAGE in inputs and any(self._branch(name).tower_inputs() for name in branches):
                self._sight = Sight(model, inputs[IMAGE], branches)
                inputs = {**{name: value for name, value in inputs.items() if name != IMAGE}, **self._sight.entries()}
            self._embeddings, self._keep = self._fusion.embeddings(inputs, branches)  # K times 1 x D_k; 1 x K
            self._raw = self._head(1)

    @property
    def raw(self) -> Tensor:
        return self._raw

    @property
    def representation(self) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = self._fusion.head.represent(self._embeddings, self._keep)[0].cpu().numpy()
        return found

    @property
    def sees(self) -> bool:
        return bool(self._keep.any())

    def by_subset(self) -> dict[frozenset[str], Logits]:
        sizes = range(len(self._branches) + 1)
        subsets = [frozenset(some) for size in sizes for some in combinations(self._branches, size)]
        chosen = torch.tensor([[name in subset for name in self._names] for subset in subsets])
        keep = self._keep & chosen.to(self._keep.device)  # V x K
        with torch.no_grad():
            replaced = {}
            if self._sight is not None and self._sight.gating is not None:
                # The gate re-weights the network's channels only where its own branch is looked at.
                gated = keep[:, self._names.index(self._sight.gating), None]
                plain = self._sight.entries(gated=False)
                for name in self._sight.pooling:
                    alone, _ = self._branch(name)(plain)
                    replaced[name] = torch.where(gated, self._embeddings[self._names.index(name)], alone)
            logits = self._shown(self._head(len(subsets), replaced, keep))
        return dict(zip(subsets, logits, strict=True))

    def without(self, hidden: Sequence[Mapping[str, Collection[int]]]) -> Logits:
        keep = self._keep.repeat(len(hidden), 1)
        replaced = {}
        with torch.no_grad():
            for name, parts in self.parts.items():
                rows = [row for row, variant in enumerate(hidden) if variant.get(name)]
                if not rows:
                    continue
                made = parts.without([hidden[row][name] for row in rows])
                inputs = {key: value.to(keep.device) for key, value in made.items()}
                k, embedding = self._names.index(name), self._branch(name)(inputs)
                replaced[name] = self._embeddings[k].repeat(len(hidden), 1)
                replaced[name][rows] = embedding[0]
                keep[rows, k] = embedding[1]
            return self._shown(self._head(len(hidden), replaced, keep))

    def heat_maps(self, genres: Sequence[int]) -> dict[str, NDArray[np.float32] | None]:
        if self._sight is None:
            return {}
        found: dict[str, NDArray[np.float32] | None] = {}
        for name in self._branches:
            if name in self._sight.pooling:
                found[name] = self._heat(partial(self._from_final, self._sight, name), self._sight.final_places, genres)
            elif name in self._sight.tapping:
                found[name] = self._heat(partial(self._from_tap, self._sight, name), self._sight.tap_places, genres)
        return found

    def _from_final(self, sight: Sight, name: str, features: Tensor) -> Tensor:
        """The logits n x G if this branch read these maps, n copies of `Sight.final`."""
        rows = {key: value.expand(len(features), *value.shape[1:]) for key, value in sight.measured.items()}
        embedding, _ = self._branch(name)({**rows, POOLED: sight.pool(features)})
        return self._head(len(features), {name: embedding})

    def _from_tap(self, sight: Sight, name: str, features: Tensor) -> Tensor:
        """The logits n x G if this branch read these maps, n copies of `Sight.tap`."""
        entries = sight.style(features)
        replaced = {name: self._branch(name)(entries)[0]}
        if name == sight.gating:  # the gate's part of it, on a map that stays as it is
            gated = {**entries, POOLED: sight.pool(sight.gated(entries))}
            replaced |= {other: self._branch(other)(gated)[0] for other in sight.pooling}
        return self._head(len(features), replaced)

    def _branch(self, name: str) -> Branch:
        return self._fusion.branch(name)

    def _head(self, count: int, replaced: Mapping[str, Tensor] | None = None, keep: Tensor | None = None) -> Tensor:
        """Logits of variants of the poster: count x G.

        Args:
            count: V.
            replaced: embeddings V x D_k of branches that differ between the variants.
            keep: V x K; None: what the poster has.
        """
        replaced = replaced or {}
        embeddings = [
            replaced[name] if name in replaced else embedding.expand(count, -1)
            for name, embedding in zip(self._names, self._embeddings, strict=True)
        ]
        logits: Tensor = self._fusion.head(embeddings, self._keep.expand(count, -1) if keep is None else keep)
        return logits


def branch_shares(values: Mapping[frozenset[str], Logits]) -> dict[str, Logits]:
    """What each branch adds to each logit: its Shapley value.

    Args:
        values: of every subset of the branches the logits (G), as from `Probe.by_subset`.

    Returns:
        G by branch; their sum is the value of all branches minus that of none.
    """
    everyone = max(values, key=len)
    weights = shapley_weights([name for name in branch_names() if name in everyone])
    return {
        branch: np.sum([weight * values[subset] for subset, weight in of_subset.items()], axis=0)
        for branch, of_subset in weights.items()
    }


class NetworkProbe(Probe):
    """A probe of a network without fusion, which has a heat map and nothing else.

    Args:
        model: in evaluation mode.
        image: 1 x 3 x H x W.
        decision: of the run.
    """

    def __init__(self, model: ImageClassifier, image: Tensor, decision: Decision) -> None:
        super().__init__(decision)
        self._classifier, self._backbone, self._name = model.classifier, model.tower, model.branch
        self._image, self._represent = image, model.represent
        self._stage = cam_stage(self._backbone)
        with torch.no_grad():
            self._map = self._backbone.forward_stages(image, stop=self._stage)
            self._raw = self._above(self._map)

    @property
    def raw(self) -> Tensor:
        return self._raw

    @property
    def representation(self) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = self._represent({IMAGE: self._image})[0].cpu().numpy()
        return found

    def by_subset(self) -> None:
        return None

    def heat_maps(self, genres: Sequence[int]) -> dict[str, NDArray[np.float32] | None]:
        return {self._name: self._heat(self._above, with_places(self._map, self._backbone, self._stage), genres)}

    def without(self, hidden: Sequence[Mapping[str, Collection[int]]]) -> Logits:
        return self._shown(self._raw.expand(len(hidden), -1))  # it sees no objects and no words

    def _above(self, features: Tensor) -> Tensor:
        logits: Tensor = self._classifier(self._backbone.forward_stages(features.clone(), start=self._stage))
        return logits
