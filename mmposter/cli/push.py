"""`mmposter push`."""

from __future__ import annotations

from typing import Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_line
from mmposter.engines.libraries import prepare_libraries
from mmposter.files.plain import MEGABYTE
from mmposter.progress import say


def push_command(
    run: opt.RunName,
    repository: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="The repository on the Hugging Face hub.", show_default=False)
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="BRANCH", help="A branch in place of the main one.")
    ] = None,
    license: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="License of the weights for the card, such as mit or cc-by-4.0."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the card and the files, and send nothing.")] = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Upload a run to the Hugging Face hub, for `--model hf://ORG/NAME`.

    Uploads the files of the model (model.json, best.safetensors, and if present tower.safetensors, subsets.json and
    seen.parquet) and a model card with the measured numbers; never posters, features or checkpoints. Log in first with:
    hf auth login

    Run `mmposter evaluate RUN DATA` before, so that the card has test metrics.

    Examples:

      mmposter push runs/all films/poster-genres --dry-run

      mmposter push runs/all films/poster-genres --license mit

      mmposter push runs/all films/poster-genres --private --revision v2
    """
    prepare_libraries()
    from mmposter.sharing import push_run
    from mmposter.sharing.push import UNKNOWN

    done = push_run(run, repository, private=private, revision=revision, licence=license, dry_run=dry_run)
    for note in done.notes:
        say(f"note: {note}")
    if done.licence == UNKNOWN:
        say("note: the card names no license, so others may not use it; name one: --license mit")
    if dry_run:
        sizes = ", ".join(f"{name} ({size / MEGABYTE:.2f} MB)" for name, size in done.files.items())
        say(f"would be sent to {done.model.repository}: {sizes}")
        for line in done.card.splitlines():
            answer_line(line)
        return
    say(f"sent: {done.url}\nuse it with: --model {done.model}")
    answer_line(str(done.model))
