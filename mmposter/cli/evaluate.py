"""`mmposter evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli.options import Data, Device, Offline, Root, go_offline, prepare_libraries


def evaluate_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `mmposter train` wrote.", show_default=False)],
    data: Data,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    branches: Annotated[
        str | None,
        typer.Option(
            "--branches", "-b", help="Mask all other branches of the trained model (it is not trained again)."
        ),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    device: Device = "auto",
    offline: Offline = False,
    root: Root = None,
) -> None:
    """Measure a run on one split: each metric beside the best constant answer's, headline metrics with intervals.

    Examples:

      mmposter evaluate runs/cnn-yolo data

      mmposter evaluate runs/cnn-yolo data --json | jq .metrics.macro_f1

      mmposter evaluate runs/cnn-yolo data --branches cnn
    """
    prepare_libraries()
    go_offline(offline)
    import json

    from mmposter.config import parse_branches
    from mmposter.data import Dataset
    from mmposter.evaluate import evaluate_run
    from mmposter.progress import make_console
    from mmposter.run import Run

    only = None if branches is None else parse_branches(branches)
    result = evaluate_run(
        Run.load(run), Dataset.load(data, root), split=split, only=only, device=device, offline=offline, workers="auto"
    )
    if json_output:
        typer.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        result.render(make_console())
