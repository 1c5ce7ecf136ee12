"""`mmposter evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.cli.summary import Summary
from mmposter.errors import UserError
from mmposter.progress import say, warn
from mmposter.suggest import did_you_mean

if TYPE_CHECKING:
    from mmposter.evaluation.calibration import Method


def evaluate_command(
    run: opt.RunName,
    data: opt.DataOrPack = None,
    data_option: opt.DataOption = None,
    split: Annotated[
        str, typer.Option(help="train, val or test.", autocompletion=completion.one_of("train", "val", "test"))
    ] = "test",
    branches: Annotated[
        str | None,
        typer.Option(
            "--branches", "-b", help="Mask all other branches of the trained model (it is not trained again)."
        ),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            help="temperature, isotonic or none: what fitting the probabilities on the validation posters would "
            "change. Reported, not applied.",
            autocompletion=completion.one_of("temperature", "isotonic", "none"),
        ),
    ] = "temperature",
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="source|period|decade|size",
            autocompletion=completion.one_of("source", "period", "decade", "size"),
            help="Measure parts of the posters by themselves too; repeatable. The size is that of the picture. "
            "Default: source, where the data were prepared from several.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the report. Default: RUN/evaluation/SPLIT, or SPLIT-BRANCHES (of posters in "
            "runs/posters); on other data than the run's own RUN/evaluation/DATA-HASH/SPLIT.",
            metavar="DIR",
        ),
    ] = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Show the most wrong posters in report.html as small pictures. They belong to their owners: mind whom "
            "you send the page.",
        ),
    ] = False,
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
    """Evaluate a run on one split: each metric with its interval, beside the best constant answer.

    Writes report.html (one self-contained page), evaluation.json, predictions.parquet (probabilities of each poster,
    used by `mmposter compare`), listing.txt and plots. Posters that the run was trained on are found under any name,
    and left out.

    Examples:

      mmposter evaluate runs/cnn-yolo data

      mmposter evaluate runs/cnn-yolo data --json | jq .metrics.macro_f1

      mmposter evaluate runs/cnn-yolo data --branches cnn

      mmposter evaluate posters data --thumbnails

      mmposter evaluate posters data --by decade --by size
    """
    method, source = parse_calibration(calibration), opt.choose_data(data, data_option)
    from mmposter.config import parse_branches
    from mmposter.data import Dataset
    from mmposter.data.crops import split_warning
    from mmposter.measurement.evaluate import examine_run
    from mmposter.measurement.unseen import other_data
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import EVALUATION
    from mmposter.report.evaluation import evaluation_folder, write_evaluation
    from mmposter.report.evaluation_text import examined, parts_tables, summary
    from mmposter.report.thumbnails import hardest_thumbnails
    from mmposter.runs.run import Run
    from mmposter.shipped import find_run

    folder = find_run(run)
    only = None if branches is None else parse_branches(branches)
    trained, dataset = Run.load(folder), Dataset.load(source, root)
    if (warning := split_warning(dataset)) is not None:
        warn(warning)
    place = out if out is not None else evaluation_folder(folder, split, only, data=other_data(trained, dataset))
    with claim(place, EVALUATION, go_on=True):
        found = examine_run(
            trained,
            dataset,
            split=split,
            only=only,
            calibration=method,
            device=device,
            offline=offline,
            workers=opt.parse_workers(workers),
            threads=threads,
            include_trained=include_trained,
            by=by or None,
        )
        page = write_evaluation(found, place, hardest_thumbnails(found, dataset) if thumbnails else None)
    if json_output:
        answer_json(found.to_json())
        say(f"report: {page}")
        return
    shown = Summary()
    shown.brief(*summary(found.evaluation), *(parts_tables(found) if by else []))
    shown.details(*examined(found))
    shown.file("report", page)


def parse_calibration(text: str) -> Method | None:
    """``temperature``, ``isotonic``, or None for ``none``.

    Raises:
        UserError: for anything else.
    """
    known: dict[str, Method | None] = {"temperature": "temperature", "isotonic": "isotonic", "none": None}
    if text in known:
        return known[text]
    raise UserError(f"--calibration takes temperature, isotonic or none; got {text!r}{did_you_mean(text, known)}")
