"""`mmposter runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.visible import visible


def runs_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with run folders, at any depth.")] = Path(
        "runs"
    ),
    json_output: opt.Json = False,
) -> None:
    """List and compare run folders: differences in configuration, progress, validation mAP.

    Example:

      mmposter runs runs
    """
    from mmposter.runs.listing import list_runs

    runs = list_runs(folder)
    if json_output:
        answer_json([run.to_json() for run in runs])
        return
    rows = []
    for run in runs:
        differences = ", ".join(f"{key}={value}" for key, value in run.differences.items())
        best = "-" if run.val_map is None else f"{run.val_map:.3f}"
        rows.append([run.name, ",".join(run.branches), run.regime, run.state, str(run.epochs), best, differences])
    header = ["run", "branches", "regime", "state", "epochs", "val mAP", "what differs"]
    Summary().answer(TableBlock(visible(f"{len(runs)} runs in {folder}"), header, rows, "llllrrl"))
