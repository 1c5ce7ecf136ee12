"""The work that an extraction has left, cut into parts.

A part is a fixed number of consecutive posters of the whole list, whatever is there already: which posters share a
batch, and with it the last bit of their records, depends on neither interruptions nor shards nor workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmposter.engines.libraries import release_memory
from mmposter.features.extractors import Extractor, RecordExtractor
from mmposter.features.index import Failure
from mmposter.features.store import ExtractorStore
from mmposter.files.hashes import key_order
from mmposter.images.links import poster_place

SIZE = 32
"""Posters of a part: the unit of dispatch and of writing."""


@dataclass(frozen=True)
class StoredPoster:
    """One poster to extract: its id for the report, where it lies, and the hash of its bytes."""

    id: str
    path: Path | str  # a text is a link into an object store
    sha256: str


class StoredPosters(Sequence[StoredPoster]):
    """The posters of a data set, made when they are asked for: a million objects take a gigabyte.

    Args:
        ids: N names.
        paths: N, relative to `root`, absolute, or links into an object store.
        hashes: N, in hex.
    """

    def __init__(
        self,
        ids: Sequence[str] | pd.Series[str],
        paths: Sequence[str] | pd.Series[str],
        hashes: NDArray[np.bytes_],
        root: Path,
    ) -> None:
        self._ids, self._paths, self.hashes, self._root = ids, paths, hashes, root

    def __len__(self) -> int:
        return len(self.hashes)

    @overload
    def __getitem__(self, row: int) -> StoredPoster: ...

    @overload
    def __getitem__(self, row: slice) -> list[StoredPoster]: ...

    def __getitem__(self, row: int | slice) -> StoredPoster | list[StoredPoster]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        sha = self.hashes[row].decode("ascii")
        at = range(len(self))[row]
        ids, paths = (
            names.iloc[at] if isinstance(names, pd.Series) else names[at] for names in (self._ids, self._paths)
        )
        return StoredPoster(str(ids), poster_place(str(paths), self._root), sha)


@dataclass(frozen=True)
class Share:
    """What one extractor has to do in a part."""

    rows: tuple[int, ...]  # of the posters that it has no record of, in the part's order
    # of a `RecordExtractor`, for each of these: True where its source computes the record in this part too, False where
    # the record is in the store, else why there is none
    sources: tuple[bool | Failure, ...] = ()


@dataclass(frozen=True)
class Part:
    """Posters, and what each extractor has to do with them, by its name."""

    posters: tuple[StoredPoster, ...]
    shares: dict[str, Share]


@dataclass
class Standing:
    """What the store has of one extractor, over all posters of a run."""

    store: ExtractorStore  # the extractor's
    left: np.ndarray[tuple[int], np.dtype[np.bool_]]  # which posters have to be computed
    present: int  # how many have a record
    failures: dict[int, Failure] = field(default_factory=dict)  # why others never will, by row


class ExtractPlan:
    """What is left to do for some posters and extractors.

    Args:
        extractors: in an order in which a `RecordExtractor` follows its source.
        shard: (i, n): every n-th part from the i-th on.
        told: called when what is there of an extractor is known.
    """

    def __init__(
        self,
        posters: Sequence[StoredPoster],
        extractors: Sequence[Extractor],
        root: Path,
        shard: tuple[int, int] = (0, 1),
        told: Callable[[], object] = lambda: None,
    ) -> None:
        rows = np.arange(len(posters))
        self._rows = rows[(rows // SIZE) % shard[1] == shard[0]]  # of all posters, those of this shard
        self._posters = posters
        known = posters.hashes if isinstance(posters, StoredPosters) else [poster.sha256 for poster in posters]
        hashes = np.array(known, "S64")[self._rows]
        self._by_hash = key_order(hashes)  # sorted once, and not for each store
        self._sorted = hashes[self._by_hash]
        self._extractors = list(extractors)
        records = {e.name: e.source for e in extractors if isinstance(e, RecordExtractor)}
        asked = {extractor.name: extractor for extractor in (*records.values(), *extractors)}
        stands: dict[str, Standing] = {}
        # Sorting, and finding what is sorted, is almost all of it; numpy and pyarrow let other threads on meanwhile.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for name, standing in zip(asked, pool.map(partial(self._stand, root=root), asked.values()), strict=True):
                stands[name] = standing
                told()
        self.standing = {extractor.name: stands[extractor.name] for extractor in extractors}
        self._sources = {name: stands[source.name] for name, source in records.items()}
        release_memory()

    def left(self) -> int:
        """Posters that some extractor has to look at."""
        masks = [standing.left for standing in self.standing.values()]
        return int(np.logical_or.reduce(masks).sum()) if masks else 0

    def at_work(self) -> list[Extractor]:
        """The extractors that have something to do."""
        return [extractor for extractor in self._extractors if self.standing[extractor.name].left.any()]

    def compact(self) -> None:
        """Merge the small index files of the stores, see `ExtractorStore.compact`."""
        for standing in self.standing.values():
            standing.store.compact()

    def failures(self, name: str) -> dict[str, Failure]:
        """Posters that an extractor could not compute in earlier runs, by id."""
        return {self._poster(row).id: failure for row, failure in self.standing[name].failures.items()}

    def parts(self) -> Iterator[Part]:
        """The parts with something to do, without the posters that have all their records."""
        left = np.logical_or.reduce([standing.left for standing in self.standing.values()])
        for start in np.unique(np.flatnonzero(left) // SIZE) * SIZE:
            kept = (start + np.flatnonzero(left[start : start + SIZE])).tolist()
            shares = {extractor.name: self._share(extractor, kept) for extractor in self._extractors}
            posters = tuple(self._poster(row) for row in kept)
            yield Part(posters, {name: share for name, share in shares.items() if share.rows})

    def _poster(self, row: int) -> StoredPoster:
        return self._posters[int(self._rows[row])]

    def _stand(self, extractor: Extractor, root: Path) -> Standing:
        store = ExtractorStore(root, extractor.name, extractor.fingerprint())
        store.compact()
        # By a store of its own: what it has read of a million records takes a hundred megabytes, and is needed once.
        there, failures = ExtractorStore(root, extractor.name, store.fingerprint).status(self._sorted)
        left = np.ones(len(self._rows), bool)
        left[self._by_hash[there]] = False
        failed = {int(self._by_hash[at]): failure for at, failure in failures.items()}
        failed = dict(sorted(failed.items(), key=lambda pair: pair[0]))
        left[list(failed)] = False
        return Standing(store, left, int(there.sum()), failed)

    def _share(self, extractor: Extractor, rows: Sequence[int]) -> Share:
        mine = [(place, row) for place, row in enumerate(rows) if self.standing[extractor.name].left[row]]
        places = tuple(place for place, _ in mine)
        if not isinstance(extractor, RecordExtractor):
            return Share(places)
        return Share(places, tuple(self._source(extractor, row) for _, row in mine))

    def _source(self, extractor: RecordExtractor, row: int) -> bool | Failure:
        standing = self._sources[extractor.name]
        if row in standing.failures:
            return standing.failures[row]
        if not standing.left[row]:
            return False
        return True if extractor.source.name in self.standing else no_source(extractor)


def no_source(extractor: RecordExtractor) -> Failure:
    """Why an extractor of records has none where its source has none."""
    return Failure("no_source", f"there is no {extractor.source.name} record to work on")
