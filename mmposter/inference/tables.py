"""Predictions as a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmposter.inference.embedding import storable
from mmposter.inference.task import Prediction

_TOGETHER = 10_000  # rows that are held at a time

_VERDICT = {"verdict": pa.string(), "review": pa.int64(), "gain": pa.float64()}


def write_parquet(
    target: Path, predictions: Iterable[Prediction], genres: Sequence[str], ranks: Mapping[int, int] | None
) -> None:
    """Write predictions as rows: path, genres (a list), error, saw_nothing (a list), and a column a genre.

    Args:
        target: the file.
        predictions: maybe millions; so many are never held.
        genres: G names of columns of probabilities, null where a poster could not be used.
        ranks: where a precision was asked for, the place in the review of posters by their row: then the columns
            verdict, review and gain stand behind the genres. None: there are none.
    """
    texts = pa.list_(pa.string())
    fields = [pa.field("path", pa.string()), pa.field("genres", texts)]
    fields += [] if ranks is None else [pa.field(name, kind) for name, kind in _VERDICT.items()]
    fields += [pa.field("error", pa.string()), pa.field("saw_nothing", texts)]
    schema = pa.schema([*fields, *(pa.field(genre, pa.float64()) for genre in genres)])
    rows = (_row(row, one, genres, ranks) for row, one in enumerate(predictions))
    with pq.ParquetWriter(target, schema, compression="zstd", write_page_checksum=True) as writer:
        while part := list(islice(rows, _TOGETHER)):
            columns = zip(zip(*part, strict=True), schema, strict=True)
            writer.write_batch(pa.record_batch([pa.array(list(c), f.type) for c, f in columns], schema=schema))


def _row(row: int, one: Prediction, genres: Sequence[str], ranks: Mapping[int, int] | None) -> list[Any]:
    verdict = [] if ranks is None else [one.verdict, ranks.get(row), one.gain]
    scores = [one.scores.get(genre) for genre in genres]
    return [storable(one.path), one.genres, *verdict, storable(one.error), one.saw_nothing, *scores]
