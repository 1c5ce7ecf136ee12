"""Measured posters and the probabilities that a model gave them, as a file: what comparisons read.

A Parquet file with one row a poster: ``id``, ``group`` (near-duplicates share it), ``genres`` (true), ``decided``, and
one column ``probability.GENRE`` a genre. Where the numbers come from stands in the file's metadata, so a table and its
thresholds cannot be told apart by accident.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmposter.errors import UserError
from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.plain import plain_values
from mmposter.evaluation.thresholds import EmptyPolicy
from mmposter.files.atomic import atomic_path
from mmposter.files.formats import require_format
from mmposter.files.strict_json import mapping, number, parse_json, shown, sound, text, texts, whole
from mmposter.files.strict_parquet import read_metadata, read_parquet

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS = "predictions.parquet"
FORMAT = 1
_KEY = b"mmposter"
_PROBABILITY = "probability."


@dataclass(frozen=True)
class Source:
    """Where scored posters come from."""

    run: str  # name of the run folder
    weights: str  # sha256 of the run's weights file
    branches: tuple[str, ...]  # what was looked at; fewer than in `config` where others were masked
    config: Mapping[str, Any]  # the run's configuration, as plain nested values; its seed among them
    data: str  # name of the data folder
    manifest: str  # sha256 of its manifest
    split: str  # ``train``, ``val`` or ``test``
    empty: EmptyPolicy  # what a poster got where nothing passed its threshold
    constant: Mapping[str, float]  # by metric, the value of the best constant answer on these posters
    version: str  # of mmposter
    commit: str | None  # of its source, None where it was not installed from one
    # Which scaling and thresholds of `mmposter calibrate` were in use; None: those of the training.
    decision: str | None = None
    # Name of the pack that the features came out of, which rounds them; None where they are the posters' own.
    pack: str | None = None
    # Posters of the split that the run had seen in training, and that were left out; None where that is not known.
    left_out: int | None = None

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.config["seed"])

    @property
    def masked(self) -> tuple[str, ...]:
        """Branches that the model has and that were hidden from it."""
        return tuple(name for name in self.config["branches"] if name not in self.branches)


@dataclass(frozen=True, eq=False)
class ScoredPosters:
    """N posters and one model's answer to each; only posters with a genre are compared, but all are here."""

    ids: tuple[str, ...]  # N, as in the manifest
    groups: NDArray[Any]  # N, the near-duplicate group of each
    genres: tuple[str, ...]  # the G names
    target: BoolArray  # N x G, what is true
    probs: NDArray[np.float32]  # N x G in 0-1
    decisions: BoolArray  # N x G
    thresholds: FloatArray  # G, tuned on validation posters
    source: Source  # where they come from

    def save(self, path: Path) -> None:
        """Write the file atomically; equal content gives equal bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, Any] = {
            "id": self.ids,
            "group": [str(group) for group in self.groups],
            "genres": [self._named(row) for row in self.target],
            "decided": [self._named(row) for row in self.decisions],
        }
        columns |= {f"{_PROBABILITY}{genre}": self.probs[:, g] for g, genre in enumerate(self.genres)}
        facts = {
            "format": FORMAT,
            "genres": list(self.genres),
            "thresholds": self.thresholds.tolist(),
            "source": plain_values(self.source),
        }
        schema = _schema(self.genres).with_metadata({_KEY: json.dumps(facts).encode()})
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd", write_page_checksum=True)

    @classmethod
    def load(cls, path: Path) -> ScoredPosters:
        """Read what `save` wrote.

        Raises:
            UserError: it is no such file, is damaged, or is of a newer mmposter.
        """
        mend = "make it again with: mmposter evaluate RUN DATA"
        if not path.is_file():
            raise UserError(f"there is no file {path} of scored posters; {mend}")
        with sound(f"{path}, which should hold scored posters,", mend):
            data = path.read_bytes()
            facts = mapping(parse_json(read_metadata(data)[_KEY], path, mend=mend), "its facts")
            require_format(path, whole(facts["format"], "format"), FORMAT)
            genres = texts(facts["genres"], "genres")
            table = read_parquet(data, _schema(genres))
            if any(column.null_count for column in table.columns):
                raise ValueError("a value is missing")
            place = {genre: g for g, genre in enumerate(genres)}
            columns = [table[f"{_PROBABILITY}{genre}"].to_numpy() for genre in genres]
            return cls(
                ids=tuple(table["id"].to_pylist()),
                groups=np.array(table["group"].to_pylist(), dtype=object),
                genres=genres,
                target=_multi_hot(table["genres"].to_pylist(), place),
                probs=_in_range(np.stack(columns, axis=1), "a probability"),
                decisions=_multi_hot(table["decided"].to_pylist(), place),
                thresholds=_thresholds(facts["thresholds"], len(genres)),
                source=_source(facts["source"]),
            )

    def _named(self, row: BoolArray) -> list[str]:
        return [self.genres[g] for g in np.flatnonzero(row)]


def file_hash(path: Path) -> str:
    """sha256 of a file; of a run's weights it says which training an evaluation belongs to."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _schema(genres: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    words, names = pa.string(), pa.list_(pa.string())
    columns = {"id": words, "group": words, "genres": names, "decided": names}
    return pa.schema({**columns, **{f"{_PROBABILITY}{genre}": pa.float32() for genre in genres}})


def _thresholds(said: Any, count: int) -> FloatArray:
    if not isinstance(said, list) or len(said) != count:
        raise ValueError(f"thresholds must be {count} numbers, got {shown(said)}")
    # One may lie beyond every probability.
    return np.array([number(value, "a threshold") for value in said], dtype=np.float64)


def _in_range(values: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    if not ((values >= 0) & (values <= 1)).all():  # NaN is neither
        raise ValueError(f"{what} must lie between 0 and 1")
    return values


def _source(said: Any) -> Source:
    """Where the numbers come from, every value of the type that it is read as."""
    said = mapping(said, "source")
    config = mapping(said["config"], "source.config")
    whole(config["seed"], "source.config.seed")
    texts(config["branches"], "source.config.branches")
    for key in ("run", "weights", "data", "manifest", "split", "empty", "version"):
        text(said[key], f"source.{key}")
    for key in ("commit", "decision", "pack"):
        if said.get(key) is not None:
            text(said[key], f"source.{key}")
    if said.get("left_out") is not None:
        whole(said["left_out"], "source.left_out")
    constant = {
        name: np.nan if value is None else number(value, f"source.constant.{name}")
        for name, value in mapping(said["constant"], "source.constant").items()
    }
    return Source(**{**said, "branches": texts(said["branches"], "source.branches"), "constant": constant})


def _multi_hot(rows: list[list[str]], place: Mapping[str, int]) -> BoolArray:
    matrix = np.zeros((len(rows), len(place)), dtype=np.bool_)
    for row, names in enumerate(rows):
        matrix[row, [place[name] for name in names]] = True
    return matrix
