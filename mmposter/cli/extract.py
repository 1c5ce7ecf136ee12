"""`mmposter extract`: what the frozen models see, computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path, require_result
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.errors import UserError
from mmposter.objects import is_object
from mmposter.progress import warn
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.features.extract import ExtractorReport


def extract_command(
    data: opt.Data,
    branches: opt.Branches = None,
    config: opt.ConfigSource = None,
    set: opt.Overrides = None,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do share I of N (from 0), for several machines on one store.")
    ] = "0/1",
    workers: opt.Workers = "auto",
    threads: opt.Threads = None,
    engine: opt.Engine = "local",
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Compute the features of the frozen models for a prepared data set, into DATA/features.

    Existing features are not computed again, and a stopped command continues. A poster that cannot be used is skipped
    and listed in DATA/features/report.md; if none can be used, the exit code is 1.

    Examples:

      mmposter extract data

      mmposter extract data --branches yolo,ocr --offline

      mmposter extract data --workers 4 --threads 2

      mmposter extract data --shard $SLURM_ARRAY_TASK_ID/16

      RAY_ADDRESS=auto mmposter extract data --engine ray --workers 32 --device cuda
    """
    part, count = _parse_shard(shard), opt.parse_workers(workers)
    if engine == "ray" and is_object(data):
        raise UserError(
            f"with --engine ray, DATA must lie under a path that all nodes see; got {data}.\nIts posters can be links: "
            "prepare it into such a folder"
        )
    from mmposter.config import load_config
    from mmposter.data import Dataset

    resolved = load_config(config, set or (), branches=branches)
    dataset = Dataset.load(data, root)
    dataset.require_pictures("mmposter extract")
    # And torch, which takes seconds: a mistake is told before.
    from mmposter.features.extract import write_report
    from mmposter.features.table import dataset_extractors, extract_dataset

    extractors = dataset_extractors(dataset, resolved, device=opt.engine_device(device, engine), offline=offline)
    reports = extract_dataset(dataset, extractors, shard=part, workers=count, threads=threads, engine=engine)
    path = write_report(dataset.features_folder, reports)
    _show(reports)
    answer_path(path)
    # A share of the posters may be empty; then nothing failed.
    require_result(any(r.computed or r.present for r in reports) or not any(r.failed for r in reports))


def _parse_shard(text: str) -> tuple[int, int]:
    part, _, count = text.partition("/")
    if part.isdigit() and count.isdigit() and int(part) < int(count):
        return int(part), int(count)
    raise UserError(f"--shard takes I/N with I from 0 to N-1, such as 0/2; got {text!r}")


def _show(reports: list[ExtractorReport]) -> None:
    rows = [[r.name, f"{r.computed:,}", f"{r.present:,}", f"{len(r.failed):,}", r.pace()] for r in reports]
    header = ["extractor", "computed", "there before", "failed", "ms a poster"]
    Summary(stderr=True).headline(TableBlock("features", header, rows))
    for poster, failure in list({p: f for report in reports for p, f in report.failed.items()}.items())[:10]:
        warn(f"  {visible(f'skipped {poster}: {failure.reason} ({failure.message})')}")
