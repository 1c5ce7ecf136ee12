"""`mmposter pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.progress import console

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
) -> None:
    """Put a prepared data set and its cached features into one small file, without any picture.

    Holds the manifest, genres, split and the records of the branches, rounded; the table says what that costs. Where a
    command takes DATA, it takes a pack. The frozen models need not be there: what was computed with them is.

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
    console.print(_table(report))
    answer_path(report.file)


def _table(report: PackReport) -> Table:
    table = Table("field", title=f"{report.name}: {report.posters:,} posters, {report.bytes / 1e6:.2f} MB")
    for column in ("rows", "columns"):
        table.add_column(column, justify="right")
    table.add_column("code")
    for column in ("bytes", "1 - R2"):
        table.add_column(column, justify="right")
    for field in report.fields:
        error = f"{field.error:.2g}"
        table.add_row(field.name, f"{field.rows:,}", f"{field.columns:,}", field.code, f"{field.bytes:,}", error)
    rest = report.bytes - sum(field.bytes for field in report.fields)
    table.add_row("manifest and facts", f"{report.posters:,}", "", "", f"{rest:,}", "")
    return table
