"""Records from the store as the tensors that a model reads, one row a poster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.branches import declared
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.engines import Workers
from mmposter.engines.libraries import release_memory
from mmposter.errors import UserError
from mmposter.features.extract import ExtractorReport, extract
from mmposter.features.extractors import (
    BranchExtractors,
    FeatureExtractor,
    RecordExtractor,
    TextExtractor,
    build_extractors,
)
from mmposter.features.layout import TABLES, Table, find_table, is_large, lay_out, pack, rows_in_order
from mmposter.features.parts import StoredPosters
from mmposter.features.pins import Pins
from mmposter.features.ragged import Features, Ragged
from mmposter.features.settled import settle
from mmposter.features.sizes import Sizes
from mmposter.features.store import ExtractorStore, Record
from mmposter.features.windowed import Windowed, order_on_disk
from mmposter.files.strict_json import sound, texts, whole
from mmposter.progress import progress
from mmposter.shell import command_line

_CHUNK = 256  # posters that are padded at a time
_READ = 2048  # posters whose records are in memory while a table is laid out
_VERSION = 1  # of what a table holds; in its digest
_SHOWN = 50_000  # posters from which on laying them out takes long enough to be watched


@dataclass(frozen=True)
class FeatureTable:
    """The cached inputs of N posters."""

    # The fusion's inputs, each with N rows (see `fusion`); those with slots without their padding.
    tensors: dict[str, torch.Tensor | Windowed | Ragged]
    usable: NDArray[np.bool_]  # N, False for a poster that could not be computed; its rows are zeros
    metadata: dict[str, dict[str, Any]]  # what each branch's extractor says beside its records
    # Where each poster lies in tables that are read by windows (N); None: all are mapped, and read in any order.
    places: NDArray[np.int64] | None = None

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

    def release(self) -> None:
        """Forget the windows that are in memory; they are read again where they are asked for."""
        for inputs in self.tensors.values():
            values = inputs.values if isinstance(inputs, Ragged) else inputs
            if isinstance(values, Windowed):
                values.release()


def dataset_posters(dataset: Dataset) -> StoredPosters:
    """The posters of a data set in the manifest's order."""
    return StoredPosters(dataset.table["id"], dataset.table["path"], dataset.hashes, dataset.root)


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
    """The branches' records of every poster of `dataset`, in the manifest's order: mapped, or read by windows.

    What was not read before is laid out from the store first (see `mmposter.features.layout`).

    Raises:
        UserError: if the store lacks posters of a branch, or is damaged: numbers that are not finite, records of
            different widths, or others than its metadata say.
    """
    whole = FeatureTable({}, np.ones(len(dataset), bool), {}, _places(dataset))
    for name, branch in branches.items():
        whole.metadata[name] = {}
        for feature in branch.features:
            tensors, usable, said = _load_feature(dataset, name, feature, whole.places)
            whole.tensors.update(tensors)
            whole.metadata[name] |= said
            whole.usable[:] &= usable
    return whole


def is_laid_out(dataset: Dataset, branch: BranchExtractors) -> bool:
    """Whether all that a branch reads of these posters was laid out before: then nothing of them is left to extract."""
    return all(_find(dataset, feature) is not None for feature in branch.features)


def _load_feature(
    dataset: Dataset, name: str, feature: FeatureExtractor, places: NDArray[np.int64] | None
) -> tuple[dict[str, torch.Tensor | Windowed | Ragged], NDArray[np.bool_], dict[str, Any]]:
    """The records of one extractor of the branch `name`, which posters can go on (N), and what is said beside them.

    `places` are those of the posters in a long table, see `_places`.
    """
    store = ExtractorStore(dataset.features_folder, feature.name, feature.fingerprint())
    again = command_line("mmposter", "extract", dataset.folder, "--branches", name)
    mend = f"remove {store.folder} and run: {again}"
    if not dataset.has_pictures:
        mend = f"get the pack again, and remove {dataset.folder}"
    table = _find(dataset, feature)
    if table is None:
        with sound(f"the feature store {store.folder}", mend):
            table = _lay_out(dataset, name, feature, store)
    tables = dataset.features_folder / TABLES
    with sound(f"the feature table of {feature.name}", f"remove {tables}: it is laid out again from the store"):
        if not is_large(len(dataset)):
            table.check_all()
        known = None if places is None else torch.from_numpy(places)
        tensors = table.tensors(f"remove {tables}: it is laid out again from the store", known)
    with sound(f"the feature store {store.folder}", mend):
        metadata = store.metadata()
        _require_fitting(tensors, metadata, _widths(name, tensors))
    return tensors, table.usable, metadata


def _find(dataset: Dataset, feature: FeatureExtractor) -> Table | None:
    return find_table(dataset.features_folder, feature.name, _digest(dataset, feature), len(dataset))


def _digest(dataset: Dataset, feature: FeatureExtractor) -> str:
    """Of all that decides a table: the extractor, how its records are collated, and the posters in their order."""
    order = _order(dataset)
    said = [_VERSION, feature.name, feature.fingerprint(), feature.collating(), dataset.pictures_digest]
    said.append(None if order is None else hashlib.sha256(order.tobytes()).hexdigest())
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _order(dataset: Dataset) -> NDArray[np.int64] | None:
    """The rows in the order in which a table has them; None: in their own."""
    return order_on_disk(dataset.split_codes) if is_large(len(dataset)) else None


def _places(dataset: Dataset) -> NDArray[np.int64] | None:
    """The opposite of `_order`: where in a table each row lies."""
    order = _order(dataset)
    return None if order is None else np.argsort(order)


def _lay_out(dataset: Dataset, name: str, feature: FeatureExtractor, store: ExtractorStore) -> Table:
    hashes = dataset.hashes
    there, failed = store.status(hashes)
    release_memory()  # what was needed to sort a long index
    never = len(hashes) - int(there.sum()) - len(failed)
    if never:
        raise UserError(
            f"the feature store has no {feature.name} record of {never} of {len(hashes)} posters.\n"
            f"Run: {command_line('mmposter', 'extract', dataset.folder, '--branches', name)}"
        )
    empty, usable = feature.empty(), np.ones(len(hashes), bool)
    if empty is None:
        usable = there
        empty = _zeros(store, hashes, there)
    order, metadata = _order(dataset), store.metadata()

    def parts() -> Iterator[dict[str, torch.Tensor]]:
        with progress(f"lay out {feature.name}", len(hashes), quiet=len(hashes) < _SHOWN) as ticker:
            for rows in rows_in_order(len(hashes), order, _READ):
                records = [empty if record is None else record for record in store.read(hashes[list(rows)])]
                for start in range(0, len(records), _CHUNK):
                    part = records[start : start + _CHUNK]
                    try:
                        inputs = feature.collate(part)
                    except RuntimeError as error:  # of torch, for shapes that do not go together
                        raise ValueError(str(error)) from error
                    if any(len(values) != len(part) for values in inputs.values()):
                        raise ValueError("a record is longer or shorter than that of one poster")
                    # Before anything is kept: a table is not read from the store again.
                    _require_fitting(pack(iter([inputs]), len(part)), metadata, _widths(name, inputs))
                    yield inputs
                    ticker.advance(len(part))

    return lay_out(dataset.features_folder, feature.name, _digest(dataset, feature), usable, order, parts)


def _widths(branch: str, inputs: Container[str]) -> dict[str, tuple[str, ...]]:
    """What a branch says of the columns of these inputs, by the input's name."""
    return {key: columns for key, columns in declared(branch).widths.items() if key in inputs}


def _require_no_pictures(dataset: Dataset, branches: Mapping[str, BranchExtractors]) -> None:
    """Make sure that nothing is left to do that needs a poster, and that what makes the rest is here."""
    hashes = dataset.hashes
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


def _require_fitting(tensors: Features, metadata: Mapping[str, Any], widths: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse records that no extractor made: a model is built by the metadata, and would fail on them.

    Raises:
        ValueError, KeyError: naming what does not fit.
    """
    for name, inputs in tensors.items():
        values = inputs.values if isinstance(inputs, Ragged) else inputs
        if isinstance(values, torch.Tensor) and values.is_floating_point() and not torch.isfinite(values).all():
            raise ValueError(f"{name} has numbers that are not finite")
        for key in widths.get(name, ()):
            if whole(metadata[key], key, least=1) != values.shape[-1]:
                raise ValueError(f"{name} has {values.shape[-1]} columns, and {key} is {metadata[key]}")
        if name == "yolo.labels" and len(values):
            values = values.whole() if isinstance(values, Windowed) else values
            known = len(texts(metadata["class_names"], "class_names"))
            if not 0 <= int(values.min()) <= int(values.max()) < known:
                raise ValueError(f"a label is none of the {known} classes")


def _zeros(store: ExtractorStore, hashes: NDArray[np.bytes_], there: NDArray[np.bool_]) -> Record:
    if not there.any():
        raise UserError("not one poster of this data set could be read; see the report of `mmposter extract`")
    (record,) = store.read(hashes[[int(there.argmax())]])
    assert record is not None  # it is there
    return {field: np.zeros_like(array) for field, array in record.items()}
