"""`mmposter compare`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli.answers import answer_json
from mmposter.cli.options import Device, Offline, Root, Trust, go_offline, prepare_libraries


def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, posters (the model that travels with mmposter), or folders that `mmposter evaluate` "
            "wrote to; the others are compared with the first.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Prepared folder or pack: evaluate runs first that have not been evaluated."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write compare.html, compare.csv and compare.md there."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Half-samples behind the intervals.", min=2)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the half-samples.")] = 0,
    device: Device = "auto",
    offline: Offline = False,
    trust: Trust = False,
    root: Root = None,
) -> None:
    """Compare runs on the same posters: metrics with intervals, and paired differences to the first run with theirs.

    Reads what `mmposter evaluate` saved. Runs that differ in nothing but the seed become one row, whose intervals hold
    the luck of training too.

    Examples:

      mmposter compare runs/cnn runs/cnn-yolo --data data

      mmposter compare runs/all runs/all/evaluation/test-cnn --out comparison
    """
    prepare_libraries()
    go_offline(offline)

    from mmposter.measurement.compare import compare_runs
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import COMPARISON
    from mmposter.progress import console, make_console
    from mmposter.report.comparison import write_comparison
    from mmposter.report.comparison_text import render
    from mmposter.shipped import find_run

    def evaluate(run: Path) -> None:
        from mmposter.data import Dataset
        from mmposter.measurement.evaluate import examine_run
        from mmposter.report.evaluation import evaluation_folder, write_evaluation
        from mmposter.runs.run import Run

        assert data is not None
        console.print(f"evaluating {run}", highlight=False, soft_wrap=True)
        found = examine_run(
            Run.load(run), Dataset.load(data, root), split=split, device=device, offline=offline, workers="auto"
        )
        write_evaluation(found, evaluation_folder(run, split))

    with nullcontext() if out is None else claim(out, COMPARISON, go_on=True):
        found = compare_runs(
            [find_run(run) for run in runs],
            split=split,
            evaluate=None if data is None else evaluate,
            n_boot=bootstrap,
            seed=seed,
        )
        page = None if out is None else write_comparison(found, out)
    if json_output:
        answer_json(found.to_json())
    else:
        render(found, make_console())
    if page is not None:
        console.print(f"report: {page}", highlight=False, soft_wrap=True)
