"""Run extractors over a prepared data set, into the store: resumable, killable, never stopped by one bad file."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmposter.errors import BadImageError
from mmposter.features.extractors import Extractor, RecordExtractor
from mmposter.features.store import ExtractorStore, Failure, Record
from mmposter.images import load_image
from mmposter.progress import progress

# What depends on the file's content stays true until the content changes, and then its hash, the key, does too. A
# file that is missing or was changed after `prepare` may be put right, so that is looked at again in every run.
_LASTING = frozenset({"empty", "not_an_image", "truncated", "too_small", "too_large"})


@dataclass(frozen=True)
class Poster:
    """One poster to extract: its id for the report, where it lies, and the hash of its bytes."""

    id: str
    path: Path
    sha256: str


@dataclass
class ExtractorReport:
    """What one extractor did: posters computed now, there before, and those without a record with the reason."""

    name: str
    computed: int = 0
    present: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)

    def reasons(self) -> Counter[str]:
        """How many posters failed for which reason."""
        return Counter(failure.reason for failure in self.failed.values())


def extract(
    posters: Sequence[Poster],
    extractors: Sequence[Extractor],
    root: Path,
    *,
    shard: tuple[int, int] = (0, 1),
    quiet: bool = False,
) -> list[ExtractorReport]:
    """Fill the store at `root` with every extractor's record of every poster.

    Work is cut into batches of the whole list, so that the batch a poster is computed in, and with it the last bit
    of its record, does not depend on interruptions or on `shard`. A shard is cut at places where every extractor's
    batches end, so that a `RecordExtractor` never waits for records that another shard makes.

    Args:
        posters: what is to be there at the end.
        extractors: in an order in which a `RecordExtractor` follows its source.
        root: the store.
        shard: (i, n) does every n-th part from the i-th on, for several processes or machines.
        quiet: show no progress.

    Raises:
        ValueError: if `shard` is not (i, n) with 0 <= i < n.
    """
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard must be (i, n) with 0 <= i < n; got {shard}")
    size = math.lcm(*(extractor.batch_size for extractor in extractors))
    parts = _cut(posters, size)[shard[0] :: shard[1]]
    return [_run(parts, extractor, root, quiet) for extractor in extractors]


def _cut(posters: Sequence[Poster], size: int) -> list[Sequence[Poster]]:
    return [posters[start : start + size] for start in range(0, len(posters), size)]


def _run(parts: Sequence[Sequence[Poster]], extractor: Extractor, root: Path, quiet: bool) -> ExtractorReport:
    store = ExtractorStore(root, extractor.name, extractor.fingerprint())
    done = store.done()
    batches = [batch for part in parts for batch in _cut(part, extractor.batch_size)]
    report = ExtractorReport(extractor.name)
    for poster in (poster for batch in batches for poster in batch if poster.sha256 in done):
        failure = done[poster.sha256]
        report.present += failure is None
        if failure is not None:
            report.failed[poster.id] = failure
    todo = [left for batch in batches if (left := [p for p in batch if p.sha256 not in done])]
    if not todo:
        return report
    extractor.start()
    store.describe(extractor.metadata())
    with progress(f"extract {extractor.name}", sum(map(len, todo)), quiet=quiet) as ticker:
        for batch, inputs in _inputs(todo, extractor, root):
            results = _compute(batch, inputs, extractor)
            store.write({sha: r for sha, r in results.items() if not isinstance(r, Failure) or r.reason in _LASTING})
            for poster in batch:
                result = results[poster.sha256]
                if isinstance(result, Failure):
                    report.failed[poster.id] = result
                else:
                    report.computed += 1
            ticker.advance(len(batch))
    return report


def _compute(batch: Sequence[Poster], inputs: Sequence[Any], extractor: Extractor) -> dict[str, Record | Failure]:
    good = [index for index, item in enumerate(inputs) if not isinstance(item, Failure)]
    results: list[Record | Failure] = list(inputs)
    for index, result in zip(good, run_extractor(extractor, [inputs[index] for index in good]), strict=True):
        results[index] = result
    # Where a picture is listed twice and one of its files is gone, the record of the other counts: later keys win.
    pairs = sorted(zip(batch, results, strict=True), key=lambda pair: not isinstance(pair[1], Failure))
    return {poster.sha256: result for poster, result in pairs}


def run_extractor(extractor: Extractor, items: Sequence[Any]) -> list[Record | Failure]:
    """One batch through an extractor; a poster that its model chokes on does not cost its neighbours theirs."""
    if not items:
        return []
    try:
        return list(extractor(items))
    except Exception as error:
        if len(items) == 1:
            return [Failure("extractor_error", f"{type(error).__name__}: {error}")]
        return [result for item in items for result in run_extractor(extractor, [item])]


def _inputs(
    batches: Sequence[Sequence[Poster]], extractor: Extractor, root: Path
) -> Iterator[tuple[Sequence[Poster], list[Any]]]:
    """Yield each batch with its inputs, read one batch ahead of the model."""
    source: ExtractorStore | None = None
    source_done: dict[str, Failure | None] = {}
    if isinstance(extractor, RecordExtractor):
        source = ExtractorStore(root, extractor.source.name, extractor.source.fingerprint())
        source_done = source.done()

    def prepare(batch: Sequence[Poster]) -> list[Any]:
        if source is None:
            return [_decode(poster) for poster in batch]
        records = source.read([poster.sha256 for poster in batch])
        missing = Failure("no_source", f"there is no {source.name} record to work on")
        return [
            r if r is not None else source_done.get(p.sha256) or missing for p, r in zip(batch, records, strict=True)
        ]

    with ThreadPoolExecutor(1) as pool:
        ahead: Future[list[Any]] = pool.submit(prepare, batches[0])
        for index, batch in enumerate(batches):
            current = ahead.result()
            if index + 1 < len(batches):
                ahead = pool.submit(prepare, batches[index + 1])
            yield batch, current


def _decode(poster: Poster) -> Any:
    try:
        data = poster.path.read_bytes()
    except OSError as error:
        return Failure("missing", f"{poster.path} cannot be read ({error.strerror})")
    if hashlib.sha256(data).hexdigest() != poster.sha256:
        return Failure("changed", f"{poster.path} is not the file that `mmposter prepare` saw; run it again")
    try:
        return np.asarray(load_image(data))
    except BadImageError as error:
        return Failure(error.reason, str(error))
