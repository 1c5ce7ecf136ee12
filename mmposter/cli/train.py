"""`mmposter train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.cli.summary import Summary
from mmposter.progress import say
from mmposter.shell import command_line


def train_command(
    data: opt.DataOrPack = None,
    data_option: opt.DataOption = None,
    branches: opt.Branches = None,
    config: opt.ConfigSource = None,
    set: opt.Overrides = None,
    regime: Annotated[
        str | None,
        typer.Option(
            help="features: frozen towers, cached. finetune: the CNN and the Gram layer learn on the posters."
        ),
    ] = None,
    init: opt.Init = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on from the branches and the head of a trained model, which decides what is looked at: a run "
            "folder, or posters, the model that travels with mmposter. For few posters.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the weights, the order and the augmentation.")] = None,
    device: opt.Device = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; default runs/BRANCHES-REGIME-SEED.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    root: opt.Root = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train a model on a prepared data set and write a run folder.

    Features that are not in the store yet are extracted first. Early stopping and thresholds use the validation
    posters; the test posters are left to `mmposter evaluate`. Without DATA it trains on the benchmark pack: features of
    real posters that travel with mmposter.

    Examples:

      mmposter train --branches cnn,yolo,style

      mmposter train data --branches cnn,yolo,style

      mmposter train data --config lite --set fusion.head=gated --seed 3 --out runs/gated-3

      mmposter train data --branches cnn,style --regime finetune --resume --out runs/tuned

      mmposter train data --start posters --out runs/mine

      mmposter train data --branches cnn --init none --set cnn.backbone=timm/resnet26d --regime finetune
    """
    source = opt.choose_data(data, data_option)
    from mmposter.config import given, parse_config, read_values
    from mmposter.data import Dataset
    from mmposter.evaluation.thresholds import TELLING
    from mmposter.report.evaluation_text import summary, whole
    from mmposter.report.gains_text import gains_table

    said = read_values(config, opt.overrides(set, init)) | given({"branches": branches, "regime": regime, "seed": seed})
    if start is None:
        resolved, beginning = parse_config(said), None
    else:
        from mmposter.training.start import Start

        beginning = Start.load(start)
        resolved = beginning.config(said)
    looks = "-".join(resolved.branches) if beginning is None else f"from-{beginning.name}"
    folder = out or Path("runs") / f"{looks}-{resolved.regime}-{resolved.seed}"
    dataset = Dataset.load(source, root)
    from mmposter.training.train import train  # and torch, which takes seconds: a mistake is told before

    result = train(
        resolved,
        dataset,
        folder,
        device=device,
        resume=resume,
        overwrite=overwrite,
        offline=offline,
        workers="auto",
        start=beginning,
    )
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
