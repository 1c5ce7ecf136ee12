"""`mmposter prepare`: a source of posters becomes a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.cli.summary import Summary
from mmposter.cli.words import ProposingCommand
from mmposter.data.sources import AUTO, format_help
from mmposter.data.vocabulary import builtin_vocabularies
from mmposter.document.blocks import Emphasis, TableBlock
from mmposter.errors import UserError
from mmposter.progress import say
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.data import PrepareReport


class PrepareCommand(ProposingCommand):
    """The three numbers after a `--ratios` are one value: so it can be given again, for which typer has no type."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the numbers, then parse as ever."""
        joined: list[str] = []
        rest = list(args)
        while rest:
            name, given, value = rest.pop(0).partition("=")
            joined.append(name + given + value)
            if name == "--ratios":
                if given:
                    joined[-1], rest = name, [value, *rest]
                joined.append(" ".join(rest[:3]))
                del rest[:3]
        return super().parse_args(ctx, joined)


# A blank line between two, because the help runs lines together.
_FORMATS = "\n\n".join(f"{name}: {text}" for name, text in format_help().items())


def prepare_command(
    source: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of the posters, or the table's file: see --format. Several become one data set, of which the "
            "first keeps its split as it is.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; made if it is not there.")],
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="Once for all sources, or once for each. Default: auto, the one that is recognised by the table's "
            f"columns or the folder's files.\n\n{_FORMATS}",
            autocompletion=completion.formats,
            show_default=False,
        ),
    ] = None,
    vocabulary: Annotated[
        str,
        typer.Option(
            help=f"Genres: built in ({', '.join(builtin_vocabularies())}) or the path of a YAML file.",
            autocompletion=completion.vocabularies,
        ),
    ] = "posters20",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    ratios: Annotated[
        list[str],
        typer.Option(
            metavar="TRAIN VAL TEST",
            help="Shares of train, val and test; their sum is 1. Once for all sources, or once for each; 1 0 0 is for "
            "training alone.",
        ),
    ] = ["0.7 0.1 0.2"],  # noqa: B006 (typer reads it, and nobody changes it)
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
    corrections: Annotated[
        Path | None,
        typer.Option(
            help="Table of genres corrected by hand (id, action, add, remove), as the page of `mmposter audit` gives "
            "it. The split stays as it is; a row that cannot be applied is named in the report."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read posters. Default: one per core.")] = None,
    posters: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which a poster that the source does not hold is looked up as <id>.jpg, and into which "
            "posters are downloaded. Default: OUT/posters. Of several sources each has a folder of its own in it."
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
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Prepare posters for training: check files, map genres, find near-duplicates, and split.

    Every dropped poster is counted with its reason in OUT/report.md and listed in OUT/dropped.csv. The same arguments
    give the same manifest, byte for byte. Posters given as links are downloaded first; a stopped download continues
    with the same command.

    Examples:

      mmposter prepare posters.csv --out data

      mmposter prepare ccu --out data --format ccu --vocabulary raw28 --seed 1

      mmposter prepare MovieGenre.csv --out data --format kaggle --posters posters

      mmposter prepare posters.csv --out data --format csv --corrections corrections.csv --overwrite

      mmposter prepare holiday_posters --out unlabelled --format folder

      mmposter prepare ccu more/posters.csv --out both --format ccu --format csv --ratios 0.7 0.1 0.2 --ratios 1 0 0
    """
    from mmposter.data import prepare
    from mmposter.data.downloading import DownloadOptions

    report = prepare(
        source,
        out,
        format=format or AUTO,
        vocabulary=vocabulary,
        seed=seed,
        ratios=[_numbers(text) for text in ratios],
        min_side=min_side,
        duplicate_distance=duplicate_distance,
        workers=workers,
        titles=titles,
        posters=posters,
        download=DownloadOptions(
            mirror=mirror, offline=offline, retry_dead=retry_dead, connections=connections, timeout=timeout
        ),
        corrections=corrections,
        allow_unknown=allow_unknown,
        overwrite=overwrite,
    )
    shown = Summary(stderr=True)
    shown.brief(summary_table(report, every=False))
    shown.details(summary_table(report))
    if report.sources:
        shown.headline(sources_table(report))
    for note in report.notes:
        say(f"Note: {visible(note)}")
    if report.passed_over:
        from mmposter.images.listing import passed_over_text

        say(passed_over_text(report.passed_over))
    # The one result on standard output, so that a script can go on with it.
    answer_path(report.report_path)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split()]
    except ValueError:
        raise UserError(
            f"--ratios takes three numbers, the shares of train, val and test; got {text}.\n"
            "Type for example: --ratios 0.7 0.1 0.2"
        ) from None


def sources_table(report: PrepareReport) -> TableBlock:
    """The counts by source, one column each, for a terminal."""
    from mmposter.data.preparation import source_rows

    rows = [list(row) for row in source_rows(report.sources)]
    strong: dict[tuple[int, int | None], Emphasis] = {
        (at, None): "strong" for at, row in enumerate(rows) if row[0] == "kept"
    }
    return TableBlock("by source", ["", *(visible(name) for name in report.sources)], rows, emphasis=strong)


def summary_table(report: PrepareReport, *, every: bool = True) -> TableBlock:
    """The counts of one run for a terminal; without `every` none that is 0, and no kinds of what is only noted."""
    from mmposter.data.uniting import UNITED

    counts: list[tuple[str, int]] = []
    for reason, count in report.links.items():
        now = f" ({report.downloaded:,} downloaded now)" if reason == "there" and report.downloaded else ""
        counts.append((f"link: {reason}{now}", count))
    counts += [("posters found", report.posters_found), ("rows without a poster", report.without_poster)]
    for reason, count in report.dropped.items():
        counts.append(("united with another row" if reason == UNITED else f"dropped: {reason}", count))
    kept = len(counts)
    counts.append(("kept", report.kept))
    counts += [(f"  {side}", count) for side, count in report.splits.items()]
    counts.append(("in near-duplicate groups", report.near_duplicate_posters))
    counts += [(f"titles: {kind}", count) for kind, count in report.titles.items()]
    counts += [(f"corrections: {kind}", count) for kind, count in report.corrections.items()]
    noted = sum(report.issues.values())
    counts += [(f"noted: {kind}", count) for kind, count in report.issues.items()] if every else [("noted", noted)]
    rows = [(name, count, at == kept) for at, (name, count) in enumerate(counts) if every or count or at == kept]
    strong: dict[tuple[int, int | None], Emphasis] = {(at, None): "strong" for at, row in enumerate(rows) if row[2]}
    return TableBlock(
        f"prepared in {report.seconds:.0f} s",
        ["", "posters"],
        [[name, f"{count:,}"] for name, count, _ in rows],
        emphasis=strong,
    )
