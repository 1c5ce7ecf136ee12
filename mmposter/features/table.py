"""Records from the store as the tensors that a model reads, one row a poster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.branches import declared
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.engines import Workers
from mmposter.errors import UserError
from mmposter.features.extract import ExtractorReport, StoredPoster, extract
from mmposter.features.extractors import (
    BranchExtractors,
    FeatureExtractor,
    RecordExtractor,
    TextExtractor,
    build_extractors,
)
from mmposter.features.pins import Pins
from mmposter.features.ragged import Packer, Ragged
from mmposter.features.settled import settle
from mmposter.features.sizes import Sizes
from mmposter.features.store import ExtractorStore, Record
from mmposter.files.strict_json import sound, texts, whole
from mmposter.shell import command_line

_CHUNK = 256  # posters that are padded at a time


@dataclass(frozen=True)
class FeatureTable:
    """The cached inputs of N posters."""

    # The fusion's inputs, each with N rows (see `fusion`); those with slots without their padding.
    tensors: dict[str, torch.Tensor | Ragged]
    usable: NDArray[np.bool_]  # N, False for a poster that could not be computed; its rows are zeros
    metadata: dict[str, dict[str, Any]]  # what each branch's extractor says beside its records

    def sizes(self) -> Sizes:
        """The widths that a model over these features has."""
        found: dict[str, Any] = {}
        further = {}
        for name, known in self.metadata.items():
            filled = declared(name).sizes(known)
            if filled is None:
                further[name] = dict(known)
            else:
                found |= filled
        return Sizes(**found, further=further)


def dataset_posters(dataset: Dataset) -> list[StoredPoster]:
    """The posters of a data set in the manifest's order."""
    table = dataset.table
    return [
        StoredPoster(poster, dataset.root / path, sha)
        for poster, path, sha in zip(table["id"], table["path"], table["sha256"], strict=True)
    ]


def dataset_extractors(
    dataset: Dataset,
    config: Config,
    branches: Sequence[str] | None = None,
    *,
    device: str = "cpu",
    offline: bool = False,
) -> dict[str, BranchExtractors]:
    """`build_extractors` for the posters of a data set, whose metadata `ocr.mask` needs.

    Those of a pack need no pretrained files: its records are there.

    Raises:
        UserError: where pretrained files or the metadata to mask by are missing, the rows are crops of posters, or a
            pack was made with other settings.
    """
    pins = Pins.of(dataset)
    config = settle(config, pins)
    wanted = config.branches if branches is None else branches
    if wanted and dataset.crops is not None:
        # The store has one record a picture, by its hash: every crop would get the record of its whole poster.
        whole = dataset.info.get("derived_from", {}).get("data", "the data of `mmposter prepare`")
        raise UserError(
            f"{dataset.folder} is made of crops of posters, of which no features can be extracted or read "
            f"({', '.join(wanted)}); only a picture network can learn on the crops themselves.\n"
            f"Type --regime finetune --branches cnn (or style, or cnn,style), or take the whole posters: {whole}"
        )
    told = (declared(name).phrases(dataset, config) for name in wanted)
    phrases = next((known for known in told if known is not None), None)
    return build_extractors(config, wanted, device=device, offline=offline, phrases=phrases, pins=pins)


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
    """Make the store complete for `branches`; what is there is not computed again. See `extract` for the rest.

    Raises:
        UserError: also where posters would have to be looked at that a pack does not have.
    """
    if not dataset.has_pictures:
        _require_no_pictures(dataset, branches)
    return extract(
        dataset_posters(dataset),
        [step for branch in branches.values() for step in branch.steps],
        dataset.features_folder,
        shard=shard,
        workers=workers,
        threads=threads,
        engine=engine,
        quiet=quiet,
    )


def load_features(dataset: Dataset, branches: Mapping[str, BranchExtractors]) -> FeatureTable:
    """Read the branches' records of every poster of `dataset`, in the manifest's order.

    Raises:
        UserError: if the store lacks posters of a branch, or is damaged: numbers that are not finite, records of
            different widths, or others than its metadata say.
    """
    hashes = list(dataset.table["sha256"])
    usable = np.ones(len(hashes), bool)
    tensors: dict[str, torch.Tensor | Ragged] = {}
    metadata: dict[str, dict[str, Any]] = {}
    for name, branch in branches.items():
        metadata[name] = {}
        for feature in branch.features:
            mine, there, said = _load_feature(dataset, name, feature)
            usable &= there
            metadata[name] |= said
            tensors |= mine
    return FeatureTable(tensors, usable, metadata)


def _load_feature(
    dataset: Dataset, name: str, feature: FeatureExtractor
) -> tuple[dict[str, torch.Tensor | Ragged], NDArray[np.bool_], dict[str, Any]]:
    """The records of one extractor of the branch `name`, which posters can go on (N), and what is said beside them."""
    hashes = list(dataset.table["sha256"])
    store = ExtractorStore(dataset.features_folder, feature.name, feature.fingerprint())
    there, failed = store.status(hashes)
    never = sum(not there[row] and row not in failed for row in range(len(hashes)))
    if never:
        raise UserError(
            f"the feature store has no {feature.name} record of {never} of {len(hashes)} posters.\n"
            f"Run: {command_line('mmposter', 'extract', dataset.folder, '--branches', name)}"
        )
    empty, usable = feature.empty(), np.ones(len(hashes), bool)
    if empty is None:
        usable = there
        empty = _zeros(store, hashes, there)
    again = command_line("mmposter", "extract", dataset.folder, "--branches", name)
    mend = f"remove {store.folder} and run: {again}"
    if not dataset.has_pictures:
        mend = f"get the pack again, and remove {dataset.folder}"
    with sound(f"the feature store {store.folder}", mend):
        tensors, metadata = _read(store, feature, hashes, empty), store.metadata()
        widths = {key: columns for key, columns in declared(name).widths.items() if key in tensors}
        _require_fitting(tensors, metadata, widths)
    return tensors, usable, metadata


def _require_no_pictures(dataset: Dataset, branches: Mapping[str, BranchExtractors]) -> None:
    """Make sure that nothing is left to do that needs a poster, and that what makes the rest is here."""
    hashes = list(dataset.table["sha256"])
    for step in (step for branch in branches.values() for step in branch.steps):
        there, failed = ExtractorStore(dataset.features_folder, step.name, step.fingerprint()).status(hashes)
        left = len(hashes) - int(there.sum()) - len(failed)
        if left and isinstance(step, TextExtractor):
            step.find_encoder()
        elif left and not isinstance(step, RecordExtractor):
            raise UserError(
                f"{dataset.folder} has no pictures, and lacks {step.name} records of {left} of {len(hashes)} posters.\n"
                "Remove that folder: it is made again from the pack"
            )


def _read(
    store: ExtractorStore, feature: FeatureExtractor, hashes: Sequence[str], empty: Record
) -> dict[str, torch.Tensor | Ragged]:
    """The records of all posters, shard by shard: never more than a few posters twice in memory."""
    packer = Packer(len(hashes))
    order = store.by_shard(hashes)
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        records = store.read([hashes[row] for row in rows])
        try:
            packer.add(torch.tensor(rows), feature.collate([empty if record is None else record for record in records]))
        except RuntimeError as error:  # of torch, for shapes that do not go together
            raise ValueError(str(error)) from error
    return packer.table()


def _require_fitting(
    tensors: Mapping[str, torch.Tensor | Ragged], metadata: Mapping[str, Any], widths: Mapping[str, tuple[str, ...]]
) -> None:
    """Refuse records that no extractor made: a model is built by the metadata, and would fail on them.

    Raises:
        ValueError, KeyError: naming what does not fit.
    """
    for name, inputs in tensors.items():
        values = inputs.values if isinstance(inputs, Ragged) else inputs
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise ValueError(f"{name} has numbers that are not finite")
        for key in widths.get(name, ()):
            if whole(metadata[key], key, least=1) != values.shape[-1]:
                raise ValueError(f"{name} has {values.shape[-1]} columns, and {key} is {metadata[key]}")
        if name == "yolo.labels" and len(values):
            known = len(texts(metadata["class_names"], "class_names"))
            if not 0 <= int(values.min()) <= int(values.max()) < known:
                raise ValueError(f"a label is none of the {known} classes")


def _zeros(store: ExtractorStore, hashes: Sequence[str], there: NDArray[np.bool_]) -> Record:
    if not there.any():
        raise UserError("not one poster of this data set could be read; see the report of `mmposter extract`")
    (record,) = store.read([hashes[int(there.argmax())]])
    assert record is not None  # it is there
    return {field: np.zeros_like(array) for field, array in record.items()}
