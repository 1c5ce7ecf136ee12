"""`mmposter calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_line
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.document.numbers import interval, number, signed
from mmposter.progress import say
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
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Calibrate the probabilities and thresholds of a run, for every subset of its branches.

    A model with masked branches is less certain than the whole model and needs its own thresholds. One slope for the
    logits, one offset per genre and thresholds are fitted on the validation posters, and measured on the test posters.
    The result is RUN/subsets.json, which `evaluate` and `predict` use for the branches in use.

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
        say(f"written: {run / SUBSETS}")
        return
    shown = Summary()
    shown.brief(_table(found, every=False))
    shown.details(_table(found), *(f"- {note}" for note in (*_NOTES, *([_SPARED] if found.spared else []))))
    shown.file("written", run / SUBSETS)


_NOTES = (
    "95 % intervals over the measured posters; the difference is paired by poster",
    "ECE: calibration error, before and after the fit; lower is better",
    "constant: the best single answer for all posters, chosen on the training posters for that metric",
)

_BRIEF = (0, 1, 3, 5, 6)  # the columns that are shown by default

_SPARED = "spared: without the files that a branch can go without, such as the encoder of the words"


def _table(found: Subsets, *, every: bool = True) -> TableBlock:
    """The measured sets of branches, or the whole model alone, and the constant answer below."""
    from mmposter.runs.decisions import ERROR, MEASURED

    fitted, measured = found.fitted, found.measured
    title = (
        f"fitted on {fitted.count} posters ({fitted.split}), measured on {measured.count} ({measured.split}) of "
        f"{measured.data}"
    )
    measured_sets = [(",".join(names), subset) for names, subset in found.subsets.items()]
    measured_sets += [(f"{','.join(names)}, spared", subset) for names, subset in found.spared.items()]
    rows = []
    for label, subset in measured_sets:
        difference = subset.difference
        if difference is not None and not every:
            continue
        cells = [
            label,
            _with_interval(subset.metrics["mean_average_precision"]),
            "" if difference is None else _with_interval(difference["mean_average_precision"], sign=True),
            _with_interval(subset.metrics["macro_f1"]),
            _with_interval(subset.metrics["r_precision"]),
            number(subset.error_before.value),
            number(subset.error_after.value),
            "" if subset.decision.scaling is None else f"{subset.decision.scaling.slope:.2f}",
        ]
        rows.append(cells)
    constant = found.constant
    numbers, error = [number(constant[name]) for name in MEASURED], number(constant[ERROR])
    rows.append(["constant", numbers[0], "", *numbers[1:], error, error, ""])
    header = ["branches", "mAP", "to all branches", "macro F1", "R-precision", "ECE before", "after", "slope"]
    shown = [at for at in range(len(header)) if every or at in _BRIEF]
    return TableBlock(
        title,
        [header[at] for at in shown],
        [[row[at] for at in shown] for row in rows],
        emphasis={(len(rows) - 1, None): "muted"},
    )


def _with_interval(found: Difference, *, sign: bool = False) -> str:
    """The interval below the value, so that many columns fit."""
    value = signed(found.value) if sign else number(found.value)
    return value if found.ci95 is None else f"{value}\n{interval(found.ci95, sign=sign)}"
