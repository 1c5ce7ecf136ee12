"""Run extractors over a prepared data set, into the store: resumable, killable, never stopped by one bad file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mmposter.document.markdown import markdown_table
from mmposter.engines import Workers, run
from mmposter.features.extractors import Extractor, RecordExtractor
from mmposter.features.parts import ExtractPlan, StoredPoster
from mmposter.features.store import ExtractorStore, Failure
from mmposter.features.work import ExtractTask
from mmposter.files.atomic import write_text
from mmposter.progress import progress

__all__ = ["ExtractorReport", "StoredPoster", "extract", "write_report"]

_SHOWN = 100_000  # posters of which it takes seconds to see what is there
_MERGED_EVERY = 64  # parts


@dataclass
class ExtractorReport:
    """What one extractor did: posters computed now, there before, and those without a record with the reason."""

    name: str
    computed: int = 0
    present: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)
    # of computing, added up over all workers; two reports that differ in nothing else are equal
    seconds: float = field(default=0.0, compare=False)

    def reasons(self) -> Counter[str]:
        """How many posters failed for which reason."""
        return Counter(failure.reason for failure in self.failed.values())

    def pace(self) -> str:
        """Milliseconds of one worker for one poster; empty where nothing was computed."""
        return f"{1e3 * self.seconds / self.computed:.0f}" if self.computed else ""


def extract(
    posters: Sequence[StoredPoster],
    extractors: Sequence[Extractor],
    root: Path,
    *,
    shard: tuple[int, int] = (0, 1),
    workers: Workers = 1,
    threads: int | None = None,
    engine: str = "local",
    quiet: bool = False,
) -> list[ExtractorReport]:
    """Fill the store at `root` with every extractor's record of every poster.

    Posters are decoded once for all extractors, ahead of the models; records are written behind them, part by part
    (see `mmposter.features.parts`). A kill costs at most the part that is being written and the one that is computed.

    Args:
        posters: what is to be there at the end.
        extractors: in an order in which a `RecordExtractor` follows its source; one that is there twice is run once.
        shard: (i, n) does every n-th part from the i-th on, for several processes or machines.
        workers: processes that compute (see `mmposter.engines.run`); 1 is this one.
        engine: ``local`` or ``ray``.

    Raises:
        ValueError: if `shard` is not (i, n) with 0 <= i < n.
        UserError: for an unknown engine, or a worker that died.
    """
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard must be (i, n) with 0 <= i < n; got {shard}")
    once: dict[str, Extractor] = {}
    for extractor in extractors:
        once.setdefault(extractor.name, extractor)
    few = len(posters) < _SHOWN
    with progress("look for what is there", len(once), unit="extractor", quiet=quiet or few) as looked:
        plan = ExtractPlan(posters, list(once.values()), root, shard, looked.advance)
    reports = {
        name: ExtractorReport(name, present=standing.present, failed=plan.failures(name))
        for name, standing in plan.standing.items()
    }
    if at_work := plan.at_work():
        task = ExtractTask(at_work, _stores(at_work, root))
        work = run(task, plan.parts(), workers=workers, threads=threads, engine=engine)
        with closing(work), progress("extract", plan.left(), quiet=quiet) as ticker:
            for number, result in enumerate(work, start=1):
                for name, failed in result.failed.items():
                    reports[name].computed += result.computed[name]
                    reports[name].failed |= failed
                    reports[name].seconds += result.seconds[name]
                ticker.advance(result.posters)
                if number % _MERGED_EVERY == 0:
                    plan.compact()
        plan.compact()
    return _in_order(reports, extractors)


def write_report(folder: Path, reports: Sequence[ExtractorReport]) -> Path:
    """Write `report.md` into the store's folder and return its path: counts, and why posters have no record."""
    rows = [[r.name, str(r.computed), str(r.present), str(len(r.failed)), r.pace()] for r in reports]
    columns = ["extractor", "computed now", "there before", "failed", "ms a poster"]
    parts = ["# Extraction", markdown_table(columns, rows)]
    for report in reports:
        if report.failed:
            parts.append(f"## {report.name}: posters without a record")
            parts.append("\n".join(f"- {reason}: {count}" for reason, count in report.reasons().most_common()))
            failed = [[poster, failure.reason, failure.message] for poster, failure in report.failed.items()]
            parts.append(markdown_table(["poster", "reason", "what happened"], failed))
    path = folder / "report.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def _in_order(reports: Mapping[str, ExtractorReport], extractors: Sequence[Extractor]) -> list[ExtractorReport]:
    """One report an extractor; where one is there again, all it has was there before."""
    ordered: list[ExtractorReport] = []
    seen: set[str] = set()
    for name in (extractor.name for extractor in extractors):
        report = reports[name]
        if name in seen:
            report = ExtractorReport(name, present=report.present + report.computed, failed=report.failed)
        seen.add(name)
        ordered.append(report)
    return ordered


def _stores(extractors: Sequence[Extractor], root: Path) -> dict[str, ExtractorStore]:
    sources = [extractor.source for extractor in extractors if isinstance(extractor, RecordExtractor)]
    return {e.name: ExtractorStore(root, e.name, e.fingerprint()) for e in (*sources, *extractors)}
