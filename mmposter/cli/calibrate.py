"""`mmposter calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_line
from mmposter.document.numbers import interval, number, signed
from mmposter.progress import console, make_console
from mmposter.visible import visible_json

if TYPE_CHECKING:
    from mmposter.evaluation import Difference
    from mmposter.runs.decisions import Subsets


def calibrate_command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder that `mmposter train` wrote.",
            show_default=False,
            autocompletion=completion.models,
        ),
    ],
    data: opt.DataOrPack = None,
    data_option: opt.DataOption = None,
    split: Annotated[
        str,
        typer.Option(
            help="The posters to measure on: test or train.", autocompletion=completion.one_of("test", "train")
        ),
    ] = "test",
    json_output: opt.Json = False,
    include_trained: opt.IncludeTrained = False,
    workers: opt.Workers = "auto",
    threads: opt.Threads = None,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
) -> None:
    """Fit probabilities and thresholds of a run anew, for every set of its branches, and measure each set.

    A model whose branches are masked is less sure than the whole, and needs thresholds of its own. Fitted on the
    validation posters: one slope of all logits, one offset a genre, then thresholds. Measured on the test posters.
    The result is RUN/subsets.json: `evaluate` and `predict` use what belongs to the branches they look through. Without
    the file a run decides as it was trained.

    Example:

      mmposter calibrate runs/all data
    """
    source = opt.choose_data(data, data_option)
    from mmposter.data import Dataset
    from mmposter.measurement.calibrate import calibrate_run, remember_fit
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import RUN
    from mmposter.runs.decisions import SUBSETS
    from mmposter.runs.run import Run

    trained, dataset = Run.load(run), Dataset.load(source, root)
    with claim(run, RUN, go_on=True):
        found = calibrate_run(
            trained,
            dataset,
            split=split,
            device=device,
            offline=offline,
            workers=opt.parse_workers(workers),
            threads=threads,
            include_trained=include_trained,
        )
        found.save(run)
        remember_fit(trained, dataset)
    if json_output:
        answer_line(visible_json((run / SUBSETS).read_text(encoding="utf-8").rstrip()))
    else:
        results = make_console()
        results.print(_table(found))
        for note in (*_NOTES, *([_SPARED] if found.spared else [])):
            results.print(f"- {note}", style="dim")
    console.print(f"written: {run / SUBSETS}", soft_wrap=True)


_NOTES = (
    "95 % intervals over the measured posters; the difference is paired by poster",
    "ECE: calibration error, before and after the fit; lower is better",
    "constant: the best single answer for all posters, chosen on the training posters for that metric",
)

_SPARED = "spared: without the files that a branch can go without, such as the encoder of the words"


def _table(found: Subsets) -> Table:
    from mmposter.runs.decisions import ERROR, MEASURED

    fitted, measured = found.fitted, found.measured
    title = (
        f"fitted on {fitted.count} posters ({fitted.split}), measured on {measured.count} ({measured.split}) of "
        f"{measured.data}"
    )
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("branches", no_wrap=True)
    for column in ("mAP", "to all branches", "macro F1", "R-precision", "ECE before", "after", "slope"):
        table.add_column(column, justify="right")
    rows = [(",".join(names), subset) for names, subset in found.subsets.items()]
    rows += [(f"{','.join(names)}, spared", subset) for names, subset in found.spared.items()]
    for label, subset in rows:
        difference = subset.difference
        table.add_row(
            label,
            _with_interval(subset.metrics["mean_average_precision"]),
            "" if difference is None else _with_interval(difference["mean_average_precision"], sign=True),
            _with_interval(subset.metrics["macro_f1"]),
            _with_interval(subset.metrics["r_precision"]),
            number(subset.error_before.value),
            number(subset.error_after.value),
            "" if subset.decision.scaling is None else f"{subset.decision.scaling.slope:.2f}",
        )
    constant = found.constant
    numbers, error = [number(constant[name]) for name in MEASURED], number(constant[ERROR])
    row = ["constant", numbers[0], "", *numbers[1:], error, error, ""]
    table.add_row(*(Text(cell, style="dim") for cell in row))
    return table


def _with_interval(found: Difference, *, sign: bool = False) -> str:
    """The interval below the value, so that many columns fit."""
    value = signed(found.value) if sign else number(found.value)
    return value if found.ci95 is None else f"{value}\n{interval(found.ci95, sign=sign)}"
