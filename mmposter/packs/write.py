"""`mmposter pack`: from a prepared data set and its feature store to one small file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmposter.branches import declared
from mmposter.config import Config
from mmposter.data.dataset import MANIFEST, VOCABULARY, Dataset, manifest_table
from mmposter.errors import UserError
from mmposter.features.extractors import BranchExtractors
from mmposter.features.pins import Pins
from mmposter.features.settled import settle
from mmposter.features.store import ExtractorStore
from mmposter.features.table import dataset_extractors
from mmposter.files.strict_values import fitting
from mmposter.outputs import claim_file
from mmposter.packs.archive import FACTS, FORMAT, KIND, SUFFIX, write_archive
from mmposter.packs.codec import Coded, encode, relative_error
from mmposter.packs.facts import Facts, check_name
from mmposter.progress import progress
from mmposter.runs.provenance import package_version
from mmposter.shell import command_line

TOLERANCE = 0.05
"""The loss of a field of many columns: 1 - R2, with columns of one deviation."""

_FINEST = 1e-6  # finer than that, numbers are better stored as they are

_NOTE = (
    "Facts about films, and numbers computed from their posters; no picture, and none can be made from it. The posters "
    "belong to their owners. For research and teaching."
)
_CHUNK = 256  # posters that are read at a time
_SAME = 1e-9  # the relative squared error up to which one field is kept as another
# Of what `mmposter prepare` was asked for; other options may name folders of this machine.
_OPTIONS = ("sources", "format", "vocabulary", "seed", "ratios", "min_side", "duplicate_distance")


@dataclass(frozen=True)
class PackedField:
    """What became of one field of the records."""

    name: str  # `extractor.field`
    rows: int  # of all posters together
    columns: int  # numbers in a row
    code: str  # how it is kept, see `mmposter.packs.codec`; `same as` another field
    bytes: int  # that it takes
    error: float  # 1 - R2 of what is read from the pack


@dataclass(frozen=True)
class PackReport:
    """A pack that was written."""

    file: Path  # the pack
    name: str  # its name
    posters: int  # how many it has
    fields: tuple[PackedField, ...]  # of its records
    bytes: int  # of the whole file


def write_pack(
    dataset: Dataset,
    config: Config,
    out: Path,
    *,
    name: str | None = None,
    tolerance: float = TOLERANCE,
    offline: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> PackReport:
    """Write manifest, genres, split and the records of the branches of `config` as a pack; no poster is opened.

    The records must be in the store. Equal data give equal bytes.

    Args:
        config: which branches, and behind which frozen models.
        out: a file ``.mmpack``.
        name: of the pack; None: that of the file.
        tolerance: the largest 1 - R2 of a field of many columns.

    Raises:
        UserError: records are missing, `dataset` is a pack itself or has no genres, `out` is there or has another end,
            or another process is writing it.
        OSError: `out` cannot be written.
    """
    name = check_name(name or out.stem)
    _check(dataset, config, out, tolerance)
    with claim_file(out, overwrite=overwrite):
        config = settle(config)
        branches = dataset_extractors(dataset, config, offline=offline)
        stores = _stores(dataset, branches)
        writer = _Writer(list(dict.fromkeys(dataset.table["sha256"])), tolerance)
        with progress("pack", sum(len(store.names) for store in stores), unit="field", quiet=quiet) as ticker:
            for store in stores:
                for _ in writer.add(store):
                    ticker.advance(1, store.store.name)
        width = int(writer.extractors.get("text", {}).get("metadata", {}).get("embedding_dim", 0))
        pins = Pins.from_extractors(name, config, branches, width)
        facts = _facts(dataset, name, pins, writer.extractors)
        members = {
            FACTS: json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False).encode(),
            MANIFEST: _manifest(dataset),
            VOCABULARY: json.dumps(dataset.vocabulary.to_json(), indent=1, ensure_ascii=False).encode(),
            **writer.members,
        }
        try:
            fitting(Facts, facts).require_size(sum(map(len, members.values())))
        except ValueError as error:
            raise UserError(f"these records cannot be packed: {error}") from error
        write_archive(out, members)
        return PackReport(out, name, len(dataset), tuple(writer.fields), out.stat().st_size)


class _StoredFields:
    """The records of one extractor, a field at a time."""

    def __init__(self, store: ExtractorStore, hashes: Sequence[str]) -> None:
        self.store = store
        there, self.failed = store.status(hashes)
        self.hashes = [hashes[row] for row in np.flatnonzero(there).tolist()]
        self.missing = len(hashes) - len(self.hashes) - len(self.failed)
        (first,) = store.read(self.hashes[:1]) if self.hashes else ({},)
        self.names = sorted(first or {})

    def read(self, field: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The field of all posters, one after another, and how many rows each poster has."""
        found: list[NDArray[Any]] = [np.zeros(0)] * len(self.hashes)
        order = self.store.by_shard(self.hashes)
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            for row, record in zip(rows, self.store.read([self.hashes[row] for row in rows]), strict=True):
                assert record is not None  # it is there
                found[row] = record[field].copy()  # without the shard that it is a view of
        return np.concatenate(found), np.array([len(rows) for rows in found])


class _Writer:
    """Collects the members of a pack."""

    def __init__(self, hashes: Sequence[str], tolerance: float) -> None:
        self._hashes, self._tolerance = hashes, tolerance
        self._wide: dict[str, NDArray[Any]] = {}
        self.members: dict[str, bytes] = {}
        self.extractors: dict[str, Any] = {}
        self.fields: list[PackedField] = []

    def add(self, stored: _StoredFields) -> Iterable[str]:
        """Take all fields of an extractor, and yield each when it is done."""
        name = stored.store.name
        known: dict[str, Any] = {
            "fingerprint": stored.store.fingerprint,
            "metadata": stored.store.metadata(),
            # Not the messages, which name files of this machine.
            "failed": {self._hashes[row]: failure.reason for row, failure in sorted(stored.failed.items())},
            "fields": {},
        }
        for field in stored.names:
            values, counts = stored.read(field)
            known["fields"][field] = self._field(f"{name}/{field}", values, counts)
            yield field
        self.extractors[name] = known

    def _field(self, path: str, values: NDArray[Any], counts: NDArray[np.int64]) -> dict[str, Any]:
        before = sum(map(len, self.members.values()))
        one_each = bool((counts == 1).all())
        header: dict[str, Any] = {"counts": None}
        if not one_each:
            coded = encode(counts, 0.0)
            header["counts"], self.members[f"{path}.counts.xz"] = coded.header, coded.body
        other, error = self._same_as(values) if one_each else (None, 0.0)
        if other is not None:
            header |= {"same_as": other, "error": error}
            code = f"same as {other.replace('/', '.')}"
        else:
            coded = self._encode(path, values)
            header |= {"values": coded.header, "error": coded.error}
            self.members[f"{path}.xz"], code = coded.body, coded.header["code"]
            if coded.header["code"] == "transform" and one_each:
                self._wide[path] = values
        columns = int(np.prod(values.shape[1:]))
        taken = sum(map(len, self.members.values())) - before
        self.fields.append(PackedField(path.replace("/", "."), len(values), columns, code, taken, header["error"]))
        return header

    def _encode(self, path: str, values: NDArray[Any]) -> Coded:
        try:
            return encode(values, self._tolerance)
        except ValueError as error:
            raise UserError(f"the {path} records of this store cannot be packed: {error}") from error

    def _same_as(self, values: NDArray[Any]) -> tuple[str | None, float]:
        """A field that was packed before and has the same numbers, as style.mean of the last stage and cnn.pooled."""
        for name, other in self._wide.items():
            if other.shape == values.shape and (error := relative_error(values, other)) <= _SAME:
                lost = next(field.error for field in self.fields if field.name == name.replace("/", "."))
                return name, max(error, lost)
        return None, 0.0


def _check(dataset: Dataset, config: Config, out: Path, tolerance: float) -> None:
    if not dataset.has_pictures:
        raise UserError(f"{dataset.folder.name} is a pack already; packing it again would only lose more")
    _ = dataset.vocabulary  # refuses data without genres
    for name in config.branches:
        if (why := declared(name).unpackable(config)) is not None:
            raise UserError(why)
    if not _FINEST <= tolerance < 1:
        raise UserError(f"--tolerance is a share of the variance from {_FINEST} to 1, such as 0.05; got {tolerance}")
    if out.suffix != SUFFIX:
        raise UserError(f"--out must end in {SUFFIX}; got {out}")


def _stores(dataset: Dataset, branches: Mapping[str, BranchExtractors]) -> list[_StoredFields]:
    """What lies in the store, complete."""
    hashes = list(dict.fromkeys(dataset.table["sha256"]))
    found: list[_StoredFields] = []
    missing: dict[str, list[str]] = {}
    for name, branch in branches.items():
        for step in branch.steps:
            store = ExtractorStore(dataset.features_folder, step.name, step.fingerprint())
            stored = _StoredFields(store, hashes)
            if stored.missing:
                missing.setdefault(name, []).append(f"{stored.missing:,} {step.name}")
            found.append(stored)
    if missing:
        lacking = ", ".join(text for texts in missing.values() for text in texts)
        extract = command_line("mmposter", "extract", dataset.folder, "--branches", ",".join(missing))
        raise UserError(
            f"the feature store of {dataset.folder} lacks records of {len(hashes):,} posters: {lacking}.\n"
            f"With the same --config and --set, run: {extract}"
        )
    return found


def _facts(dataset: Dataset, name: str, pins: Pins, extractors: Mapping[str, Any]) -> dict[str, Any]:
    """What ``pack.json`` says, see `mmposter.packs.facts`."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "name": name,
        "note": _NOTE,
        "mmposter": package_version(),
        "posters": len(dataset),
        "dataset": {
            "vocabulary": dataset.vocabulary.name,
            "options": {key: value for key, value in dataset.info.get("options", {}).items() if key in _OPTIONS},
            "counts": dataset.info.get("counts"),
        },
        "pins": pins.to_json(),
        "extractors": extractors,
    }


def _manifest(dataset: Dataset) -> bytes:
    """The manifest as it is, so that runs on the pack and on the data compare; without folders of this machine."""
    absolute = [PurePath(path).is_absolute() or PureWindowsPath(path).is_absolute() for path in dataset.table["path"]]
    if not any(absolute):
        return (dataset.folder / MANIFEST).read_bytes()
    names = [PurePath(path).name for path in dataset.table["path"]]
    buffer = io.BytesIO()
    pq.write_table(manifest_table(dataset.table.assign(path=names)), buffer, compression="zstd")
    return buffer.getvalue()
