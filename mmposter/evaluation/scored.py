"""Measured posters and the probabilities that a model gave them, as a file: what comparisons read.

A Parquet file with one row a poster: ``id``, ``group`` (near-duplicates share it), ``genres`` (true), ``decided``, and
one column ``probability.GENRE`` a genre. Where the numbers come from stands in the file's metadata, so a table and its
thresholds cannot be told apart by accident.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmposter.atomic import atomic_path
from mmposter.errors import UserError
from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.thresholds import EmptyPolicy
from mmposter.formats import require_format
from mmposter.json_files import parse_json

PREDICTIONS = "predictions.parquet"
FORMAT = 1
_KEY = b"mmposter"
_PROBABILITY = "probability."


@dataclass(frozen=True)
class Source:
    """Where scored posters come from.

    Attributes:
        run: name of the run folder.
        weights: sha256 of the run's weights file.
        branches: what was looked at; fewer than in `config` where others were masked.
        config: the run's configuration, as plain nested values; its seed among them.
        data: name of the data folder.
        manifest: sha256 of its manifest.
        split: ``train``, ``val`` or ``test``.
        empty: what a poster got where nothing passed its threshold.
        constant: by metric, the value of the best constant answer on these posters.
        version: of mmposter.
        commit: of its source, None where it was not installed from one.
        decision: which scaling and thresholds of `mmposter calibrate` were in use; None: those of the training.
    """

    run: str
    weights: str
    branches: tuple[str, ...]
    config: Mapping[str, Any]
    data: str
    manifest: str
    split: str
    empty: EmptyPolicy
    constant: Mapping[str, float]
    version: str
    commit: str | None
    decision: str | None = None

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
    """N posters and one model's answer to each; only posters with a genre are compared, but all are here.

    Attributes:
        ids: N, as in the manifest.
        groups: N, the near-duplicate group of each.
        genres: the G names.
        target: N x G, what is true.
        probs: N x G in 0-1.
        decisions: N x G.
        thresholds: G, tuned on validation posters.
        source: where they come from.
    """

    ids: tuple[str, ...]
    groups: NDArray[Any]
    genres: tuple[str, ...]
    target: BoolArray
    probs: NDArray[np.float32]
    decisions: BoolArray
    thresholds: FloatArray
    source: Source

    def save(self, path: Path) -> None:
        """Write the file atomically; equal content gives equal bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        text, names = pa.string(), pa.list_(pa.string())
        columns = {
            "id": pa.array(self.ids, text),
            "group": pa.array([str(group) for group in self.groups], text),
            "genres": pa.array([self._named(row) for row in self.target], names),
            "decided": pa.array([self._named(row) for row in self.decisions], names),
        }
        columns |= {
            f"{_PROBABILITY}{genre}": pa.array(self.probs[:, g], pa.float32()) for g, genre in enumerate(self.genres)
        }
        facts = {
            "format": FORMAT,
            "genres": list(self.genres),
            "thresholds": self.thresholds.tolist(),
            "source": {**asdict(self.source), "constant": _without_nan(self.source.constant)},
        }
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts).encode()})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> ScoredPosters:
        """Read what `save` wrote.

        Raises:
            UserError: it is no such file, is damaged, or is of a newer mmposter.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            facts = parse_json((table.schema.metadata or {})[_KEY], path)
            require_format(path, facts["format"], FORMAT)
            genres = tuple(facts["genres"])
            place = {genre: g for g, genre in enumerate(genres)}
            constant = {name: np.nan if value is None else value for name, value in facts["source"]["constant"].items()}
            branches = tuple(facts["source"]["branches"])
            source = Source(**{**facts["source"], "branches": branches, "constant": constant})
            return cls(
                ids=tuple(table["id"].to_pylist()),
                groups=np.array(table["group"].to_pylist(), dtype=object),
                genres=genres,
                target=_multi_hot(table["genres"].to_pylist(), place),
                probs=np.stack([table[f"{_PROBABILITY}{genre}"].to_numpy() for genre in genres], axis=1),
                decisions=_multi_hot(table["decided"].to_pylist(), place),
                thresholds=np.array(facts["thresholds"], dtype=np.float64),
                source=source,
            )
        except (OSError, pa.ArrowException, LookupError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is no file of scored posters, or is damaged ({type(error).__name__}: {error}); make it again "
                "with: mmposter evaluate RUN DATA"
            ) from error

    def _named(self, row: BoolArray) -> list[str]:
        return [self.genres[g] for g in np.flatnonzero(row)]


def file_hash(path: Path) -> str:
    """sha256 of a file; of a run's weights it says which training an evaluation belongs to."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _multi_hot(rows: list[list[str]], place: Mapping[str, int]) -> BoolArray:
    matrix = np.zeros((len(rows), len(place)), dtype=np.bool_)
    for number, names in enumerate(rows):
        matrix[number, [place[name] for name in names]] = True
    return matrix
