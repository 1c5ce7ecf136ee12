"""One part of an extraction: decode, run the extractors one after another, write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mmposter.engines import Task
from mmposter.engines.libraries import release_memory
from mmposter.errors import BadImageError
from mmposter.features.extractors import Extractor, Preparation, RecordExtractor
from mmposter.features.index import Failure
from mmposter.features.loading import Decoded, Loader, PosterWish, Prepared, prepared, raised
from mmposter.features.parts import Part, Share, StoredPoster, no_source
from mmposter.features.store import ExtractorStore, Record
from mmposter.images.picture import decode_picture
from mmposter.images.reading import read_poster
from mmposter.progress import begin_part, begin_step

# What depends on the file's content stays true until the content changes, and then its hash, the key, does too. A
# file that is missing or was changed after `prepare` may be put right, so that is looked at again in every run.
_LASTING = frozenset({"empty", "not_an_image", "truncated", "too_small", "too_large", "too_dark"})


@dataclass
class PartResult:
    """What became of a part, and is in the store."""

    posters: int  # how many it had
    computed: dict[str, int] = field(default_factory=dict)  # posters with a new record, by extractor
    failed: dict[str, dict[str, Failure]] = field(default_factory=dict)  # those without one, by extractor and poster
    # that each extractor took, and `reading`: that the models waited for posters
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtractLoading:
    """A part that is being read: its decoded posters, and the records that lie in the store, by extractor."""

    part: Part
    posters: list[Future[Prepared]]
    records: dict[str, Future[list[Any]]]


class ExtractTask(Task[Part, ExtractLoading, PartResult]):
    """Extraction as engines run it.

    Args:
        extractors: those with work, not started, in an order in which a `RecordExtractor` follows its source.
        stores: of these extractors and of the sources among them, by name.
    """

    def __init__(self, extractors: Sequence[Extractor], stores: Mapping[str, ExtractorStore]) -> None:
        self._extractors, self._stores = list(extractors), dict(stores)
        self.device = next((extractor.device for extractor in extractors), "cpu")
        self._started = False

    def start(self, threads: int) -> None:
        self._loader = Loader(threads)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        if self._started:
            return
        for extractor in self._extractors:
            extractor.start()
            self._stores[extractor.name].describe(extractor.metadata())
        self._started = True

    def load(self, part: Part) -> ExtractLoading:
        wishes: list[dict[Preparation, None]] = [{} for _ in part.posters]
        records: dict[str, Future[list[Any]]] = {}
        for extractor in self._extractors:
            share = part.shares.get(extractor.name)
            if share is None:
                continue
            if isinstance(extractor, RecordExtractor):
                stored = [
                    part.posters[row].sha256
                    for row, source in zip(share.rows, share.sources, strict=True)
                    if source is False
                ]
                records[extractor.name] = self._loader.submit(partial(self._stores[extractor.source.name].read, stored))
            else:
                for row in share.rows:
                    wishes[row][extractor.preparation] = None
        wanted = (PosterWish(poster, tuple(wish)) for poster, wish in zip(part.posters, wishes, strict=True))
        return ExtractLoading(part, self._loader.load(wanted, _decode), records)

    def compute(self, loading: ExtractLoading) -> Future[PartResult]:
        part = loading.part
        watch = Stopwatch()
        posters = [future.result() for future in loading.posters]
        watch.lap("reading")
        done: dict[str, dict[str, Record | Failure]] = {}
        begin_part(len(part.posters), len(part.shares))
        for extractor in self._extractors:
            share = part.shares.get(extractor.name)
            if share is None:
                continue
            if isinstance(extractor, RecordExtractor):
                source = done.get(extractor.source.name, {})
                inputs = _records(extractor, part, share, source, loading.records[extractor.name].result())
            else:
                inputs = prepared([posters[row] for row in share.rows], extractor.preparation)
            mine = [part.posters[row] for row in share.rows]
            begin_step(extractor.name, len(mine))
            done[extractor.name] = _compute(mine, inputs, extractor)
            watch.lap(extractor.name)
        release_memory()
        return self._writer.submit(self._write, part, done, watch.seconds)

    def stop(self) -> None:
        self._loader.close()
        self._writer.shutdown()

    def _write(
        self, part: Part, done: Mapping[str, dict[str, Record | Failure]], seconds: dict[str, float]
    ) -> PartResult:
        report = PartResult(len(part.posters), seconds=seconds)
        for name, results in done.items():
            lasting = {sha: r for sha, r in results.items() if not isinstance(r, Failure) or r.reason in _LASTING}
            self._stores[name].write(lasting)
            mine = [(poster.id, results[poster.sha256]) for poster in (part.posters[r] for r in part.shares[name].rows)]
            report.failed[name] = {poster: result for poster, result in mine if isinstance(result, Failure)}
            report.computed[name] = sum(not isinstance(result, Failure) for _, result in mine)
        return report


class Stopwatch:
    """Seconds between laps, by the name of what ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Count the time since the last lap for `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def run_extractor(extractor: Extractor, items: Sequence[Any]) -> list[Record | Failure]:
    """One batch through an extractor; a poster that its model chokes on does not cost its neighbours theirs."""
    if not items:
        return []
    try:
        return list(extractor(items))
    except Exception as error:
        if len(items) == 1:
            return [raised(error)]
        return [result for item in items for result in run_extractor(extractor, [item])]


def run_among_failures(extractor: Extractor, items: Sequence[Any]) -> list[Record | Failure]:
    """As `run_extractor`, for items some of which are failures already and stay so."""
    results: list[Record | Failure] = list(items)
    good = [row for row, item in enumerate(items) if not isinstance(item, Failure)]
    for row, result in zip(good, run_extractor(extractor, [items[row] for row in good]), strict=True):
        results[row] = result
    return results


def _compute(
    posters: Sequence[StoredPoster], inputs: Sequence[Any], extractor: Extractor
) -> dict[str, Record | Failure]:
    results = run_among_failures(extractor, inputs)
    # Where a picture is listed twice and one of its files is gone, the record of the other counts: later keys win.
    pairs = sorted(zip(posters, results, strict=True), key=lambda pair: not isinstance(pair[1], Failure))
    return {poster.sha256: result for poster, result in pairs}


def _records(
    extractor: RecordExtractor,
    part: Part,
    share: Share,
    computed: Mapping[str, Record | Failure],
    stored: Sequence[Record | None],
) -> list[Any]:
    """What an extractor takes of its source: records computed just now, or from the store in the order of `share`."""
    missing, rest = no_source(extractor), iter(stored)
    found: list[Any] = []
    for row, source in zip(share.rows, share.sources, strict=True):
        if isinstance(source, Failure):
            found.append(source)
            continue
        sha = part.posters[row].sha256
        record = computed[sha] if source else next(rest)
        if record is None or (isinstance(record, Failure) and record.reason not in _LASTING):
            record = missing
        found.append((sha, record) if extractor.keyed and not isinstance(record, Failure) else record)
    return found


def _decode(poster: StoredPoster) -> Decoded:
    try:
        data = read_poster(poster.path)
    except BadImageError as error:
        return Failure("missing", f"{poster.path} cannot be read ({error})")
    if hashlib.sha256(data).hexdigest() != poster.sha256:
        return Failure("changed", f"{poster.path} is not the file that `mmposter prepare` saw; run it again")
    try:
        return decode_picture(data)
    except BadImageError as error:
        return Failure(error.reason, str(error))
