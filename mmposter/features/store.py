"""The feature store: what each frozen extractor said about each picture, computed once.

A store is a folder of extractors, ``<name>-<first 12 digits of the fingerprint's hash>``; each holds
``fingerprint.json``, shards (``shards/*.safetensors``) and one index a shard (``index/*.parquet``). A record is a
dictionary of arrays; in a shard each field of all its records is concatenated along the first axis, with offsets.

A shard counts once its index is there. Both are written to a temporary name and moved, index last, and names are
unique to the writer, so a writer may be killed at any moment and several may write at once; where two wrote the same
picture, both said the same and the first in name order is read.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmposter.atomic import atomic_path, write_json
from mmposter.errors import UserError

Record = Mapping[str, NDArray[Any]]

_OFFSETS = ".offsets"
_SCHEMA = pa.schema(
    [
        ("sha256", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)


@dataclass(frozen=True)
class Failure:
    """Why an extractor has no record of a picture."""

    reason: str
    message: str


class ExtractorStore:
    """The records of one extractor under one fingerprint.

    Args:
        root: the store's folder, beside the manifest.
        name: the extractor's name.
        fingerprint: all that decides what the extractor says (weights' hash, settings, version), JSON-able.
    """

    def __init__(self, root: Path, name: str, fingerprint: Mapping[str, Any]) -> None:
        self.name, self.fingerprint = name, dict(fingerprint)
        self.folder = root / f"{name}-{fingerprint_digest(name, fingerprint)[:12]}"
        self._tables: dict[Path, pa.Table] = {}

    def done(self) -> dict[str, Failure | None]:
        """Every picture that has been looked at: its hash, and the failure where there is no record."""
        table = self._index()
        return {
            sha: None if reason is None else Failure(reason, message)
            for sha, reason, message in zip(
                table["sha256"].to_pylist(), table["reason"].to_pylist(), table["message"].to_pylist(), strict=True
            )
        }

    def describe(self, metadata: Mapping[str, Any]) -> None:
        """Keep what a reader of the records must know beside them, such as the names of the classes; JSON-able."""
        write_json(self.folder / "metadata.json", dict(metadata))

    def metadata(self) -> dict[str, Any]:
        """What `describe` kept; empty before the first extraction."""
        path = self.folder / "metadata.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def write(self, records: Mapping[str, Record | Failure]) -> None:
        """Add the records of one batch, keyed by the picture's hash; on return they survive a kill.

        Raises:
            ValueError: if the records of a batch do not have the same fields.
        """
        if not records:
            return
        if not (self.folder / "fingerprint.json").exists():
            write_json(self.folder / "fingerprint.json", {"name": self.name, **self.fingerprint})
        shard = uuid.uuid4().hex
        good = {sha: record for sha, record in records.items() if not isinstance(record, Failure)}
        if good:
            with atomic_path(self.folder / "shards" / f"{shard}.safetensors") as temporary:
                save_file(_pack(list(good.values())), temporary)
        rows = {sha: row for row, sha in enumerate(good)}
        failures = {sha: record for sha, record in records.items() if isinstance(record, Failure)}
        table = pa.table(
            {
                "sha256": list(records),
                "shard": [shard if sha in rows else None for sha in records],
                "row": [rows.get(sha) for sha in records],
                "reason": [failures[sha].reason if sha in failures else None for sha in records],
                "message": [failures[sha].message if sha in failures else None for sha in records],
            },
            schema=_SCHEMA,
        )
        with atomic_path(self.folder / "index" / f"{shard}.parquet") as temporary:
            pq.write_table(table, temporary)

    def read(self, hashes: Iterable[str]) -> list[dict[str, NDArray[Any]] | None]:
        """The records of the pictures in the given order; None where there is none.

        Raises:
            UserError: if a shard that the index names is damaged or gone.
        """
        wanted = list(hashes)
        table = self._index()
        place: dict[str, tuple[str, int]] = {
            sha: (shard, row)
            for sha, shard, row in zip(
                table["sha256"].to_pylist(), table["shard"].to_pylist(), table["row"].to_pylist(), strict=True
            )
            if shard is not None
        }
        shards = {name: self._unpack(name) for name in {place[sha][0] for sha in wanted if sha in place}}
        return [_row(shards[place[sha][0]], place[sha][1]) if sha in place else None for sha in wanted]

    def _index(self) -> pa.Table:
        # Reversed, so that of two writers of one picture the first in name order has the last word in a dict.
        files = sorted((self.folder / "index").glob("*.parquet"), reverse=True)
        # An index file never changes, and an extraction that works on another's records asks once a batch.
        self._tables = {file: self._tables.get(file) or self._read_index(file) for file in files}
        return pa.concat_tables(self._tables.values()) if files else _SCHEMA.empty_table()

    def _read_index(self, file: Path) -> pa.Table:
        try:
            return pq.read_table(file, schema=_SCHEMA)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"the feature store is damaged: {file} cannot be read ({error}).\n"
                "Remove it and run `mmposter extract` again."
            ) from error

    def _unpack(self, shard: str) -> dict[str, NDArray[Any]]:
        path = self.folder / "shards" / f"{shard}.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"the feature store is damaged: {path} cannot be read ({error}).\n"
                f"Remove {self.folder / 'index' / (shard + '.parquet')} and run `mmposter extract` again."
            ) from error


def fingerprint_digest(name: str, fingerprint: Mapping[str, Any]) -> str:
    """The identity of an extractor's records: SHA-256 over its name and canonical fingerprint, 64 hex digits."""
    canonical = json.dumps({"name": name, **fingerprint}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _pack(records: Sequence[Record]) -> dict[str, NDArray[Any]]:
    fields = list(records[0])
    packed: dict[str, NDArray[Any]] = {}
    for record in records:
        if list(record) != fields:
            raise ValueError(f"all records of a batch must have the fields {fields}; got {list(record)}")
    for field in fields:
        arrays = [np.asarray(record[field]) for record in records]
        packed[field] = np.ascontiguousarray(np.concatenate(arrays))
        packed[field + _OFFSETS] = np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int64)
    return packed


def _row(shard: Mapping[str, NDArray[Any]], row: int) -> dict[str, NDArray[Any]]:
    record = {}
    for field in shard:
        if not field.endswith(_OFFSETS):
            start, stop = shard[field + _OFFSETS][row : row + 2]
            record[field] = shard[field][start:stop]
    return record
