"""One part of an embedding, and the files of embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from fusion import ImageClassifier, PosterModel
from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path
from mmposter.images.reading import ImageInput
from mmposter.inference.looking import LookTask, Request

FORMATS = (".npy", ".parquet")


@dataclass(frozen=True, eq=False)
class Embedding:
    """The fused representation of one poster.

    Attributes:
        path: where the poster came from; None for a picture that was given as such.
        vector: D numbers of length 1, all 0 where no branch saw anything; None where the poster could not be used.
        error: what was wrong with the poster or with one of its branches; None if nothing was.
    """

    path: str | None
    vector: NDArray[np.float32] | None = field(default=None, repr=False)
    error: str | None = None


class EmbedTask(LookTask[NDArray[np.float32], Embedding]):
    """Embedding as engines run it; see `LookTask`."""

    def ask(
        self, model: PosterModel | ImageClassifier, inputs: Mapping[str, Tensor], names: tuple[str, ...]
    ) -> Sequence[NDArray[np.float32]]:
        return list(model.represent(inputs, names).cpu().numpy())

    def answer(
        self, poster: ImageInput, said: NDArray[np.float32] | None, error: str | None, request: Request
    ) -> Embedding:
        return Embedding(str(poster) if isinstance(poster, str | Path) else None, said, error)


def require_format(out: Path) -> None:
    """Refuse a file whose name says of no format (UserError: it does not)."""
    if out.suffix not in FORMATS:
        raise UserError(f"out must end in {' or '.join(FORMATS)}; got {out}")


def write_embeddings(
    out: Path, found: Sequence[Embedding], values: NDArray[np.float32], parts: Mapping[str, slice], identity: str
) -> None:
    """Write N embeddings atomically, as ``.npy`` or ``.parquet`` (UserError: another ending).

    Args:
        found: whose paths and errors go into the Parquet file.
        values: N x D.
        parts: columns by branch.
        identity: of the model and the branches.
    """
    require_format(out)
    with atomic_path(out) as temporary:
        if out.suffix == FORMATS[0]:
            with temporary.open("wb") as stream:
                np.save(stream, values, allow_pickle=False)
            return
        flat = pa.array(values.reshape(-1), pa.float32())
        columns = {
            "path": pa.array([storable(one.path) for one in found], pa.string()),
            "error": pa.array([one.error for one in found], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, values.shape[1]),
        }
        about = {
            "mmposter.made_with": identity,
            "mmposter.branches": json.dumps({name: [place.start, place.stop] for name, place in parts.items()}),
        }
        pq.write_table(pa.table(columns, metadata=about), temporary, compression="zstd", write_page_checksum=True)


def storable(text: str | None) -> str | None:
    """A text as UTF-8: what is none in a file's name reaches us as lone surrogates, and becomes its code."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
