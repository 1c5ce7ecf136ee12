"""The folder of an index, and exact search in it.

``index.json`` says whose embeddings they are, where each branch stands in them, and which parts belong to it. A part is
``part-*.safetensors`` (``vectors``, n x D in float16, with a checksum) beside ``part-*.parquet`` (n rows: what the
posters are). A part counts once index.json names it. All of it may be a stranger's, and is read as such.

Letters: N posters, D numbers of an embedding, Q posters that are asked about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from mmposter.errors import UserError
from mmposter.files.formats import require_format
from mmposter.files.strict_json import mapping, read_json, sound
from mmposter.files.strict_parquet import ParquetError, read_parquet
from mmposter.files.strict_values import StrictValues, fitting
from mmposter.files.tensors import load_tensors, tensor_shapes
from mmposter.shell import command_line
from mmposter.similarity.neighbours import Neighbour

INDEX, KIND, FORMAT = "index.json", "mmposter-index", 1
ROWS = pa.schema(
    {
        "id": pa.string(),
        "title": pa.string(),
        "year": pa.int32(),
        "genres": pa.list_(pa.string()),
        "split": pa.string(),
        "key": pa.string(),  # what must be the same for the embedding to be the poster's
        "error": pa.string(),  # what was wrong with it: then its vector is 0
    }
)
_BLOCK = 8192
"""Rows that are multiplied at a time: with D = 544 some 18 MB in float32."""
_QUERIES = 256
_PART = re.compile(r"part-[0-9a-f]{32}")


class IndexFacts(StrictValues):
    """What index.json holds."""

    kind: str
    format: int
    made_with: str
    source: str  # absolute path of what was embedded
    stamp: str = ""  # of a data set its manifest's hash
    branches: dict[str, list[int]]  # columns by branch
    through: list[str]  # the branches that were looked through; the columns of others are zeros
    parts: list[str]
    posters: int = Field(ge=0)
    finished: bool


@dataclass(frozen=True, eq=False)
class PosterIndex:
    """Embeddings of posters in a folder. Make one with `build_index`, or load one with `PosterIndex.load`."""

    folder: Path
    facts: IndexFacts = field(repr=False)

    @classmethod
    def load(cls, folder: str | Path, made_with: str | None = None) -> PosterIndex:
        """Read the folder of an index.

        Args:
            folder: what `build_index` wrote.
            made_with: identity of the model that asks (`embedding_identity`); None: not compared.

        Raises:
            UserError: it is none, is damaged, unfinished, or was made with another model or other branches.
        """
        folder = Path(folder)
        facts = read_facts(folder)
        if facts is None:
            raise UserError(
                f"{folder} is no index of posters; make one: mmposter similar POSTER --among DATA --index DIR"
            )
        making = command_line("mmposter", "similar", "POSTER", "--among", facts.source, "--index", folder)
        if made_with is not None and facts.made_with != made_with:
            raise UserError(
                f"the index {folder} was made with another model or other branches: its posters cannot be compared.\n"
                f"Make it anew: {making} --rebuild"
            )
        if not facts.finished:
            raise UserError(f"the index {folder} is not finished; go on with: {making}")
        return cls(folder, facts)

    def __len__(self) -> int:
        return int(self.facts.posters)

    @property
    def branches(self) -> dict[str, slice]:
        """Columns of each branch that was looked through, in the model's order."""
        return {name: slice(*place) for name, place in self.facts.branches.items() if name in self.facts.through}

    @property
    def width(self) -> int:
        """D."""
        return max(end for _, end in self.facts.branches.values())

    @cached_property
    def splits(self) -> frozenset[str]:
        """The sides that its posters are on."""
        return frozenset(s for part in self.facts.parts for s in self.rows(part)["split"].unique().to_pylist())

    def rows(self, part: str) -> pa.Table:
        """What the posters of a part are (UserError: it is damaged)."""
        return _rows(self.folder, part)

    def search(
        self,
        vectors: NDArray[np.float32],
        count: int = 10,
        *,
        by: Sequence[str] | None = None,
        split: str | None = None,
    ) -> list[list[Neighbour]]:
        """The nearest posters of each of Q embeddings, by the cosine; exact, and in bounded memory.

        Args:
            vectors: Q x D, as from `PosterClassifier.embed` of the same model.
            count: how many; fewer where there are not so many. A poster on which nothing was seen has none, and is near
                to none.
            by: compare by these branches alone; None: all.
            split: among the posters of this side alone; None: all.

        Raises:
            ValueError: another width, or `count` below 1.
            UserError: a branch or a side that the index does not have, or a damaged part.
        """
        if count < 1 or vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise ValueError(f"vectors must be Q x {self.width} and count 1 or more; got {vectors.shape}, {count}")
        if not np.isfinite(vectors).all():
            raise ValueError("vectors must be finite: leave out the rows of posters that could not be used")
        columns = self._columns(by)
        if split is not None and split not in self.splits:
            raise UserError(
                f"{self.folder} has no posters of the split {split!r}; it has {', '.join(sorted(self.splits))}"
            )
        found: list[list[Neighbour]] = []
        for start in range(0, len(vectors), _QUERIES):
            asked = _unit(np.asarray(vectors[start : start + _QUERIES], np.float32)[:, columns])
            best = _Best(len(asked), count)
            for part, first, block in self._blocks():
                near = block[:, columns]
                lengths = np.sqrt(np.einsum("nd,nd->n", near, near))
                left_out = lengths == 0
                lengths[left_out] = 1
                scores = near @ asked.T / lengths[:, None]
                if not np.isfinite(scores).all():
                    raise self._damaged(part, "it has numbers that are not finite")
                if split is not None:
                    sides = self.rows(part)["split"].slice(first, len(block))
                    left_out |= ~pc.equal(sides, split).to_numpy(zero_copy_only=False)
                scores[left_out] = -np.inf
                scores[:, ~asked.any(axis=1)] = -np.inf
                best.add(self.facts.parts.index(part), first, scores)
            found += self._neighbours(asked, best, columns, by)
        return found

    def _columns(self, by: Sequence[str] | None) -> slice | NDArray[np.int64]:
        unknown = [name for name in by or () if name not in self.branches]
        if unknown or (by is not None and not by):
            raise UserError(
                f"the branches of {self.folder} are {', '.join(self.branches)}; got {', '.join(by or ())!r}"
            )
        if by is None:
            return slice(None)  # which copies nothing
        return np.concatenate([np.arange(place.start, place.stop) for n, place in self.branches.items() if n in by])

    def vectors(self, part: str) -> NDArray[np.float16]:
        """The embeddings of a part, n x D (UserError: it is damaged, or has others than its rows)."""
        file, wanted = self.folder / f"{part}.safetensors", (self.rows(part).num_rows, self.width)
        if tensor_shapes(file) != {"vectors": wanted}:
            raise self._damaged(part, f"it must hold vectors of {wanted[0]} x {wanted[1]}")
        values: NDArray[Any] = load_tensors(file)["vectors"].numpy()
        if values.dtype != np.float16:
            raise self._damaged(part, f"its vectors must be float16, got {values.dtype}")
        return values

    def _blocks(self) -> Iterator[tuple[str, int, NDArray[np.float32]]]:
        for part in self.facts.parts:
            values = self.vectors(part)
            for first in range(0, len(values), _BLOCK):
                yield part, first, values[first : first + _BLOCK].astype(np.float32)

    def _neighbours(
        self, asked: NDArray[np.float32], best: _Best, columns: slice | NDArray[np.int64], by: Sequence[str] | None
    ) -> list[list[Neighbour]]:
        """What was found, with the terms of the branches; each part is opened once more."""
        terms: dict[tuple[int, int], tuple[dict[str, float], tuple[str, ...]]] = {}
        places, start = dict(self.branches), 0
        if by is not None:  # then their columns alone stand side by side
            places = {}
            for name, place in ((n, p) for n, p in self.branches.items() if n in by):
                places[name] = slice(start, start := start + place.stop - place.start)
        for number in np.unique(best.parts[np.isfinite(best.scores)]):
            values = self.vectors(self.facts.parts[number])
            for query, place in zip(*np.nonzero((best.parts == number) & np.isfinite(best.scores)), strict=True):
                row = values[best.rows[query, place]].astype(np.float32)[columns]
                row = _unit(row[None])[0]
                terms[query, place] = _terms(asked[query], row, places)
        found = []
        for query in range(len(asked)):
            near = [place for place in range(best.scores.shape[1]) if np.isfinite(best.scores[query, place])]
            found.append([self._neighbour(best, query, place, *terms[query, place]) for place in near])
        return found

    def _neighbour(
        self, best: _Best, query: int, place: int, shares: Mapping[str, float], nothing: tuple[str, ...]
    ) -> Neighbour:
        table = self.rows(self.facts.parts[best.parts[query, place]])
        row = table.slice(int(best.rows[query, place]), 1).to_pylist()[0]
        return Neighbour(
            rank=place + 1,
            similarity=float(best.scores[query, place]),
            shares=shares,
            nothing=nothing,
            id=row["id"],
            title=row["title"],
            year=row["year"],
            genres=tuple(row["genres"] or ()),
            split=row["split"],
        )

    def _damaged(self, part: str, why: str) -> UserError:
        return _damaged(self.folder / f"{part}.safetensors", why)


class _Best:
    """The best `count` of Q so far: Q x count scores (-inf where there are fewer), with their parts and rows."""

    def __init__(self, queries: int, count: int) -> None:
        self.scores = np.full((queries, count), -np.inf, np.float32)
        self.parts = np.zeros((queries, count), np.int64)
        self.rows = np.zeros((queries, count), np.int64)

    def add(self, part: int, first: int, scores: NDArray[np.float32]) -> None:
        """Take what is better of a block: n x Q scores of its rows, which follow on `first`."""
        count = self.scores.shape[1]
        take = min(count, len(scores))
        order = np.argpartition(-scores, take - 1, axis=0)[:take].T  # Q x take
        new = np.take_along_axis(scores.T, order, axis=1)
        if not (new.max(axis=1) > self.scores[:, -1]).any():
            return
        both = np.concatenate([self.scores, new], axis=1)
        parts = np.concatenate([self.parts, np.full_like(order, part)], axis=1)
        rows = np.concatenate([self.rows, order + first], axis=1)
        kept = np.lexsort((rows, parts, -both), axis=1)[:, :count]  # of equals the first comes first
        self.scores, self.parts, self.rows = (np.take_along_axis(values, kept, 1) for values in (both, parts, rows))


def read_facts(folder: Path) -> IndexFacts | None:
    """What index.json says, or None where the folder holds no index (UserError: it is damaged, or newer)."""
    file = folder / INDEX
    if not file.is_file():
        return None
    values = read_json(file, mend=_MEND)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        return None
    with sound(file, _MEND):
        require_format(file, mapping(values, INDEX).get("format"), FORMAT)
        facts = fitting(IndexFacts, values)
        if odd := [part for part in facts.parts if not _PART.fullmatch(part)]:
            raise ValueError(f"a part is part- and 32 digits, got {odd[0]!r}")
        end = 0
        for place in facts.branches.values():
            if len(place) != 2 or place[0] != end or place[1] <= end:
                raise ValueError(f"branches must stand one behind the other, got {facts.branches}")
            end = place[1]
        if not end:
            raise ValueError("there is no branch")
        if not facts.through or not set(facts.through) <= set(facts.branches):
            raise ValueError(f"through must name some of {list(facts.branches)}, got {facts.through}")
    return facts


_MEND = "make the index again with --rebuild"


def _damaged(file: Path, why: object) -> UserError:
    return UserError(f"{file} is damaged: {why}; {_MEND}")


@lru_cache(maxsize=128)
def _rows(folder: Path, part: str) -> pa.Table:
    file = folder / f"{part}.parquet"
    try:
        table = read_parquet(file, ROWS)
    except (FileNotFoundError, ParquetError) as error:
        raise _damaged(file, error) from error
    for column in ("id", "split", "key"):
        if table[column].null_count:
            raise _damaged(file, f"a poster has no {column}")
    return table


def _terms(
    one: NDArray[np.float32], other: NDArray[np.float32], places: Mapping[str, slice]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """What each branch adds to the cosine of two rows of length 1, and those that saw nothing on the other one."""
    shares = {name: float(one[place] @ other[place]) for name, place in places.items()}
    return shares, tuple(name for name, place in places.items() if not other[place].any())


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; zeros stay zeros."""
    lengths = np.sqrt(np.einsum("nd,nd->n", values, values))
    lengths[lengths == 0] = 1
    return np.asarray(values / lengths[:, None], np.float32)
