"""Tables on disk: the records of one extractor as the columns that a model reads, in the order of one data set.

The store keeps a record where it was computed. A training reads all of them many times, so they are laid out once, row
after row, into ``features/tables/<name>-<digest>``: columns (see `mmposter.features.columns`) and ``table.json``. They
are mapped from there, by all processes together, or read by windows where they are too many
(`mmposter.features.windowed`). A table can be removed at any time; it is laid out again from the store. Where nothing
can be written beside the store, a table that is not large is made in memory.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.features.columns import Column, ColumnWriter, block_rows
from mmposter.features.ragged import SLOTS, Features, Ragged, slots_of
from mmposter.features.windowed import LARGE, Windowed, rows_held
from mmposter.files.atomic import current_umask, write_json
from mmposter.files.disk import naming
from mmposter.files.strict_json import mapping, read_json, sound, whole

TABLES, _FACTS, _SUMS, _USABLE = "tables", "table.json", "checksums", "usable"
KIND, SCHEMA = "mmposter-table", 1
_KEPT = 4
"""Tables of one extractor that stay: those of data sets that share a store, and of a manifest that grew."""
_FORGOTTEN = 24 * 3600
"""Seconds after which the folder of a table that is being written belongs to a process that was killed."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Table:
    """The columns of N posters.

    Attributes:
        columns: by the name of the fusion's input; what has slots has a row for each filled one.
        counts: by the mask's name, how many slots of each poster are filled: N.
        usable: N, False for a poster without a record that can be used.
        order: the row of the data set that each row of the columns belongs to; None: the same.
    """

    columns: Mapping[str, Column]
    counts: Mapping[str, NDArray[np.int64]]
    usable: NDArray[np.bool_]
    order: NDArray[np.int64] | None

    def check_all(self) -> None:
        """Compare all bytes with their checksums (ValueError: some differ)."""
        for column in self.columns.values():
            column.check_all()

    def tensors(self, mend: str, places: torch.Tensor | None = None) -> dict[str, torch.Tensor | Ragged | Windowed]:
        """The fusion's inputs of all posters, in the order of the data set.

        Args:
            mend: what to do about damaged bytes, for the message.
            places: as `places` gives them, where they are known: tables of one order share them. None: found here.
        """
        rows, places = len(self.usable), self.places() if places is None else places
        slots = {mask: slots_of(torch.from_numpy(counts), places) for mask, counts in self.counts.items()}
        found: dict[str, torch.Tensor | Ragged | Windowed] = {}
        for name, column in self.columns.items():
            mask = _mask_of(name)
            values: torch.Tensor | Windowed
            if places is None:
                values = torch.from_numpy(column.mapped())
            else:
                values = Windowed(column, rows_held(column, rows), places if mask is None else None, mend)
            found[name] = values if mask is None else Ragged(values, *slots[mask])
        return found

    def places(self) -> torch.Tensor | None:
        """Where in the columns each row of the data set lies; None: in its own place."""
        if self.order is None:
            return None
        places = np.empty(len(self.order), np.int64)
        places[self.order] = np.arange(len(self.order))
        return torch.from_numpy(places)


def find_table(root: Path, name: str, digest: str, rows: int) -> Table | None:
    """A table that was laid out before; None where there is none that is whole.

    Args:
        root: the store's folder.
        digest: of all that decides the table.
        rows: N.
    """
    folder = root / TABLES / f"{name}-{digest[:24]}"
    if not (folder / _FACTS).is_file():
        return None
    table = _read(folder, rows)
    with suppress(OSError):  # a store that is mounted read-only
        os.utime(folder)
    return table


def lay_out(
    root: Path,
    name: str,
    digest: str,
    usable: NDArray[np.bool_],
    order: NDArray[np.int64] | None,
    parts: Callable[[], Iterator[Inputs]],
) -> Table:
    """Write a table; where there is no room for it, one that is not large is made in memory.

    Args:
        root: the store's folder.
        digest: of all that decides the table.
        usable: N.
        order: as in `Table`.
        parts: gives the inputs of all posters, padded and with their masks, some posters at a time in `order`; asked
            twice where the first time ends with a full disk.

    Raises:
        OSError: it cannot be written, and is too large for the memory.
    """
    try:
        with naming(root / TABLES):
            return _on_disk(root, name, digest, usable, order, parts())
    except OSError as error:
        if error.errno not in _NO_ROOM or is_large(len(usable)):
            raise
    return _write(None, usable, order, parts())


def pack(parts: Iterator[Inputs], rows: int) -> Features:
    """Padded inputs of N posters, some at a time and in their order, as a table in memory without the padding."""
    return _write(None, np.ones(rows, bool), None, parts).tensors("")


def is_large(rows: int) -> bool:
    """Whether a table of so many posters is read by windows."""
    return rows > LARGE


def _on_disk(
    root: Path,
    name: str,
    digest: str,
    usable: NDArray[np.bool_],
    order: NDArray[np.int64] | None,
    parts: Iterator[Inputs],
) -> Table:
    tables = root / TABLES
    tables.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=tables))
    try:
        folder.chmod(0o777 & ~current_umask())
        _write(folder, usable, order, parts)
        target = tables / f"{name}-{digest[:24]}"
        try:
            folder.rename(target)
        except OSError:
            if not (target / _FACTS).is_file():  # a damaged one, without its facts
                raise
            shutil.rmtree(folder)  # another process was as quick
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _forget_old(tables, name)
    return _read(target, len(usable))


def _write(
    folder: Path | None, usable: NDArray[np.bool_], order: NDArray[np.int64] | None, parts: Iterator[Inputs]
) -> Table:
    """The columns in a folder, or in memory."""
    writers: dict[str, ColumnWriter] = {}
    counts: dict[str, list[NDArray[np.int64]]] = {}
    try:
        for inputs in parts:
            for name, values in _without_padding(inputs, counts):
                if name not in writers:
                    file = None if folder is None else folder / f"{name}.npy"
                    writers[name] = ColumnWriter(file, values)
                writers[name].append(values)
        columns = {name: writer.finish() for name, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.close()
    joined = {name: np.concatenate(parts) for name, parts in counts.items()}
    if folder is not None:
        sums = [column.checksums for column in columns.values()]
        np.save(folder / f"{_SUMS}.npy", np.concatenate(sums) if sums else np.zeros(0, np.uint32))
        np.save(folder / f"{_USABLE}.npy", usable)
        if order is not None:
            np.save(folder / "order.npy", order)
        for mask, each in joined.items():
            np.save(folder / f"{mask}.npy", each)
        facts = {
            "kind": KIND,
            "schema": SCHEMA,
            "rows": len(usable),
            "ordered": order is not None,
            "masks": sorted(joined),
            "columns": {name: column.to_json() for name, column in columns.items()},
        }
        write_json(folder / _FACTS, facts)
    return Table(columns, joined, usable, order)


def _without_padding(inputs: Inputs, counts: dict[str, list[NDArray[np.int64]]]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The columns' rows of some posters, without empty slots; how many are filled is added to `counts`."""
    for mask, names in SLOTS.items():
        if any(name in inputs for name in names):
            counts.setdefault(mask, []).append(inputs[mask].sum(dim=1).numpy().astype(np.int64))
    for name, values in inputs.items():
        if name in SLOTS:
            continue
        own = _mask_of(name)
        yield name, (values if own is None else values[inputs[own]]).contiguous().numpy()


def _mask_of(name: str) -> str | None:
    """The mask that says which slots of an input are filled; None for one without slots."""
    return next((mask for mask, names in SLOTS.items() if name in names), None)


def _read(folder: Path, rows: int) -> Table:
    with sound(folder, f"remove {folder}: it is laid out again from the store"):
        facts = mapping(read_json(folder / _FACTS), "a table")
        if facts["kind"] != KIND or facts["schema"] != SCHEMA or whole(facts["rows"], "rows") != rows:
            raise ValueError("it is no table of these posters")
        sums, at = _array(folder / f"{_SUMS}.npy", np.uint32), 0
        columns = {}
        for name, said in mapping(facts["columns"], "columns").items():
            row_bytes = int(np.prod(said["width"], dtype=np.int64)) * np.dtype(str(said["dtype"])).itemsize
            blocks = -(-whole(said["rows"], "rows") // block_rows(row_bytes))
            columns[name] = Column.from_json(_inside(folder, name), said, sums[at : at + blocks])
            at += blocks
        counts = {str(mask): _array(_inside(folder, str(mask)), np.int64) for mask in facts["masks"]}
        usable = _array(folder / f"{_USABLE}.npy", np.bool_)
        order = _array(folder / "order.npy", np.int64) if facts["ordered"] is True else None
        _require_fitting(columns, counts, usable, order, rows)
    return Table(columns, counts, usable, order)


def _require_fitting(
    columns: Mapping[str, Column],
    counts: Mapping[str, NDArray[np.int64]],
    usable: NDArray[np.bool_],
    order: NDArray[np.int64] | None,
    rows: int,
) -> None:
    """Refuse arrays that are not those of N posters (ValueError)."""
    if len(usable) != rows or any(len(each) != rows or (each < 0).any() for each in counts.values()):
        raise ValueError("an array has another length")
    if order is not None and (len(order) != rows or (np.bincount(order, minlength=rows) != 1).any()):
        raise ValueError("its order is none")
    for name, column in columns.items():
        mask = _mask_of(name)
        if column.rows != (rows if mask is None else int(counts[mask].sum())):
            raise ValueError(f"{name} has another length")


def _array(file: Path, dtype: Any) -> NDArray[Any]:
    found = np.load(file, allow_pickle=False, mmap_mode="r")
    if found.dtype != dtype or found.ndim != 1:
        raise ValueError(f"{file.name} has another type")
    return np.array(found)


def _inside(folder: Path, name: str) -> Path:
    """The file of a column, whose name may come from a stranger."""
    if not name.replace(".", "").replace("_", "").isalnum():
        raise ValueError("a column has a name that is none")
    return folder / f"{name}.npy"


def _forget_old(tables: Path, name: str) -> None:
    """Remove the tables of an extractor that were not used for longest, and what killed processes left."""
    with suppress(OSError):
        mine = [entry for entry in tables.iterdir() if entry.name.rpartition("-")[0] == name]
        for entry in sorted(mine, key=lambda entry: -entry.stat().st_mtime)[_KEPT:]:
            shutil.rmtree(entry, ignore_errors=True)
        for entry in tables.glob(f".{name}-*"):
            if time.time() - entry.stat().st_mtime > _FORGOTTEN:
                shutil.rmtree(entry, ignore_errors=True)


def rows_in_order(count: int, order: NDArray[np.int64] | None, size: int) -> Iterator[Sequence[int]]:
    """The rows of a data set, `size` at a time, as a table has them."""
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield range(start, stop) if order is None else order[start:stop].tolist()
