"""`mmposter compare`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.cli.summary import Summary
from mmposter.progress import say


def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, posters (the model that travels with mmposter), hf://ORG/NAME, or folders that "
            "`mmposter evaluate` wrote to; the others are compared with the first.",
            show_default=False,
            autocompletion=completion.models,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Prepared folder or pack: evaluate runs first that have not been evaluated."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="train, val or test.", autocompletion=completion.one_of("train", "val", "test"))
    ] = "test",
    json_output: opt.Json = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write compare.html, compare.csv and compare.md there."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="How many half-samples the intervals are made of.", min=2)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the half-samples.")] = 0,
    include_trained: opt.IncludeTrained = False,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Compare runs on the same posters: metrics and paired differences to the first run, with intervals.

    Reads what `mmposter evaluate` saved. Runs that differ only in their seed become one row, whose interval includes
    the variance of training.

    Examples:

      mmposter compare runs/cnn runs/cnn-yolo --data data

      mmposter compare runs/all runs/all/evaluation/test-cnn --out comparison
    """
    from mmposter.measurement.compare import compare_runs
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import COMPARISON
    from mmposter.report.comparison import write_comparison
    from mmposter.report.comparison_text import differences, explained, headline_runs
    from mmposter.shipped import find_run

    dataset = None
    if data is not None:
        from mmposter.data import Dataset

        dataset = Dataset.load(data, root)

    def evaluate(run: Path, place: Path) -> None:
        from mmposter.measurement.evaluate import examine_run
        from mmposter.report.evaluation import write_evaluation
        from mmposter.runs.run import Run

        assert dataset is not None
        say(f"evaluating {run}")
        found = examine_run(
            Run.load(run),
            dataset,
            split=split,
            device=device,
            offline=offline,
            workers="auto",
            include_trained=include_trained,
        )
        write_evaluation(found, place)

    with nullcontext() if out is None else claim(out, COMPARISON, go_on=True):
        found = compare_runs(
            [find_run(run) for run in runs],
            split=split,
            evaluate=None if dataset is None else evaluate,
            data=None if dataset is None else (dataset.folder.resolve().name, str(dataset.info["manifest_sha256"])),
            n_boot=bootstrap,
            seed=seed,
        )
        page = None if out is None else write_comparison(found, out)
    if json_output:
        answer_json(found.to_json())
        if page is not None:
            say(f"report: {page}")
        return
    shown, tables = Summary(), (headline_runs(found), *differences(found))
    # Without a page these numbers are the result.
    (shown.answer if page is None else shown.headline)(*tables)
    shown.details(*explained(found))
    if page is not None:
        shown.file("report", page)
