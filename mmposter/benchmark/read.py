"""From a pack to a prepared folder, once; from then on it is data like any other."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.atomic import write_json
from mmposter.benchmark import BENCHMARK
from mmposter.benchmark.archive import BROKEN, SUFFIX, Archive
from mmposter.benchmark.codec import decode
from mmposter.data.dataset import FEATURES, INFO, KIND, MANIFEST, SCHEMA, VOCABULARY, read_info
from mmposter.errors import UserError
from mmposter.features.store import ExtractorStore, Failure, Record
from mmposter.progress import console

_SHARD = 256
"""Posters in a file of the store: as many as are read at a time."""
_THREADS = 4

_FAILED = "it could not be computed when the pack was made"

# Where packs were opened whose cache cannot be written, by digest.
_temporary: dict[str, Path] = {}


def find_data(data: str | Path) -> Path:
    """The prepared folder that somebody means.

    Args:
        data: a folder, which is returned as it is; the file of a pack; or as a text ``benchmark``, the pack that
            travels with mmposter. ``./benchmark`` and ``Path("benchmark")`` are a folder.

    Raises:
        UserError: the pack is not there, or damaged.
    """
    if data == BENCHMARK and isinstance(data, str):
        return open_pack(_shipped())
    path = Path(data)
    if path.is_file():
        return open_pack(path)
    if path.suffix == SUFFIX and not path.exists():
        raise UserError(f"there is no pack {path}; make one: mmposter pack DATA --out {path}")
    return path


def open_pack(file: Path) -> Path:
    """The prepared folder of a pack: in the user's cache, made now if it is not there yet.

    Raises:
        UserError: it is no pack, is damaged, or is of a newer format.
    """
    archive = Archive(file)
    digest = archive.digest()
    folder = _cache() / f"{archive.name}-{digest[:12]}"
    if read_info(folder) is not None:
        return folder
    if digest in _temporary and read_info(_temporary[digest]) is not None:
        return _temporary[digest]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    except OSError as error:
        home = Path(tempfile.mkdtemp(prefix="mmposter-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        _say(f"the cache cannot be written ({error}): opening {file.name} in {home}, for this run alone")
        _unpack(archive, home / folder.name, home / folder.name)
        _temporary[digest] = home / folder.name
        return _temporary[digest]
    _say(f"opening {file.name} ({archive.facts['posters']:,} posters) in {folder}, once")
    try:
        _unpack(archive, made, folder)
        made.chmod(0o755)
        if folder.exists() and read_info(folder) is None:  # left by something that removed half of it
            shutil.rmtree(folder)
        made.rename(folder)
    except OSError as error:
        if read_info(folder) is None:  # else another process was faster
            raise UserError(f"{file} cannot be opened in {folder}: {error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _unpack(archive: Archive, folder: Path, final: Path) -> None:
    """Write the prepared folder; the file that makes it one comes last."""
    members = archive.members()
    try:
        known = archive.facts["extractors"]
        arrays = _decoded(known, members)
        folder.mkdir(exist_ok=True)
        (folder / MANIFEST).write_bytes(members[MANIFEST])
        (folder / VOCABULARY).write_bytes(members[VOCABULARY])
        hashes = _hashes(folder / MANIFEST)
        for name, facts in known.items():
            store = ExtractorStore(folder / FEATURES, name, facts["fingerprint"])
            good = [sha for sha in hashes if sha not in facts["failed"]]
            rows = {field: _by_poster(field, name, facts["fields"], arrays, len(good)) for field in facts["fields"]}
            for start in range(0, len(good), _SHARD):
                chosen = range(start, min(start + _SHARD, len(good)))
                store.write({good[row]: _record(rows, row) for row in chosen})
            store.write({sha: Failure(reason, _FAILED) for sha, reason in facts["failed"].items()})
            store.describe(facts["metadata"])
            store.compact()
        info = {
            "kind": KIND,
            "schema": SCHEMA,
            "root": str(final),
            "pictures": False,
            "pack": {"name": archive.name, "note": archive.facts["note"]},
            **archive.facts["dataset"],
            "pins": archive.facts["pins"],
            "manifest_sha256": hashlib.sha256(members[MANIFEST]).hexdigest(),
        }
    except BROKEN as error:
        if isinstance(error, OSError):  # of the disk, not of the pack
            raise
        raise archive.damaged(error) from error
    write_json(folder / INFO, info)


def _decoded(extractors: Mapping[str, Any], members: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    """All arrays by their path in the pack; unpacking and multiplying let other threads run."""
    jobs: dict[str, tuple[Mapping[str, Any], bytes]] = {}
    for name, facts in extractors.items():
        for field, header in facts["fields"].items():
            path = f"{name}/{field}"
            if header["counts"] is not None:
                jobs[f"{path}.counts"] = header["counts"], members[f"{path}.counts.xz"]
            if "values" in header:
                jobs[path] = header["values"], members[f"{path}.xz"]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="unpack") as pool:
        return dict(zip(jobs, pool.map(lambda job: decode(*job), jobs.values()), strict=True))


def _by_poster(
    field: str, extractor: str, headers: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], count: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A field of all posters, and where each poster's rows begin."""
    header, path = headers[field], f"{extractor}/{field}"
    values = arrays[header.get("same_as", path)]
    counts = np.ones(count, np.int64) if header["counts"] is None else arrays[f"{path}.counts"]
    if len(counts) != count or counts.sum() != len(values):
        raise ValueError(f"{path} has {len(values)} rows of {len(counts)} posters; wanted are {count} posters")
    return values, np.cumsum([0, *counts.tolist()])


def _record(rows: Mapping[str, tuple[NDArray[Any], NDArray[np.int64]]], row: int) -> Record:
    return {field: values[starts[row] : starts[row + 1]] for field, (values, starts) in rows.items()}


def _hashes(manifest: Path) -> list[str]:
    """The pictures in the order of the records."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(dict.fromkeys(pq.read_table(manifest, columns=["sha256"])["sha256"].to_pylist()))
    except pa.ArrowException as error:
        raise ValueError(f"{MANIFEST}: {error}") from error


def _shipped() -> Path:
    file = Path(str(resources.files("mmposter.shipped"))) / f"{BENCHMARK}{SUFFIX}"
    if not file.is_file():
        raise UserError(
            f"this build of mmposter came without the pack {BENCHMARK}. Name a prepared folder (./{BENCHMARK} if it is "
            "called so) or a pack; make one with: mmposter prepare SOURCE --out DATA"
        )
    return file


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mmposter" / "packs"


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
