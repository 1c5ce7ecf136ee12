"""What a model reads of a data set: cached features, labels and splits, and in the finetune regime the posters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.branches import frozen_branches
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.engines import Workers
from mmposter.engines.libraries import release_memory
from mmposter.features.cache import FeatureCache
from mmposter.features.extractors import BranchExtractors
from mmposter.features.shuffling import shuffle_branches
from mmposter.features.table import FeatureTable, dataset_extractors, extract_dataset, is_laid_out, load_features
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.training.batches import PosterBatches
from mmposter.training.pictures import Pictures, ReadPosters

if TYPE_CHECKING:
    from mmposter.runs.run import Run


@dataclass(frozen=True)
class Inputs:
    """What the model reads of a data set, in the manifest's order."""

    features: FeatureTable  # cached records
    labels: NDArray[np.float32]  # N x G, 0 or 1
    splits: NDArray[Any]  # N names
    branches: Mapping[str, BranchExtractors]  # the extractors behind the features
    image: TowerInput | None = None  # how the posters themselves are fed to the model; None where it does not see them

    def rows(self, split: str) -> list[int]:
        """The posters of one side that can be used."""
        rows: list[int] = np.flatnonzero((self.splits == split) & self.features.usable).tolist()
        return rows

    def shares(self) -> NDArray[np.float64]:
        """The share of the training posters that have each genre: G."""
        shares: NDArray[np.float64] = self.labels[self.rows("train")].mean(axis=0, dtype=np.float64)
        return shares


def load_inputs(
    config: Config,
    dataset: Dataset,
    *,
    device: str,
    offline: bool = False,
    quiet: bool = False,
    behind: Run | None = None,
    workers: Workers = 1,
    threads: int | None = None,
    cache: FeatureCache | None = None,
) -> Inputs:
    """Extract what is missing, and read what the branches of `config` need, shuffled among posters where it says so.

    Args:
        behind: a trained run that needs the same extractors; they are compared before anything is extracted.
        workers: processes that extract; 1 is this one.
        threads: CPU threads of each of them; None: the cores, shared out.
        cache: tables that were read before; the store must then be complete, and nothing is extracted.

    Raises:
        UserError: for posters that are needed and not there, as in a pack, or what stops an extraction.
    """
    sees_posters = len(frozen_branches(config.branches, config.regime)) < len(config.branches)
    if sees_posters:
        dataset.require_pictures("regime finetune")
    branches = cached_branches(config, dataset, device=device, offline=offline)
    if behind is not None:
        behind.require_same_extractors(branches)
    if cache is None:
        missing = {name: branch for name, branch in branches.items() if not is_laid_out(dataset, branch)}
        extract_dataset(dataset, missing, workers=workers, threads=threads, quiet=quiet)
        features = load_features(dataset, branches)
    else:
        features = cache.load(dataset, branches)
    features = shuffle_branches(features, config.shuffled, dataset, config.seed)
    image = None
    if sees_posters:
        image = behind.tower_input() if behind is not None else _tower_input(config, offline=offline)
    inputs = Inputs(features, dataset.labels(), dataset.split_names(), branches, image)
    release_memory()  # what was needed to read them, and to lay them out
    return inputs


def _tower_input(config: Config, *, offline: bool) -> TowerInput:
    return TowerInput.of(config.cnn, TowerWeights.find(config.cnn, offline=offline))


def cached_branches(
    config: Config, dataset: Dataset, *, device: str, offline: bool = False
) -> dict[str, BranchExtractors]:
    """The extractors of the branches that `config` reads from the store; the others learn on the posters themselves."""
    frozen = frozen_branches(config.branches, config.regime)
    return dataset_extractors(dataset, config, frozen, device=device, offline=offline)


def poster_batches(dataset: Dataset, inputs: Inputs, pictures: Pictures | None = None) -> PosterBatches:
    """The posters of a data set as the loop reads them.

    Args:
        pictures: where the model sees the posters; None reads them anew, which is for one pass over them.
    """
    labels = torch.from_numpy(inputs.labels)
    if inputs.image is not None and pictures is None:
        pictures = ReadPosters(dataset, inputs.image)
    return PosterBatches(inputs.features.tensors, labels, pictures, inputs.features.places)
