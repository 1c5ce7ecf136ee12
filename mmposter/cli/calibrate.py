"""`mmposter calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli.answers import answer_line
from mmposter.cli.options import (
    DataOption,
    DataOrPack,
    Device,
    Offline,
    Root,
    Trust,
    choose_data,
    go_offline,
    prepare_libraries,
)
from mmposter.document.numbers import interval, number, signed
from mmposter.visible import visible_json

if TYPE_CHECKING:
    from rich.table import Table

    from mmposter.evaluation import Difference
    from mmposter.runs.decisions import Subsets


def calibrate_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `mmposter train` wrote.", show_default=False)],
    data: DataOrPack = None,
    data_option: DataOption = None,
    split: Annotated[str, typer.Option(help="The posters to measure on: test or train.")] = "test",
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, that of subsets.json, instead of a table.")
    ] = False,
    device: Device = "auto",
    offline: Offline = False,
    trust: Trust = False,
    root: Root = None,
) -> None:
    """Fit probabilities and thresholds of a run anew, for every set of its branches, and measure each set.

    A model whose branches are masked is less sure than the whole, and needs thresholds of its own. Fitted on the
    validation posters: one slope of all logits, one offset a genre, then thresholds. Measured on the test posters.
    The result is RUN/subsets.json: `evaluate` and `predict` use what belongs to the branches they look through. Without
    the file a run decides as it was trained.

    Example:

      mmposter calibrate runs/all data
    """
    source = choose_data(data, data_option)
    prepare_libraries()
    go_offline(offline)
    from mmposter.data import Dataset
    from mmposter.measurement.calibrate import calibrate_run
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import RUN
    from mmposter.progress import console, make_console
    from mmposter.runs.decisions import SUBSETS
    from mmposter.runs.run import Run

    trained, dataset = Run.load(run), Dataset.load(source, root)
    with claim(run, RUN, go_on=True):
        found = calibrate_run(trained, dataset, split=split, device=device, offline=offline, workers="auto")
        found.save(run)
    if json_output:
        answer_line(visible_json((run / SUBSETS).read_text(encoding="utf-8").rstrip()))
    else:
        results = make_console()
        results.print(_table(found))
        for note in _NOTES:
            results.print(f"- {note}", style="dim", highlight=False)
    console.print(f"written: {run / SUBSETS}", highlight=False, soft_wrap=True)


_NOTES = (
    "95 % intervals over the measured posters; the difference is paired by poster",
    "ECE: calibration error, before and after the fit; lower is better",
    "constant: the best single answer for all posters, chosen on the training posters for that metric",
)


def _table(found: Subsets) -> Table:
    from rich.table import Table
    from rich.text import Text

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
    for names, subset in found.subsets.items():
        difference = subset.difference
        table.add_row(
            ",".join(names),
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
