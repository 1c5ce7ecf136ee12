"""`mmposter ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.cli.summary import Summary
from mmposter.progress import warn

_SENTENCES = 5
"""Findings that are printed by default, the most important ones."""


def ablate_command(
    data: opt.DataOrPack = None,
    data_option: opt.DataOption = None,
    branches: opt.Branches = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="subsets: every set of branches. leave-one-out: all but one. add-one: one beside the first. Default: "
            "subsets, unless --controls or --axis asks for something else.",
            autocompletion=completion.one_of("subsets", "leave-one-out", "add-one"),
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="retrain: train every set anew (what can a model do without?). mask: hide branches from the trained "
            "full model (what does this model do without?). both.",
            autocompletion=completion.one_of("retrain", "mask", "both"),
        ),
    ] = "retrain",
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Add controls: branches dealt to other posters, title words and actors' names masked, Gram against SE "
            "and SRM, other encodings of detections, heads and losses.",
        ),
    ] = False,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Compare values of any configuration key, each on its own; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of every cell, with the seeds 0, 1, ...", min=1)] = 5,
    config: opt.ConfigSource = None,
    set: opt.Overrides = None,
    init: opt.Init = None,
    regime: Annotated[
        str | None,
        typer.Option(
            help="features or finetune, as in `mmposter train`.",
            autocompletion=completion.one_of("features", "finetune"),
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Posters to measure: test, or val while settings are still chosen.",
            autocompletion=completion.one_of("test", "val"),
        ),
    ] = "test",
    jobs: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Trainings at the same time. auto: one per GPU, else one per core."),
    ] = "auto",
    workers: Annotated[
        str,
        typer.Option(
            metavar="N|auto", help="Processes that extract features that are missing; as in `mmposter extract`."
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads of each worker and of each training. Default: the cores, shared out.", min=1),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scores, tables, plots and the report.")] = Path(
        "ablation"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what --out holds and train what is missing; the grid may have grown.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train everything in --out anew.")] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep the run folder of every training, with its weights.")
    ] = False,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train a grid of configurations with several seeds, compare them, and write a report.

    Each configuration gets the mean over its seeds with a 95 % interval over seeds and posters, and its difference to
    the full model, paired by poster, with p-values corrected for multiple comparisons (Holm). Missing features are
    extracted first. The report is DIR/ablation.html, with the same in Markdown, CSV, LaTeX and plots.

    Examples:

      mmposter ablate --branches cnn,yolo,style --seeds 3

      mmposter ablate data

      mmposter ablate data --branches cnn,style,ocr --grid leave-one-out --mode both --controls

      mmposter ablate data --axis fusion.head=sum,concat,gated --axis train.epochs=8,16,32 --seeds 3
    """
    source = opt.choose_data(data, data_option)
    import shlex
    import sys

    from mmposter.ablation.grid import build_plan, parse_axes
    from mmposter.ablation.run import AblationSettings, ablate
    from mmposter.config import load_config
    from mmposter.data import Dataset
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import ABLATION
    from mmposter.report.ablation import findings, write_report

    base = load_config(config, opt.overrides(set, init), branches=branches, regime=regime)
    plan = build_plan(base, grid=grid, mode=mode, controls=controls, axes=parse_axes(axis or ()))
    settings = AblationSettings(
        seeds=tuple(range(base.seed, base.seed + seeds)),
        split=split,
        device=device,
        jobs=opt.parse_workers(jobs, option="--jobs"),
        workers=opt.parse_workers(workers),
        threads=threads,
        offline=offline,
        keep_models=keep_models,
        command=shlex.join(["mmposter", *sys.argv[1:]]),
    )
    dataset = Dataset.load(source, root)
    with claim(out, ABLATION, go_on=True):  # also between the trainings and the report
        result = ablate(plan, dataset, out, settings, resume=resume, overwrite=overwrite)
        paths = write_report(result, out)
    shown, sentences = Summary(), [f"* {sentence}" for sentence in findings(result)]
    shown.brief(*sentences[:_SENTENCES])
    shown.details(*sentences)
    for training, reason in (result.unfinished or {}).items():
        warn(f"missing: {training}: {reason}")
    if len(sentences) > _SENTENCES:
        shown.brief(f"{len(sentences) - _SENTENCES} more findings stand in the report, or print them with --verbose")
    answer_path(next(path for path in paths if path.suffix == ".html"))
