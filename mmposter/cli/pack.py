"""`mmposter pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock

if TYPE_CHECKING:
    from mmposter.packs.write import PackReport


def pack_command(
    data: opt.Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.mmpack", help="The pack.")],
    branches: opt.Branches = None,
    config: opt.ConfigSource = None,
    set: opt.Overrides = None,
    init: opt.Init = None,
    name: Annotated[str | None, typer.Option(help="What the pack is called. Default: as the file.")] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Share of its variance that a field of many columns may lose. Default: 0.05."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write a prepared data set and its features into one file, without images.

    It contains the manifest, genres, split and rounded features; the table shows what rounding costs. A pack is
    accepted wherever a command takes DATA, and the pretrained models are not needed to use it.

    Examples:

      mmposter pack data --config lite --out posters.mmpack

      mmposter train posters.mmpack --config lite --branches cnn,style
    """
    from mmposter.config import load_config
    from mmposter.data import Dataset
    from mmposter.packs.write import TOLERANCE, write_pack

    resolved = load_config(config, opt.overrides(set, init), branches=branches)
    report = write_pack(
        Dataset.load(data),
        resolved,
        out,
        name=name,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        offline=offline,
        overwrite=overwrite,
    )
    shown, table = Summary(stderr=True), _table(report)
    shown.brief(table.caption)
    shown.details(table)
    answer_path(report.file)


def _table(report: PackReport) -> TableBlock:
    rows = [
        [field.name, f"{field.rows:,}", f"{field.columns:,}", field.code, f"{field.bytes:,}", f"{field.error:.2g}"]
        for field in report.fields
    ]
    rest = report.bytes - sum(field.bytes for field in report.fields)
    rows.append(["manifest and facts", f"{report.posters:,}", "", "", f"{rest:,}", ""])
    caption = f"{report.name}: {report.posters:,} posters, {report.bytes / 1e6:.2f} MB"
    return TableBlock(caption, ["field", "rows", "columns", "code", "bytes", "1 - R2"], rows, "lrrlrr")
