"""From a data set or a folder of pictures to an index: only what is not in it yet is looked at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmposter.branches import frozen_branches, on_images
from mmposter.data.dataset import Dataset, read_info
from mmposter.data.opening import find_folder
from mmposter.engines import Workers
from mmposter.errors import UserError
from mmposter.features.table import dataset_extractors, extract_dataset, load_features
from mmposter.images.listing import look_through
from mmposter.inference.classifier import GenrePredictor, embedding_identity
from mmposter.inference.embedding import storable
from mmposter.outputs import claim
from mmposter.outputs.kinds import INDEX
from mmposter.progress import progress, warn
from mmposter.shipped import BENCHMARK
from mmposter.similarity.index import PosterIndex, read_facts
from mmposter.similarity.writing import IndexRow, IndexWriter
from mmposter.training.batches import PosterBatches
from mmposter.training.pictures import ReadPosters
from mmposter.visible import visible

_BATCH = 256
_NAMED = 20  # posters that could not be used, of those that are named

Vectors = Iterator[tuple[int, NDArray[np.float32] | None, str | None]]
"""Posters by number, each with its embedding, or with what was wrong with it."""


def build_index(
    classifier: GenrePredictor,
    among: str | Path,
    folder: str | Path | None = None,
    *,
    rebuild: bool = False,
    offline: bool = False,
    workers: Workers = 1,
    quiet: bool = False,
) -> PosterIndex:
    """The index of some posters for a model: made where it is not there, and brought up to date where it is.

    Features that a data set has are used, those that it lacks are extracted into its store. Of a folder of pictures,
    files that are new or were changed (size or time) are looked at, and those that are gone are dropped. A stop costs
    some hundred posters at most.

    Args:
        classifier: the model, and the branches that it looks through.
        among: a data set (a prepared folder or a pack), a folder of pictures, or the folder of an index, which is
            loaded as it is.
        folder: where the index is kept; None: in the user's cache, by model and posters.
        rebuild: make it anew.
        offline: never touch the network.
        workers: processes that extract or embed; 1 is this one.
        quiet: no progress.

    Raises:
        UserError: `among` is none of these; the index in `folder` is of another model or other posters; as
            `extract_dataset`.
    """
    identity = embedding_identity(classifier)
    given = Path(among)
    named = among == BENCHMARK and isinstance(among, str)
    if not named and given.is_dir() and read_facts(given) is not None:
        return PosterIndex.load(given, identity)
    place = find_folder(among)
    if read_info(place) is not None:
        dataset = Dataset.load(place)
        stamp, rows = str(dataset.info["manifest_sha256"]), dataset_rows(dataset)

        def embedded(todo: Sequence[int]) -> Vectors:
            return _of_dataset(classifier, dataset, todo, offline=offline, workers=workers, quiet=quiet)
    elif place.is_dir():
        paths = [str(path) for path in look_through(place.resolve())[0]]
        if not paths:
            raise UserError(f"{place} holds no pictures, and is no folder of `mmposter prepare` and no index")
        stamp, rows = "", [_picture_row(path) for path in paths]

        def embedded(todo: Sequence[int]) -> Vectors:
            found = classifier.stream_embeddings([paths[row] for row in todo], workers=workers)
            return ((row, one.vector, one.error) for row, one in zip(todo, found, strict=True))
    else:
        raise UserError(
            f"--among {among} is nothing that posters are in: give a folder of `mmposter prepare`, a pack, a folder of "
            "pictures, or the folder of an index"
        )
    source = storable(str(place.resolve())) or ""
    where = _usual_place(source, identity) if folder is None else Path(folder)
    opened = partial(
        IndexWriter, where, made_with=identity, branches=classifier.parts, through=classifier.branches, source=source,
        stamp=stamp,
    )  # fmt: skip
    if not rebuild and (found := opened().holds([row.key for row in rows])) is not None:
        return found
    with claim(where, INDEX, go_on=not rebuild, overwrite=rebuild):
        return _fill(opened(), rows, embedded, quiet=quiet)


def dataset_rows(dataset: Dataset) -> list[IndexRow]:
    """The posters of a data set in the manifest's order."""
    columns = dataset.table[["id", "sha256", "title", "year", "genres", "split"]]
    return [
        IndexRow(str(poster), f"{poster} {sha}", title, None if pd.isna(year) else int(year), tuple(genres), split)
        for poster, sha, title, year, genres, split in columns.itertuples(index=False)
    ]


def _fill(
    writer: IndexWriter, rows: Sequence[IndexRow], embedded: Callable[[Sequence[int]], Vectors], *, quiet: bool
) -> PosterIndex:
    """Add the posters that are not in an index yet, and say which of them cannot be used."""
    with writer:
        todo = [number for number, row in enumerate(rows) if row.key not in writer.keys]
        failed: list[str] = []
        if todo:
            with progress("index", len(rows), done=len(rows) - len(todo), quiet=quiet) as ticker:
                for number, vector, error in embedded(todo):
                    writer.add(rows[number], vector, error)
                    failed += [f"{rows[number].id}: {error}"] if vector is None else []
                    ticker.advance()
        index = writer.finish([row.key for row in rows])
    if failed:
        warn(f"{len(failed)} of {len(todo)} posters could not be used, and are near to none:")
        for line in failed[:_NAMED]:
            warn(f"  {visible(line)}")
        if len(failed) > _NAMED:
            warn(f"  and {len(failed) - _NAMED} more")
    return index


def _of_dataset(
    classifier: GenrePredictor,
    dataset: Dataset,
    todo: Sequence[int],
    *,
    offline: bool,
    workers: Workers,
    quiet: bool,
) -> Vectors:
    """Embed posters by their cached features, and where the model has an image network of its own by their pictures."""
    run, names = classifier.run, classifier.branches
    frozen = frozen_branches(names, run.config.regime)
    if len(frozen) < len(names):
        dataset.require_pictures("a model of the regime finetune")
    branches = dataset_extractors(dataset, run.serving_config(), frozen, device=classifier.device, offline=offline)
    run.require_same_extractors(branches)
    extract_dataset(dataset, branches, workers=workers, quiet=quiet)
    features = load_features(dataset, branches)
    run.require_same_sizes(features.metadata)
    model = run.load_model().to(classifier.device)
    pictures = None
    if model.tower is not None and on_images(names):
        pictures = ReadPosters(dataset, run.tower_input())
    data = PosterBatches(features.tensors, torch.zeros(len(dataset), 0), pictures)
    for start in range(0, len(todo), _BATCH):
        batch = list(todo[start : start + _BATCH])
        inputs, _, numbers = data.__getitems__(batch)
        found: dict[int, NDArray[np.float32]] = {}
        if len(numbers):
            with torch.inference_mode():
                on_device = {key: value.to(classifier.device) for key, value in inputs.items()}
                vectors = model.represent(on_device, names).cpu().numpy()
            found = dict(zip(numbers.tolist(), vectors, strict=True))
        for row in batch:
            good = row in found and bool(features.usable[row] if len(branches) else True)
            yield (
                row,
                found[row] if good else None,
                None if good else "it could not be read, or a branch has no features",
            )


def _picture_row(path: str) -> IndexRow:
    """A picture that nothing is known of; its size and time say whether it is still the one."""
    try:
        facts = os.stat(path)
        stamp = f"{facts.st_size} {facts.st_mtime_ns}"
    except OSError:
        stamp = "gone"
    name = storable(path) or ""
    return IndexRow(name, f"{name} {stamp}")


def _usual_place(source: str, identity: str) -> Path:
    """In the user's cache, as packs are."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    digest = hashlib.sha256(f"{identity} {source}".encode()).hexdigest()[:12]
    return home / "mmposter" / "indexes" / f"{Path(source).name[:60]}-{digest}"
