"""`mmposter reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.errors import UserError
from mmposter.progress import say, warn

if TYPE_CHECKING:
    from mmposter.published.reproduce import NetworkWish


def reproduce_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="p1 (a system), p1/densenet121 (a network), several by commas, or all.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Folder that `mmposter prepare` wrote.", show_default=False),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the networks and their published numbers.")] = False,
    variant: Annotated[
        str,
        typer.Option(help="as_published (with the faults that an audit found), clean (without), or both."),
    ] = "as_published",
    set: opt.Overrides = None,
    init: opt.Init = None,
    ours: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="Also train this recipe of ours on the same genres; repeatable."),
    ] = None,
    posters: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Take about N of the posters, the same ones each time; default all."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Runs, derived data and the table.")] = Path(
        "published"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train anew what is in --out.")] = False,
    json_output: opt.Json = False,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train networks of published systems on your posters, beside the paper's numbers and constant answers.

    Finished networks in --out are kept and listed in the same table; stopped ones continue. --set changes a recipe
    (crops.target=750 makes fewer crops for p1), and the table says so.

    Examples:

      mmposter reproduce --list

      mmposter reproduce p4/cnn4 data

      mmposter reproduce p1/cnn6 data --variant both --posters 1400 --set crops.target=750 --set train.epochs=2

      mmposter reproduce p2,p3,p7 data --ours lite --device cuda
    """
    from mmposter.published.systems import parse_names, parse_variants

    if list_all:
        _list(as_json=json_output)
        return
    if name is None or data is None:
        raise UserError(
            "mmposter reproduce takes a NAME and a DATA folder, such as: mmposter reproduce p4/cnn4 data\n"
            "The names: mmposter reproduce --list"
        )
    wanted, variants = parse_names(name), parse_variants(variant)
    from mmposter.data import Dataset
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import PUBLISHED
    from mmposter.published.page import write_page
    from mmposter.published.reproduce import our_wish, reproduce, wish
    from mmposter.published.result import find_results
    from mmposter.published.table import console_table, group_results

    overrides = set or []
    # A network in which no fault was found has one variant.
    jobs: list[tuple[NetworkWish, str, str | None]] = [
        (wish(published, kind, overrides, init), published.system.vocabulary, published.name)
        for published in wanted
        for kind in (variants if published.has_variants else variants[:1])
    ]
    genres = dict.fromkeys(published.system.vocabulary for published in wanted)
    jobs += [(our_wish(source, vocabulary), vocabulary, None) for source in ours or [] for vocabulary in genres]
    dataset = Dataset.load(data, root)
    dataset.require_pictures("mmposter reproduce")
    failures = []
    with claim(out, PUBLISHED, go_on=True):
        for asked, vocabulary, source in jobs:
            try:
                reproduce(
                    asked,
                    vocabulary,
                    dataset,
                    out,
                    published=source,
                    limit=posters,
                    device=device,
                    offline=offline,
                    overwrite=overwrite,
                )
            except UserError as error:
                # One network's missing weights must not cost the others.
                failures.append(f"{asked.name}{f', {asked.variant}' if asked.variant else ''}: {error}")
                warn(f"left out: {failures[-1]}")
        groups = group_results(find_results(out))
        page = write_page(groups, out) if groups else None
    if json_output:
        results = [result.to_json() for group in groups for result in group.results]
        answer_json(results)
        if page is not None:
            say(f"report: {page}")
    else:
        shown = Summary()
        for group in groups:
            shown.headline(console_table(group))
            shown.details(*(f"- {note}" for note in group.notes()))
        if page is not None:
            shown.file("report", page)
    if failures:
        raise UserError(f"{len(failures)} of {len(jobs)} networks were left out:\n" + "\n".join(failures))


def _list(*, as_json: bool) -> None:
    from mmposter.published.table import LIST_COLUMNS, list_rows

    if as_json:
        answer_json([dict(zip(LIST_COLUMNS, row, strict=True)) for row in list_rows()])
        return
    Summary().answer(TableBlock("", LIST_COLUMNS, list_rows(), "l" * len(LIST_COLUMNS)))
