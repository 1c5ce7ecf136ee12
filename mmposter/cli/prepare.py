"""`mmposter prepare`: a source of posters becomes a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.data.sources import format_help
from mmposter.data.vocabulary import builtin_vocabularies
from mmposter.progress import console, say
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.data import PrepareReport


# A blank line between two, because the help runs lines together.
_FORMATS = "\n\n".join(f"{name}: {text}" for name, text in format_help().items())


def prepare_command(
    source: Annotated[Path, typer.Argument(help="Folder of the posters, or the table file: see --format.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; made if it is not there.")],
    format: Annotated[str, typer.Option("--format", "-f", help=_FORMATS)],
    vocabulary: Annotated[
        str, typer.Option(help=f"Genres: built in ({', '.join(builtin_vocabularies())}) or the path of a YAML file.")
    ] = "posters20",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    ratios: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, val and test; their sum is 1.")
    ] = (0.7, 0.1, 0.2),
    min_side: Annotated[int, typer.Option(help="Drop posters whose shorter side has fewer pixels.")] = 32,
    duplicate_distance: Annotated[
        int,
        typer.Option(
            help="Posters whose 64-bit perceptual hashes differ in at most this many bits stay in one split; so do "
            "those of one film, and those that are cut, framed, mirrored or have another title."
        ),
    ] = 6,
    titles: Annotated[
        Path | None,
        typer.Option(
            help="Table of films without a poster (title, genres; also id, year): they teach the branch ocr alone. A "
            "film of the validation or test posters is left out."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read posters. Default: one per core.")] = None,
    posters: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which a poster that the source does not hold is looked up as <id>.jpg, and into which "
            "posters are downloaded. Default: OUT/posters."
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Download from this server, not from that of each link; path and query stay."),
    ] = None,
    connections: Annotated[int, typer.Option(help="Most downloads from one host at a time.")] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a server that sends nothing.")] = 20.0,
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Ask links again that were found dead before.")
    ] = False,
    offline: opt.Offline = False,
    allow_unknown: Annotated[
        bool,
        typer.Option(
            "--allow-unknown",
            help="Go on where more than 5 % of the posters have a genre name that the vocabulary does not know.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other prepared data in --out.")] = False,
) -> None:
    """Clean the posters of SOURCE, find near-duplicates, map the genres and split: the first step of everything.

    Every poster that is left out is counted with its reason in OUT/report.md and named in OUT/dropped.csv. Run again
    with the same arguments, it gives the same manifest, byte for byte. Posters that the source has as links alone are
    downloaded first; stopped at any moment, the same command goes on and asks for nothing twice.

    Examples:

      mmposter prepare posters.csv --out data --format csv

      mmposter prepare ccu --out data --format ccu --vocabulary raw28 --seed 1

      mmposter prepare MovieGenre.csv --out data --format kaggle --posters posters

      mmposter prepare holiday_posters --out unlabelled --format folder
    """
    from mmposter.data import prepare
    from mmposter.data.downloading import DownloadOptions

    report = prepare(
        source,
        out,
        format=format,
        vocabulary=vocabulary,
        seed=seed,
        ratios=ratios,
        min_side=min_side,
        duplicate_distance=duplicate_distance,
        workers=workers,
        titles=titles,
        posters=posters,
        download=DownloadOptions(
            mirror=mirror, offline=offline, retry_dead=retry_dead, connections=connections, timeout=timeout
        ),
        allow_unknown=allow_unknown,
        overwrite=overwrite,
    )
    console.print(summary_table(report))
    for note in report.notes:
        say(f"Note: {visible(note)}")
    if report.passed_over:
        from mmposter.images.listing import passed_over_text

        say(passed_over_text(report.passed_over))
    # The one result on standard output, so that a script can go on with it.
    answer_path(report.report_path)


def summary_table(report: PrepareReport) -> Table:
    """The counts of one run for a terminal."""
    from mmposter.data.uniting import UNITED

    table = Table(title=f"prepared in {report.seconds:.0f} s")
    table.add_column("")
    table.add_column("posters", justify="right")
    for reason, count in report.links.items():
        now = f" ({report.downloaded:,} downloaded now)" if reason == "there" and report.downloaded else ""
        table.add_row(f"link: {reason}{now}", f"{count:,}", end_section=reason == list(report.links)[-1])
    table.add_row("posters found", f"{report.posters_found:,}")
    table.add_row("rows without a poster", f"{report.without_poster:,}", end_section=True)
    for reason, count in report.dropped.items():
        word = "united with another row" if reason == UNITED else f"dropped: {reason}"
        table.add_row(word, f"{count:,}")
    table.add_section()
    table.add_row("kept", f"{report.kept:,}", style="bold")
    for side, count in report.splits.items():
        table.add_row(f"  {side}", f"{count:,}")
    table.add_row("in near-duplicate groups", f"{report.near_duplicate_posters:,}", end_section=True)
    for kind, count in report.titles.items():
        table.add_row(f"titles: {kind}", f"{count:,}", end_section=kind == list(report.titles)[-1])
    for kind, count in report.issues.items():
        table.add_row(f"noted: {kind}", f"{count:,}")
    return table
