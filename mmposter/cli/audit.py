"""`mmposter audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.progress import say
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.evaluation.audited import Audited


def audit_command(
    data: opt.DataOrPack = None,
    data_option: opt.DataOption = None,
    branches: opt.Branches = None,
    config: opt.ConfigSource = None,
    set: opt.Overrides = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the folds and of the trainings.")] = None,
    folds: Annotated[
        int, typer.Option(help="Parts of the posters; each is judged by a model that learnt from the others.")
    ] = 5,
    most: Annotated[int, typer.Option(help="Findings of each kind to list.", min=1)] = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page, the table and the folds.")] = Path(
        "audit"
    ),
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Show the posters on the page as small pictures.")
    ] = True,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="DATA is no prepared folder but a source of this format, such as nfo, a media library; it is prepared "
            "into OUT-data first. For other options of prepare, type the two commands.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the folds that --out holds, and train what is missing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train all folds in --out anew.")] = False,
    workers: opt.Workers = "auto",
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find probable label errors: a ranked list, and a page to review them.

    Each poster is judged by a model that was not trained on it (cross-validation on cached features). The list has
    genres that are probably missing or wrong, misleading posters, posters of one movie or image with different genres,
    and genres that are hard to tell apart. DATA is not changed.

    OUT/audit.html works without a network: keep, fix or skip each poster, then save a table of corrections for
    `mmposter prepare --corrections FILE`. The same findings are in OUT/audit.csv and OUT/audit.json.

    Examples:

      mmposter audit data --out check

      mmposter audit data --out check --resume

      mmposter audit --branches cnn,ocr --folds 3

      mmposter audit /media/films --format nfo --out check
    """
    source = opt.choose_data(data, data_option)
    from mmposter.audit.run import audit
    from mmposter.config import load_config
    from mmposter.data import Dataset
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import AUDIT
    from mmposter.report.audit import audit_thumbnails, write_audit

    settings = load_config(config, set or (), branches=branches, seed=seed)
    if format is not None:
        source = str(_prepared(Path(source), format, out, offline=offline, overwrite=overwrite))
    dataset = Dataset.load(source, root)
    with claim(out, AUDIT, go_on=True):  # also between the trainings and the page
        found = audit(
            settings,
            dataset,
            out,
            folds=folds,
            most=most,
            device=device,
            offline=offline,
            workers=opt.parse_workers(workers),
            resume=resume,
            overwrite=overwrite,
        )
        page = write_audit(found, out, audit_thumbnails(found, dataset) if thumbnails else None)
    shown = Summary()
    shown.headline(_table(found))
    shown.details(*(f"- {pair.sentence()}" for pair in found.pairs))
    if found.taught:
        remedy = " (--set cnn.init=imagenet knows none of them)" if dataset.has_pictures else ""
        say(
            f"{found.taught:,} of {len(found.posters):,} posters taught the image network their genres as they are "
            f"given: mistakes in these are harder to see{remedy}"
        )
    answer_path(page)


def _prepared(source: Path, format: str, out: Path, *, offline: bool, overwrite: bool) -> Path:
    """The folder beside `out` into which a source was prepared; features are kept in it."""
    from mmposter.data import prepare
    from mmposter.data.downloading import DownloadOptions

    folder = out.absolute().with_name(f"{out.absolute().name}-data")
    report = prepare(source, folder, format=format, download=DownloadOptions(offline=offline), overwrite=overwrite)
    dropped = sum(report.dropped.values())
    say(f"{report.kept:,} posters prepared, {dropped:,} left out; see {visible(str(report.report_path))}")
    return folder


def _table(found: Audited) -> TableBlock:
    from mmposter.evaluation.mistakes import KINDS

    counts = found.counts
    rows = [[kind, f"{counts[kind]:,}", meaning] for kind, meaning in KINDS.items()]
    rows.append(["confused", f"{len(found.pairs):,}", "pairs of genres that are hardly told apart"])
    return TableBlock(f"{len(found.posters):,} posters looked at", ["found", "posters", ""], rows, "lrl")
