"""`mmposter ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli.answers import answer_path
from mmposter.cli.options import (
    Branches,
    ConfigSource,
    DataOption,
    DataOrPack,
    Device,
    Init,
    Offline,
    Overrides,
    Root,
    Trust,
    choose_data,
    go_offline,
    prepare_libraries,
)


def ablate_command(
    data: DataOrPack = None,
    data_option: DataOption = None,
    branches: Branches = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="subsets: every set of branches. leave-one-out: all but one. add-one: one beside the first. Default: "
            "subsets, unless --controls or --axis asks for something else."
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="retrain: train every set anew (what can a model do without?). mask: hide branches from the trained "
            "full model (what does this model do without?). both."
        ),
    ] = "retrain",
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Add branches dealt to other posters, title words and actors' names masked, Gram against SE and SRM, "
            "detection encodings, heads and losses.",
        ),
    ] = False,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Compare values of any configuration key, each on its own; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of every cell, with the seeds 0, 1, ...", min=1)] = 5,
    config: ConfigSource = None,
    set: Overrides = None,
    init: Init = None,
    regime: Annotated[str | None, typer.Option(help="features or finetune, as in `mmposter train`.")] = None,
    split: Annotated[
        str, typer.Option(help="Posters to measure: test, or val while settings are still chosen.")
    ] = "test",
    jobs: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Trainings side by side. auto: one a GPU; without one, one a core."),
    ] = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scores, tables, plots and the report.")] = Path(
        "ablation"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what --out holds and train what is missing, also of a larger grid.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train everything in --out anew.")] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Leave a run folder of every training, with weights.")
    ] = False,
    device: Device = "auto",
    offline: Offline = False,
    trust: Trust = False,
    root: Root = None,
) -> None:
    """Train a grid of configurations with several seeds, compare them, and write a report.

    Every cell gets its mean over the seeds with a 95 % interval over seeds and posters, and its difference to the full
    model paired by poster, with p-values corrected for the number of cells (Holm). Features that are not in the store
    yet are extracted first. The report is DIR/ablation.html; the same is there as Markdown, CSV, LaTeX and plots.

    Examples:

      mmposter ablate --branches cnn,yolo,style --seeds 3

      mmposter ablate data

      mmposter ablate data --branches cnn,style,ocr --grid leave-one-out --mode both --controls

      mmposter ablate data --axis fusion.head=sum,concat,gated --axis train.epochs=8,16,32 --seeds 3
    """
    source = choose_data(data, data_option)
    prepare_libraries()
    go_offline(offline)
    import json
    import shlex
    import sys

    from mmposter.ablation.grid import build_plan, parse_axes
    from mmposter.ablation.run import AblationSettings, ablate
    from mmposter.cli.options import parse_workers
    from mmposter.config import load_config
    from mmposter.data import Dataset
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import ABLATION
    from mmposter.progress import console, make_console
    from mmposter.report.ablation import findings, write_report

    overrides = [*([f"cnn.init={json.dumps(init)}"] if init is not None else []), *(set or [])]
    base = load_config(config, overrides, branches=branches, regime=regime)
    plan = build_plan(base, grid=grid, mode=mode, controls=controls, axes=parse_axes(axis or ()))
    settings = AblationSettings(
        seeds=tuple(range(base.seed, base.seed + seeds)),
        split=split,
        device=device,
        jobs=parse_workers(jobs, option="--jobs"),
        offline=offline,
        keep_models=keep_models,
        command=shlex.join(["mmposter", *sys.argv[1:]]),
    )
    dataset = Dataset.load(source, root)
    with claim(out, ABLATION, go_on=True):  # also between the trainings and the report
        result = ablate(plan, dataset, out, settings, resume=resume, overwrite=overwrite)
        paths = write_report(result, out)
    answers = make_console()
    for sentence in findings(result):
        answers.print(f"- {sentence}", highlight=False)
    for training, reason in (result.unfinished or {}).items():
        console.print(f"missing: {training}: {reason}", highlight=False, soft_wrap=True)
    answer_path(next(path for path in paths if path.suffix == ".html"))
