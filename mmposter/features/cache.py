"""Tables of features that stay in memory, for many trainings in one process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mmposter.data.dataset import Dataset
from mmposter.features.extractors import BranchExtractors
from mmposter.features.table import FeatureTable, load_features

LIMIT = 4
"""Branches' tables that are held: those of one model."""


class FeatureCache:
    """Reads a branch's table once, as long as it stays among the `LIMIT` that were used last.

    The store must be complete: nothing is extracted. One cache serves one data set.
    """

    def __init__(self) -> None:
        self._tables: dict[str, FeatureTable] = {}

    def load(self, dataset: Dataset, branches: Mapping[str, BranchExtractors]) -> FeatureTable:
        """The table of all `branches`, as `load_features` would read it."""
        whole = FeatureTable({}, np.ones(len(dataset), bool), {})
        places = None
        for name, branch in branches.items():
            table = self._branch(dataset, name, branch)
            whole.tensors.update(table.tensors)
            whole.metadata.update(table.metadata)
            whole.usable[:] &= table.usable
            places = table.places
        return replace(whole, places=places)

    def _branch(self, dataset: Dataset, name: str, branch: BranchExtractors) -> FeatureTable:
        parts = [[feature.name, feature.collating(), feature.fingerprint()] for feature in branch.features]
        key = json.dumps([name, *parts], sort_keys=True)
        # Taken out and put in again, so that the order of the keys is that of their last use.
        table = self._tables.pop(key, None)
        if table is None:
            while len(self._tables) >= LIMIT:
                del self._tables[next(iter(self._tables))]
            table = load_features(dataset, {name: branch})
        self._tables[key] = table
        return table
