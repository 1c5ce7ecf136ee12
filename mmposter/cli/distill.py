"""`mmposter distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.progress import say
from mmposter.shell import command_line


def distill_command(
    data: opt.Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="TOWER", help="Folder for the network and its card.")],
    student: Annotated[
        str | None, typer.Option(metavar="NAME", help="Backbone that learns. Default: densenet121.")
    ] = None,
    teachers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Backbones with published weights. Default: efficientnet_lite0,efficientnet_lite1 (extra lite).",
        ),
    ] = None,
    set: opt.Overrides = None,
    init: opt.Init = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the weights and of the random crops.")] = None,
    device: opt.Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the distillation in --out stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the distillation in --out.")] = False,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep the teachers' feature maps in TOWER/teachers; they are large.")
    ] = False,
    offline: opt.Offline = False,
    root: opt.Root = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train an image backbone to reproduce the features of pretrained ones. No genres are needed.

    The student starts from random weights (or --init) and learns the feature maps and class scores of the teachers
    from random crops of the training posters. If these have genres, it also learns the predictions of linear heads on
    the teachers' features (--set genre_weight=0 turns this off). Validation posters are monitored; test posters are
    never opened. --resume continues a stopped distillation. All keys for --set are in TOWER/distillation.json. The
    default takes hours without a GPU.

    Examples:

      mmposter distill data --out towers/densenet121

      mmposter distill data --out towers/small --student mobilenet_v3_small --teachers efficientnet_lite0

      mmposter distill data --out towers/trial --set 'phases=[{size: [96, 64], posters: 20000}]'

      mmposter train data --init towers/densenet121/tower.safetensors --set cnn.backbone=densenet121
    """
    from mmposter.data import Dataset
    from mmposter.distillation.config import load_distillation_config
    from mmposter.distillation.distill import distill

    config = load_distillation_config(set or (), student=student, teachers=teachers, init=init, seed=seed)
    result = distill(
        config,
        Dataset.load(data, root),
        out,
        device=device,
        resume=resume,
        overwrite=overwrite,
        keep_maps=keep_maps,
        offline=offline,
    )
    errors = [sum(result.facts[name].values()) for name in ("validation", "constant")]
    following = command_line(
        "mmposter", "train", data, "--init", result.tower, "--set", f"cnn.backbone={config.student}"
    )
    say(f"validation loss {errors[0]:.3f}; the teachers' mean in place of the network: {errors[1]:.3f}")
    say(f"next: {following}")
    answer_path(result.tower)
