"""An index grows part by part: what is finished survives a stop, and what is not named in index.json does not count."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path, write_json
from mmposter.files.tensors import save_tensors
from mmposter.similarity.index import FORMAT, INDEX, KIND, ROWS, IndexFacts, PosterIndex, read_facts

PART, MERGED = 256, 16384
"""Posters of a part while it is made, and of one when all are there."""


@dataclass(frozen=True)
class IndexRow:
    """A poster of an index; see `ROWS`."""

    id: str
    key: str
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()
    split: str = "none"


class IndexWriter:
    """Adds posters to the index in a folder, whose one writer the caller is.

    Args:
        folder: of the index, or an empty one.
        made_with: identity of the model, see `embedding_identity`.
        branches: columns by branch.
        through: the branches that are looked through; None: all.
        source: absolute path of what is embedded.
        stamp: of a data set its manifest's hash: of another one nothing is kept.

    Raises:
        UserError: there is an index of another model, or of something else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        made_with: str,
        branches: Mapping[str, slice],
        source: str,
        through: Sequence[str] | None = None,
        stamp: str = "",
    ) -> None:
        self.folder = folder
        self._columns = {name: [place.start, place.stop] for name, place in branches.items()}
        self._width = max(place.stop for place in branches.values())
        there = read_facts(folder)
        if there is not None and (there.made_with != made_with or there.branches != self._columns):
            raise UserError(
                f"{folder} holds an index that was made with another model or other branches: its posters cannot be "
                "compared. Make it anew with --rebuild, or give another --index"
            )
        if there is not None and there.source != source:
            raise UserError(
                f"{folder} holds an index of {there.source}; replace it with --rebuild, or give another --index"
            )
        kept = there is not None and there.stamp == stamp
        self._facts = IndexFacts(
            kind=KIND,
            format=FORMAT,
            made_with=made_with,
            source=source,
            stamp=stamp,
            branches=self._columns,
            through=list(branches if through is None else through),
            parts=there.parts if kept and there is not None else [],
            posters=there.posters if kept and there is not None else 0,
            finished=False,
        )
        self._waiting: list[tuple[IndexRow, NDArray[np.float32] | None, str | None]] = []
        self._complete = kept and there is not None and there.finished
        self.keys = {key for part in self._facts.parts for key in self._index.rows(part)["key"].to_pylist()}

    def holds(self, keys: Sequence[str]) -> PosterIndex | None:
        """The index, where it is whole and has these posters and no others; then nothing is to be written."""
        whole = self._complete and set(keys) == self.keys
        return PosterIndex(self.folder, self._facts.model_copy(update={"finished": True})) if whole else None

    @property
    def _index(self) -> PosterIndex:
        return PosterIndex(self.folder, self._facts)

    def add(self, row: IndexRow, vector: NDArray[np.float32] | None, error: str | None = None) -> None:
        """Add a poster; None as `vector` is one that could not be used. Some hundred are written at a time."""
        self._waiting.append((row, vector, error))
        self.keys.add(row.key)
        self._complete = False
        if len(self._waiting) >= PART:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting; it survives a kill from here on."""
        if not self._waiting:
            return
        zeros = np.zeros(self._width, np.float32)
        values = np.stack([zeros if vector is None else vector for _, vector, _ in self._waiting])
        table = _table([{**vars(row), "genres": list(row.genres), "error": e} for row, _, e in self._waiting])
        part = write_part(self.folder, values.astype(np.float16), table)
        self._name([*self._facts.parts, part], self._facts.posters + len(table), finished=False)
        self._waiting = []

    def finish(self, keys: Sequence[str]) -> PosterIndex:
        """Bring the posters into the order of `keys`, drop all others, and say that the index is whole."""
        self.flush()
        if self.holds(keys) is None:
            parts = list(self._merged(keys))
            self._name(parts, len(keys), finished=True)
            self._complete, self.keys = True, set(keys)
        self._sweep()
        return PosterIndex.load(self.folder)

    def __enter__(self) -> Self:
        if not self._complete:
            self._name(self._facts.parts, self._facts.posters, finished=False)
        self._sweep()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not issubclass(kind, OSError):  # stopped: keep what is there
            self.flush()

    def _merged(self, keys: Sequence[str]) -> Iterator[str]:
        """Write parts of `MERGED` posters, in order, and give their names."""
        places: dict[str, tuple[int, int]] = {}
        for number, part in enumerate(self._facts.parts):
            places |= {key: (number, row) for row, key in enumerate(self._index.rows(part)["key"].to_pylist())}
        for start in range(0, len(keys), MERGED):
            wanted = [places[key] for key in keys[start : start + MERGED]]
            values = np.zeros((len(wanted), self._width), np.float16)
            tables: list[pa.Table] = []
            order: list[int] = []
            for number in sorted({number for number, _ in wanted}):
                mine = [(at, row) for at, (of, row) in enumerate(wanted) if of == number]
                rows = [row for _, row in mine]
                values[[at for at, _ in mine]] = self._index.vectors(self._facts.parts[number])[rows]
                tables.append(self._index.rows(self._facts.parts[number]).take(pa.array(rows)))
                order += [at for at, _ in mine]
            yield write_part(self.folder, values, pa.concat_tables(tables).take(pa.array(np.argsort(order))))

    def _name(self, parts: Sequence[str], posters: int, *, finished: bool) -> None:
        """Say in index.json which parts belong to it."""
        self._facts = self._facts.model_copy(update={"parts": list(parts), "posters": posters, "finished": finished})
        write_json(self.folder / INDEX, self._facts.model_dump())

    def _sweep(self) -> None:
        """Remove parts that are not named: of a stopped writer, or merged into others."""
        for file in self.folder.glob("part-*.*"):
            if file.suffix in (".safetensors", ".parquet") and file.stem not in self._facts.parts:
                file.unlink(missing_ok=True)


def write_part(folder: Path, vectors: NDArray[np.float16], table: pa.Table) -> str:
    """Write a part and return its name; it counts once index.json names it.

    Args:
        folder: of the index.
        vectors: n x D.
        table: n rows of `ROWS`.
    """
    import torch

    part = f"part-{uuid.uuid4().hex}"
    save_tensors(folder / f"{part}.safetensors", {"vectors": torch.from_numpy(vectors)})
    with atomic_path(folder / f"{part}.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return part


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=ROWS)
