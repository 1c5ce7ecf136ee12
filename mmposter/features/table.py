"""Records from the store as the tensors that a model reads, one row a poster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.data.dataset import Dataset
from mmposter.engines import Workers
from mmposter.errors import UserError
from mmposter.features.extract import ExtractorReport, Poster, extract
from mmposter.features.extractors import BranchExtractors
from mmposter.features.store import ExtractorStore
from mmposter.model import Sizes

STORE = "features"


@dataclass(frozen=True)
class FeatureTable:
    """The cached inputs of N posters.

    Attributes:
        tensors: the fusion's inputs, each with N rows (see `fusion`).
        usable: N, False for a poster that could not be computed; its rows are zeros.
        metadata: what each branch's extractor says beside its records.
    """

    tensors: dict[str, torch.Tensor]
    usable: NDArray[np.bool_]
    metadata: dict[str, dict[str, Any]]

    def sizes(self) -> Sizes:
        """The widths that a model over these features has."""
        cnn, style = self.metadata.get("cnn", {}), self.metadata.get("style", {})
        return Sizes(
            num_features=cnn.get("num_features", 0),
            style_channels=style.get("channels", 0),
            gram_size=style.get("gram_size", 0),
            tap_is_last=style.get("tap_is_last", True),
            class_names=tuple(self.metadata.get("yolo", {}).get("class_names", ())),
            embedding_dim=self.metadata.get("ocr", {}).get("embedding_dim", 0),
        )


def dataset_posters(dataset: Dataset) -> list[Poster]:
    """The posters of a data set in the manifest's order."""
    table = dataset.table
    return [
        Poster(poster, dataset.root / path, sha)
        for poster, path, sha in zip(table["id"], table["path"], table["sha256"], strict=True)
    ]


def extract_dataset(
    dataset: Dataset,
    branches: Mapping[str, BranchExtractors],
    *,
    shard: tuple[int, int] = (0, 1),
    workers: Workers = 1,
    threads: int | None = None,
    engine: str = "local",
    quiet: bool = False,
) -> list[ExtractorReport]:
    """Make the store complete for `branches`; what is there is not computed again. See `extract` for the rest."""
    return extract(
        dataset_posters(dataset),
        [step for branch in branches.values() for step in branch.steps],
        dataset.folder / STORE,
        shard=shard,
        workers=workers,
        threads=threads,
        engine=engine,
        quiet=quiet,
    )


def load_features(dataset: Dataset, branches: Mapping[str, BranchExtractors]) -> FeatureTable:
    """Read the branches' records of every poster of `dataset`, in the manifest's order.

    Raises:
        UserError: if the store lacks posters of a branch.
    """
    hashes = list(dataset.table["sha256"])
    usable = np.ones(len(hashes), bool)
    tensors: dict[str, torch.Tensor] = {}
    metadata: dict[str, dict[str, Any]] = {}
    for name, branch in branches.items():
        store = _store(dataset.folder, branch)
        records = store.read(hashes)
        failed = store.done()
        absent = [row for row, record in enumerate(records) if record is None]
        never = [row for row in absent if failed.get(hashes[row]) is None]
        if never:
            raise UserError(
                f"the feature store has no {branch.feature.name} record of {len(never)} of {len(hashes)} posters.\n"
                f"Run: mmposter extract {dataset.folder} --branches {name}"
            )
        empty = branch.feature.empty()
        if empty is None:
            usable[absent] = False
            empty = _zeros(records)
        tensors |= branch.feature.collate([empty if record is None else record for record in records])
        metadata[name] = store.metadata()
    return FeatureTable(tensors, usable, metadata)


def _store(folder: Path, branch: BranchExtractors) -> ExtractorStore:
    return ExtractorStore(folder / STORE, branch.feature.name, branch.feature.fingerprint())


def _zeros(records: list[Any]) -> dict[str, NDArray[Any]]:
    present = next((record for record in records if record is not None), None)
    if present is None:
        raise UserError("not one poster of this data set could be read; see the report of `mmposter extract`")
    return {field: np.zeros_like(array) for field, array in present.items()}
