"""Which posters a model has seen: hashes, in ``seen.parquet`` of the run folder.

Measured on posters that it was trained on, a model looks better than it is, and on those that its thresholds were
chosen on, a little. Whoever measures it elsewhere may have the same posters, saved again or under another name. So a
run keeps the first half of the SHA-256 of each of its posters, and the perceptual hash where the data have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmposter.data.duplicates import DUPLICATE_DISTANCE
from mmposter.data.near_hashes import near_pairs
from mmposter.features.tower import TowerWeights
from mmposter.files.atomic import atomic_path
from mmposter.files.strict_json import sound
from mmposter.files.strict_parquet import read_parquet
from mmposter.shipped import POSTERS, shipped_model, shipped_models

SEEN = "seen.parquet"
TRAIN, VAL = "train", "val"
_BYTES = 16
_FILE = np.dtype((np.void, _BYTES))  # not bytes: numpy takes zeros off their end
_SCHEMA = pa.schema({"split": pa.string(), "sha256": pa.binary(_BYTES), "phash": pa.uint64()})


@dataclass(frozen=True)
class SeenPosters:
    """Posters of which weights were made (``train``), and on which epoch and thresholds were chosen (``val``)."""

    splits: NDArray[np.object_] = field(default_factory=lambda: np.zeros(0, object))  # N, of each
    files: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, _FILE))  # N, 16 bytes each
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))  # N, 64 bits
    hashed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))  # N, whether `hashes` has it

    def __len__(self) -> int:
        return len(self.splits)

    @classmethod
    def of(cls, table: pd.DataFrame, split: str) -> SeenPosters:
        """All rows of a manifest as posters of ``train`` or ``val``; crops of one poster are one.

        Of the table only the columns sha256 and, where it is there, phash are looked at.
        """
        files = _short(table["sha256"])
        kept = _first(files)
        count, known = len(kept), "phash" in table
        return cls(
            np.array([split], object).repeat(count),  # one object; `full` makes one for each
            files[kept],
            table["phash"].to_numpy(np.uint64)[kept] if known else np.zeros(count, np.uint64),
            np.full(count, known),
        )

    def with_more(self, other: SeenPosters) -> SeenPosters:
        """These and others; one that is in both once, and trained on where it is so in either."""
        names = ("splits", "files", "hashes", "hashed")
        joined = [np.concatenate([getattr(self, name), getattr(other, name)]) for name in names]
        order = np.lexsort((~joined[3], joined[0] != TRAIN))
        kept = np.sort(order[_first(joined[1][order])])
        return SeenPosters(*(column[kept] for column in joined))

    def among(self, table: pd.DataFrame, splits: Iterable[str] = (TRAIN, VAL)) -> NDArray[np.bool_]:
        """Which rows of a manifest show a poster of these splits: the same file, or a near perceptual hash."""
        mine = np.isin(self.splits.astype(str), list(splits))
        found = np.isin(_short(table["sha256"]), self.files[mine])
        if "phash" in table:
            hashes = table["phash"].to_numpy(np.uint64)
            for pairs in near_pairs(hashes, DUPLICATE_DISTANCE, self.hashes[mine & self.hashed]):
                found[pairs[:, 0]] = True
        return found

    def save(self, folder: Path) -> None:
        """Write ``seen.parquet``, atomically."""
        hashes = pa.array(self.hashes, pa.uint64(), mask=~self.hashed)
        files = pa.Array.from_buffers(pa.binary(_BYTES), len(self), [None, pa.py_buffer(self.files.tobytes())])
        table = pa.table([pa.array(self.splits, pa.string()), files, hashes], schema=_SCHEMA)
        with atomic_path(folder / SEEN) as temporary:
            # Hashes repeat nothing and shrink to nothing.
            pq.write_table(table, temporary, use_dictionary=["split"], write_page_checksum=True)

    @classmethod
    def load(cls, folder: Path) -> SeenPosters | None:
        """Read it; None for a run of earlier times, which has none.

        Raises:
            UserError: it is damaged.
        """
        path = folder / SEEN
        if not path.is_file():
            return None
        with sound(
            path, "get the run folder again, or remove the file: posters that were trained on then stay unknown"
        ):
            table = read_parquet(path, _SCHEMA)
            if table["split"].null_count or table["sha256"].null_count:
                raise ValueError("a value is missing")
            if not set(pc.unique(table["split"]).to_pylist()) <= {TRAIN, VAL}:
                raise ValueError(f"a split is {TRAIN} or {VAL}")
            return cls(
                np.array(table["split"].to_pylist(), object),
                np.frombuffer(b"".join(table["sha256"].to_pylist()), _FILE),
                pc.fill_null(table["phash"], 0).to_numpy().astype(np.uint64),
                pc.is_valid(table["phash"]).to_numpy(),
            )


def seen_through(weights: TowerWeights, init: str) -> SeenPosters:
    """What an image network had seen, where that is known: its run's or its distillation's own posters.

    Args:
        init: as in ``cnn.init``; of the model that travels with mmposter it is known without the network's file, too.
    """
    folder = None if weights.file is None else weights.file.parent
    if init == POSTERS and POSTERS in shipped_models():
        folder = shipped_model(POSTERS)
    return (None if folder is None else SeenPosters.load(folder)) or SeenPosters()


def _short(sums: pd.Series[str]) -> NDArray[np.void]:
    """The first half of each SHA-256, without an object for each of maybe millions."""
    digits = pc.utf8_slice_codeunits(pa.array(sums, pa.string()), 0, 2 * _BYTES)
    return np.frombuffer(bytes.fromhex("".join(digits.to_pylist())), _FILE)


def _first(files: NDArray[np.void]) -> NDArray[np.int64]:
    """Where each file is for the first time, in the order of the rows."""
    return np.sort(np.unique(files, return_index=True)[1])
