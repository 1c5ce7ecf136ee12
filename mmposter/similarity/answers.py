"""What is answered of each poster that was asked about, and the files of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path, write_text
from mmposter.files.spreadsheets import table_text
from mmposter.inference.embedding import Embedding, storable
from mmposter.similarity.index import PosterIndex
from mmposter.similarity.neighbours import Neighbour, flat_rows

ENDINGS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class NearestPosters:
    """The nearest posters of one.

    Attributes:
        path: where it came from; None for a picture that was given as such.
        neighbours: the nearest first; none where it could not be used, or nothing was seen on it.
        nothing: branches that were compared and saw nothing on it: they add nothing.
        error: what was wrong with it or with one of its branches; None if nothing was.
        usable: whether it could be looked at.
    """

    path: str | None
    neighbours: tuple[Neighbour, ...] = ()
    nothing: tuple[str, ...] = ()
    error: str | None = None
    usable: bool = True

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return "untitled" if self.path is None else Path(self.path).stem

    @property
    def note(self) -> str | None:
        """Which branches saw nothing on it, in words; None where all did."""
        if not self.nothing:
            return None
        return f"{', '.join(self.nothing)} saw nothing on it, and adds nothing to any similarity"

    def to_json(self) -> dict[str, Any]:
        """The line of a `.jsonl` file."""
        near = [one.to_json() for one in self.neighbours]
        return {"path": self.path, "error": self.error, "saw_nothing": list(self.nothing), "nearest": near}


def nearest(
    index: PosterIndex,
    embeddings: Sequence[Embedding],
    count: int = 10,
    *,
    by: Sequence[str] | None = None,
    split: str | None = None,
) -> list[NearestPosters]:
    """The nearest posters of some embedded ones, those that could not be used among them; as `PosterIndex.search`."""
    good = [one.vector for one in embeddings if one.vector is not None]
    found = iter(index.search(np.stack(good), count, by=by, split=split) if good else [])
    places = {name: place for name, place in index.branches.items() if by is None or name in by}
    answers = []
    for one in embeddings:
        if one.vector is None:
            answers.append(NearestPosters(one.path, error=one.error, usable=False))
            continue
        nothing = tuple(name for name, place in places.items() if not one.vector[place].any())
        answers.append(NearestPosters(one.path, tuple(next(found)), nothing, one.error))
    return answers


def require_ending(out: Path) -> None:
    """Refuse a file of another format (UserError: it ends otherwise)."""
    if out.suffix not in ENDINGS:
        raise UserError(f"--out must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}; got {out}")


def write_answers(out: Path, answers: Sequence[NearestPosters], branches: Sequence[str]) -> None:
    """Write answers atomically: JSON lines, one a poster; CSV or Parquet, one row a neighbour.

    In a table each branch has a column, its term of the similarity; a poster without neighbours has one row.
    """
    require_ending(out)
    if out.suffix == ".jsonl":
        write_text(out, "".join(json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in answers))
        return
    rows = [row for one in answers for row in flat_rows(one.path, one.neighbours, one.error)]
    schema = _schema(branches)
    if out.suffix == ".csv":
        write_text(out, table_text(schema.names, ([row.get(name) for name in schema.names] for row in rows)))
        return
    columns = [
        {name: storable(v) if isinstance(v := row.get(name), str) else v for name in schema.names} for row in rows
    ]
    with atomic_path(out) as temporary:
        table = pa.Table.from_pylist(columns, schema=schema)
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _schema(branches: Sequence[str]) -> pa.Schema:
    words, number = pa.string(), pa.float64()
    first = {"poster": words, "rank": pa.int32(), "similarity": number, "id": words, "title": words}
    first |= {"year": pa.int32(), "genres": words, "split": words}
    return pa.schema({**first, **dict.fromkeys(branches, number), "error": words})
