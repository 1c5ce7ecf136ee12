"""`mmposter train`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.cli.summary import Summary
from mmposter.engines import launched
from mmposter.engines.parent import end_with_the_launcher
from mmposter.progress import console, say, warn
from mmposter.shell import command_line

_ALONE = (
    "accelerate launch --cpu starts one process, whatever --num_processes says. For several on a CPU: torchrun "
    "--nproc-per-node 2 -m mmposter train ..."
)


def train_command(
    data: opt.DataOrPack = None,
    data_option: opt.DataOption = None,
    branches: opt.Branches = None,
    config: opt.ConfigSource = None,
    set: opt.Overrides = None,
    regime: Annotated[
        str | None,
        typer.Option(
            help="features: frozen towers, cached. finetune: the CNN and the Gram layer learn on the posters.",
            autocompletion=completion.one_of("features", "finetune"),
        ),
    ] = None,
    init: opt.Init = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            autocompletion=completion.models,
            help="Go on from the branches and the head of a trained model, which decides what is looked at: a run "
            "folder, posters, the model that travels with mmposter, or hf://ORG/NAME. For few posters.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the weights, the order and the augmentation.")] = None,
    workers: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Processes that extract missing features; a number above 1 is also that of the processes that load "
            "posters with --regime finetune. auto: as in `mmposter extract`.",
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads of each worker, and of the training. Default: the cores, shared out.", min=1),
    ] = None,
    device: opt.Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Run folder; default runs/BRANCHES-REGIME-SEED, with -2, -3, ... where that is there."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on where the run in --out stopped; without --out the last unfinished of its name."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out; without --out the first of its name.")
    ] = False,
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train a model on a prepared data set and write a run folder.

    Missing features are extracted first. Early stopping and thresholds use the validation posters; test posters are
    reserved for `mmposter evaluate`. Without DATA it trains on the benchmark, a pack of features that is shipped with
    mmposter. torchrun trains one model in several processes (see docs/scale.md).

    Examples:

      mmposter train --branches cnn,yolo,style

      mmposter train data --branches cnn,yolo,style

      mmposter train data --config lite --set fusion.head=gated --seed 3 --out runs/gated-3

      mmposter train data --branches cnn,style --regime finetune --resume --out runs/tuned

      mmposter train data --start posters --out runs/mine

      mmposter train data --branches cnn --init none --set cnn.backbone=timm/resnet26d --regime finetune
    """
    source = opt.choose_data(data, data_option)
    silent = launched.follow()
    console.quiet = console.quiet or silent
    if launched.by_torchrun():
        end_with_the_launcher()
    elif launched.is_alone_though_asked():
        warn(_ALONE)
    from mmposter.config import given, parse_config, read_values
    from mmposter.data import Dataset
    from mmposter.evaluation.thresholds import TELLING
    from mmposter.report.evaluation_text import summary, whole
    from mmposter.report.gains_text import gains_table
    from mmposter.runs.numbering import run_folder

    said = read_values(config, opt.overrides(set, init)) | given({"branches": branches, "regime": regime, "seed": seed})
    if start is None:
        resolved, beginning = parse_config(said), None
    else:
        from mmposter.training.start import Start

        beginning = Start.load(start)
        resolved = beginning.config(said)
    looks = "-".join(resolved.branches) if beginning is None else f"from-{beginning.name}"
    usual = Path("runs") / f"{looks}-{resolved.regime}-{resolved.seed}"
    workers_asked, several = opt.parse_workers(workers), launched.world_size() > 1
    dataset = None if several else Dataset.load(source, root)
    from mmposter.training.train import train  # and torch, which takes seconds: a mistake is told before

    with ExitStack() as stack:

        def choose() -> Path:
            return out or stack.enter_context(run_folder(usual, resume=resume, overwrite=overwrite))

        if dataset is None:
            from mmposter.engines.device import resolve_device
            from mmposter.training.processes import join, leave

            processes = join(resolve_device(device))
            stack.callback(leave)
            dataset = processes.main_first(lambda: Dataset.load(source, root))
            folder = processes.from_main(choose)
        else:
            folder = choose()
        result = train(
            resolved,
            dataset,
            folder,
            device=device,
            resume=resume,
            overwrite=overwrite,
            offline=offline,
            workers=workers_asked,
            threads=threads,
            start=beginning,
        )
    if silent:
        return
    shown = Summary(stderr=True)
    watched = ""
    if result.validation.n >= TELLING:
        shown.brief(*summary(result.validation))
        shown.details(*whole(result.validation))
        watched = " Training was watched on these posters, so the numbers may flatter."
    if beginning is not None and result.gains:
        shown.headline(gains_table(beginning.name, result.gains))
    say(f"{result.told}.{watched}\nnext: {command_line('mmposter', 'evaluate', folder, source)}")
    answer_path(folder)
