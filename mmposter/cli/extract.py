"""`mmposter extract`: what the frozen models see, computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli.options import (
    Branches,
    ConfigSource,
    Data,
    Device,
    Offline,
    Overrides,
    Root,
    go_offline,
    prepare_libraries,
)

if TYPE_CHECKING:
    from mmposter.features.extract import ExtractorReport


def extract_command(
    data: Data,
    branches: Branches = None,
    config: ConfigSource = None,
    set: Overrides = None,
    device: Device = "auto",
    offline: Offline = False,
    root: Root = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do part I of N (from 0), for several processes on one store.")
    ] = "0/1",
    threads: Annotated[int | None, typer.Option(help="CPU threads of this process.", min=1)] = None,
) -> None:
    """Run the frozen extractors over a prepared data set, into DATA/features.

    What is there is never computed again; stopped at any moment, the same command goes on. A poster that cannot be
    used is skipped, counted, and named in DATA/features/report.md.

    Examples:

      mmposter extract data

      mmposter extract data --branches yolo,ocr --offline

      mmposter extract data --branches ocr --threads 1 --shard 0/2 & mmposter extract data --branches ocr --threads 1
      --shard 1/2
    """
    prepare_libraries()
    go_offline(offline)
    part = _parse_shard(shard)
    if threads is not None:
        _limit_threads(threads)
    from mmposter.config import load_config
    from mmposter.data import Dataset
    from mmposter.device import resolve_device
    from mmposter.features.extractors import build_extractors
    from mmposter.features.report import write_report
    from mmposter.features.table import STORE, extract_dataset

    resolved = load_config(config, set or (), branches=branches)
    dataset = Dataset.load(data, root)
    extractors = build_extractors(resolved, device=resolve_device(device), offline=offline)
    reports = extract_dataset(dataset, extractors, shard=part)
    path = write_report(dataset.folder / STORE, reports)
    _show(reports)
    typer.echo(str(path))


def _parse_shard(text: str) -> tuple[int, int]:
    from mmposter.errors import UserError

    part, _, count = text.partition("/")
    if part.isdigit() and count.isdigit() and int(part) < int(count):
        return int(part), int(count)
    raise UserError(f"--shard takes I/N with I from 0 to N-1, such as 0/2; got {text!r}")


def _limit_threads(threads: int) -> None:
    """Every library that computes gets `threads`; two processes with two each on two cores would crawl."""
    import os

    os.environ["OMP_NUM_THREADS"] = str(threads)
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _show(reports: list[ExtractorReport]) -> None:
    from rich.table import Table

    from mmposter.progress import console

    table = Table("extractor", title="features")
    for column in ("computed", "there before", "failed"):
        table.add_column(column, justify="right")
    for report in reports:
        table.add_row(report.name, f"{report.computed:,}", f"{report.present:,}", f"{len(report.failed):,}")
    console.print(table)
    for poster, failure in list({p: f for report in reports for p, f in report.failed.items()}.items())[:10]:
        console.print(f"  skipped {poster}: {failure.reason} ({failure.message})", highlight=False, markup=False)
