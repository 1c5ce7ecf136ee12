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

from mmposter.data.dataset import FEATURES, INFO, KIND, MANIFEST, SCHEMA, VOCABULARY, read_info, read_manifest
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.features.store import ExtractorStore, Failure, Record
from mmposter.files.atomic import write_json
from mmposter.files.strict_json import parse_json
from mmposter.mirrors import as_path
from mmposter.packs.archive import SUFFIX, Archive
from mmposter.packs.codec import decode
from mmposter.packs.facts import Facts, FieldFacts
from mmposter.progress import say
from mmposter.shell import command_line
from mmposter.shipped import BENCHMARK

_SHARD = 256
"""Posters in a file of the store: as many as are read at a time."""
_THREADS = 4

_FAILED = "it could not be computed when the pack was made"

# Where packs were opened whose cache cannot be written, by digest.
_temporary: dict[str, Path] = {}


def find_data(data: str | Path) -> Path:
    """The prepared folder that somebody means.

    Args:
        data: a folder, which is returned as it is, or the file of a pack; as a text also a link to one of them in an
            object store, or ``benchmark``, the pack that travels with mmposter. ``./benchmark`` and
            ``Path("benchmark")`` are a folder.

    Raises:
        UserError: the pack is not there, or damaged.
    """
    if data == BENCHMARK and isinstance(data, str):
        return open_pack(_shipped())
    path = as_path(data)
    if path.is_file():
        return open_pack(path)
    if path.suffix == SUFFIX and not path.exists():
        raise UserError(f"there is no pack {path}; make one: {command_line('mmposter', 'pack', 'DATA', '--out', path)}")
    return path


def open_pack(file: Path) -> Path:
    """The prepared folder of a pack: in the user's cache, made now if it is not there yet.

    Raises:
        UserError: it is no pack, is damaged, or is of a newer format.
    """
    archive = Archive(file)
    digest = archive.digest()
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = home / "mmposter" / "packs" / f"{archive.facts.name}-{digest[:12]}"
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
        say(f"the cache cannot be written ({error}): opening {file.name} in {home}, for this run alone")
        _unpack(archive, home / folder.name, home / folder.name)
        _temporary[digest] = home / folder.name
        return _temporary[digest]
    say(f"opening {file.name} ({archive.facts.posters:,} posters) in {folder}, once")
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
    facts = archive.facts
    members = archive.members()
    with archive.reading():
        manifest = read_manifest(members[MANIFEST])
        hashes = list(dict.fromkeys(manifest["sha256"].to_pylist()))  # in the order of the records
        facts.require_rows(hashes, manifest.num_rows)
        Vocabulary.from_json(parse_json(members[VOCABULARY], VOCABULARY), where=VOCABULARY)
        arrays = _decoded(facts, members)
        stores = {
            name: (extractor, [sha for sha in hashes if sha not in extractor.failed])
            for name, extractor in facts.extractors.items()
        }
        rows = {
            name: {field: _by_poster(f"{name}/{field}", of, arrays) for field, of in extractor.fields.items()}
            for name, (extractor, _) in stores.items()
        }
    # From here on what goes wrong is the disk's fault.
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(members[MANIFEST])
    (folder / VOCABULARY).write_bytes(members[VOCABULARY])
    for name, (extractor, good) in stores.items():
        store = ExtractorStore(folder / FEATURES, name, extractor.fingerprint)
        for start in range(0, len(good), _SHARD):
            chosen = range(start, min(start + _SHARD, len(good)))
            store.write({good[row]: _record(rows[name], row) for row in chosen})
        store.write({sha: Failure(reason, _FAILED) for sha, reason in extractor.failed.items()})
        store.describe(extractor.metadata)
        store.compact()
    info = {
        "kind": KIND,
        "schema": SCHEMA,
        "root": str(final),
        "pictures": False,
        "pack": {"name": facts.name, "note": facts.note},
        **facts.dataset.model_dump(),
        "pins": facts.pins,
        "manifest_sha256": hashlib.sha256(members[MANIFEST]).hexdigest(),
    }
    write_json(folder / INFO, info)


def _decoded(facts: Facts, members: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    """All arrays by their path in the pack; unpacking and multiplying let other threads run."""
    headers = facts.headers()
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="unpack") as pool:
        arrays = pool.map(lambda path: decode(headers[path], members[f"{path}.xz"]), headers)
        return dict(zip(headers, arrays, strict=True))


def _by_poster(
    path: str, field: FieldFacts, arrays: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A field of all posters, and where each poster's rows begin."""
    values = arrays[field.same_as or path]
    if field.counts is None:
        return values, np.arange(len(values) + 1)
    counts = arrays[f"{path}.counts"].astype(np.int64)
    if (len(counts) and (counts.min() < 0 or counts.max() > len(values))) or counts.sum() != len(values):
        raise ValueError(f"{path} has {len(values)} rows, and counts of others")
    return values, np.cumsum([0, *counts.tolist()])


def _record(rows: Mapping[str, tuple[NDArray[Any], NDArray[np.int64]]], row: int) -> Record:
    return {field: values[starts[row] : starts[row + 1]] for field, (values, starts) in rows.items()}


def _shipped() -> Path:
    file = Path(str(resources.files("mmposter.shipped"))) / f"{BENCHMARK}{SUFFIX}"
    if not file.is_file():
        raise UserError(
            f"this build of mmposter came without the pack {BENCHMARK}. Name a prepared folder (./{BENCHMARK} if it is "
            "called so) or a pack; make one with: mmposter prepare SOURCE --out DATA"
        )
    return file
