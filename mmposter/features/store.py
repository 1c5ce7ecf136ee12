"""The feature store: what each frozen extractor said about each picture, computed once.

A store is a folder of extractors, ``<name>-<first 12 digits of the fingerprint's hash>``; each holds
``fingerprint.json``, shards (``shards/*.safetensors``) and one index a shard (``index/*.parquet``), until `compact`
merges small indexes into larger ones. A record is a dictionary of arrays (see `mmposter.features.shard` for the file
of many). An index also holds the checksum of its shard, which is compared whenever the shard is read.

A shard counts once an index names it. Both are written to a temporary name and moved, index last, and names are
unique to the writer, so a writer may be killed at any moment and several may write at once; where two wrote the same
picture, both said the same and the first in name order is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmposter.errors import UserError
from mmposter.features.index import ADDED, READ_AS, Failure, Index, check_rows, index_table, merged, write_rows
from mmposter.features.shard import SUFFIX, Record, Shard, ShardError, read_shard, write_shard
from mmposter.files.atomic import atomic_path, write_json
from mmposter.files.strict_json import mapping, read_json, sound
from mmposter.files.strict_parquet import ParquetError, read_parquet

__all__ = ["ExtractorStore", "Failure", "Record", "fingerprint_digest"]

_MANY = 16  # index files of one size that are worth merging
_SIZES = ((0, 2**14), (2**14, 2**18), (2**18, 2**22))  # bytes from and below; larger files stay as they are
_TRIES = 100  # to read an index while others merge it; each try has to lose a race


class ExtractorStore:
    """The records of one extractor under one fingerprint.

    Args:
        root: the store's folder, beside the manifest.
        fingerprint: all that decides what the extractor says (weights' hash, settings, version), JSON-able.
    """

    def __init__(self, root: Path, name: str, fingerprint: Mapping[str, Any]) -> None:
        self.root, self.name, self.fingerprint = root, name, dict(fingerprint)
        self.folder = root / f"{name}-{fingerprint_digest(name, fingerprint)[:12]}"
        self._index, self._lock = Index(), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ExtractorStore, (self.root, self.name, self.fingerprint)

    def done(self) -> dict[str, Failure | None]:
        """Every picture that has been looked at: its hash, and the failure where there is no record."""
        hashes = self._fresh().hashes()
        there, failed = self.status(hashes)
        return {sha: failed.get(at) for at, sha in enumerate(hashes) if there[at] or at in failed}

    def status(self, hashes: Sequence[str] | NDArray[np.bytes_]) -> tuple[NDArray[np.bool_], dict[int, Failure]]:
        """Which pictures have a record, and why others have none, by position; what is in neither was never looked at.

        A record whose shard is gone is not there, so that a damaged shard can be removed and is computed again.
        """
        index = self._fresh()
        try:
            shards = {file.name.removesuffix(SUFFIX) for file in os.scandir(self.folder / "shards")}
        except FileNotFoundError:
            shards = set()
        return index.status(hashes, shards)

    def describe(self, metadata: Mapping[str, Any]) -> None:
        """Keep what a reader of the records must know beside them, such as the names of the classes; JSON-able."""
        write_json(self.folder / "metadata.json", dict(metadata))

    def metadata(self) -> dict[str, Any]:
        """What `describe` kept; empty before the first extraction (UserError: the file is damaged)."""
        path = self.folder / "metadata.json"
        if not path.exists():
            return {}
        mend = self._remedy(path)
        with sound(path, mend):
            return dict(mapping(read_json(path, mend=mend), "metadata"))

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
        checksums = {}
        if good:
            with atomic_path(self.folder / "shards" / f"{shard}{SUFFIX}") as temporary:
                checksums[shard] = write_shard(temporary, list(good.values()))
        rows = {sha: row for row, sha in enumerate(good)}
        places = [(sha, found if isinstance(found, Failure) else (shard, rows[sha])) for sha, found in records.items()]
        with atomic_path(self.folder / "index" / f"{shard}.parquet") as temporary:
            write_rows(temporary, index_table(places, checksums))

    def read(self, hashes: Iterable[str] | NDArray[np.bytes_]) -> list[dict[str, NDArray[Any]] | None]:
        """The records of the pictures in the given order; None where there is none.

        Raises:
            UserError: if a shard that the index names is damaged or gone.
        """
        wanted = list(hashes)
        places = self._index.places(wanted)
        if None in places:  # written since
            places = self._fresh().places(wanted)
        known = [place if isinstance(place, tuple) else None for place in places]
        shards = {name: self._unpack(name) for name in {place[0] for place in known if place}}
        return [None if place is None else self._record(place[0], shards[place[0]], place[1]) for place in known]

    def by_shard(self, hashes: Sequence[str]) -> list[int]:
        """Positions of all pictures, those of one shard together: the order in which `read` opens each shard once."""
        places = self._fresh().places(hashes)
        return sorted(range(len(hashes)), key=lambda at: place[0] if isinstance(place := places[at], tuple) else "")

    def compact(self) -> None:
        """Merge index files of about one size, where there are many: of a million pictures a few dozen are left.

        It costs little while there is nothing to merge, so it is called all along an extraction: whoever opens a store
        in its middle, or after a kill, reads few files. Others may read, write and merge meanwhile, and all may be
        killed: a file is removed only after all its rows lie in another one, and a reader who finds a file gone looks
        again. Where nothing may be written (a store that is mounted read-only) all stays as it is.
        """
        folder = self.folder / "index"
        try:
            for least, most in _SIZES:
                files = [file for file in os.scandir(folder) if file.name.endswith(".parquet")]
                names = sorted(file.name for file in files if least <= file.stat().st_size < most)
                if len(names) < _MANY:
                    continue
                rows = merged([self._read_index(folder / name) for name in names])
                with atomic_path(folder / f"{uuid.uuid4().hex}.parquet") as temporary:
                    write_rows(temporary, rows)
                _flush(folder)
                for name in names:
                    (folder / name).unlink(missing_ok=True)
        except OSError:  # also where another process has merged these
            return

    def _fresh(self) -> Index:
        """The index with what was written since."""
        folder = self.folder / "index"
        with self._lock:
            for _ in range(_TRIES):
                names = {file.name for file in folder.glob("*.parquet")}
                if names == self._index.files:
                    return self._index
                try:
                    # An index file never changes, so that only new ones are read.
                    tables = {name: self._read_index(folder / name) for name in sorted(names - self._index.files)}
                except FileNotFoundError:  # merged into another by now
                    continue
                self._index.update(names, tables)
                return self._index
        raise UserError(f"the feature store is damaged: files in {folder} vanish while they are read")

    def _read_index(self, file: Path) -> pa.Table:
        try:
            table = read_parquet(file, READ_AS, optional=ADDED)
            check_rows(table)
        except ParquetError as error:
            if not file.exists():
                raise FileNotFoundError(file) from error
            raise UserError(
                f"the feature store is damaged: {file} cannot be read ({error}); {self._remedy(file)}"
            ) from error
        return table

    def _unpack(self, shard: str) -> Shard:
        try:
            return read_shard(self._shard_file(shard), self._index.checksum(shard))
        except (OSError, ShardError) as error:
            raise self._damaged(shard, error) from error

    def _record(self, name: str, shard: Shard, row: int) -> dict[str, NDArray[Any]]:
        try:
            return shard.record(row)
        except ShardError as error:
            raise self._damaged(name, error) from error

    def _shard_file(self, shard: str) -> Path:
        return self.folder / "shards" / f"{shard}{SUFFIX}"

    def _damaged(self, shard: str, error: Exception) -> UserError:
        path, index = self._shard_file(shard), self.folder / "index" / f"{shard}.parquet"
        return UserError(
            f"the feature store is damaged: {path} cannot be read ({error}); "
            f"{self._remedy(index if index.exists() else path)}"
        )

    def _remedy(self, file: Path) -> str:
        """What makes a damaged file again: the extractor, or for the features of a pack the pack."""
        from mmposter.data.dataset import read_info

        folder = self.root.parent
        try:
            info = read_info(folder)
        except UserError:  # damaged too
            info = None
        if info is not None and info.get("pictures") is False:
            return f"remove {folder}: it is made again from the pack"
        return f"remove {file} and run `mmposter extract` again"


def fingerprint_digest(name: str, fingerprint: Mapping[str, Any]) -> str:
    """The identity of an extractor's records: SHA-256 over its name and canonical fingerprint, 64 hex digits."""
    canonical = json.dumps({"name": name, **fingerprint}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _flush(folder: Path) -> None:
    """Bring a folder's names to the disk, so that no crash of the machine undoes a new one and keeps a removal."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
