"""`mmposter export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli import completion
from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path
from mmposter.cli.summary import Summary
from mmposter.progress import say
from mmposter.shell import command_line


def export_command(
    run: opt.RunName,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="onnx|torchscript",
            help="Kind of file.",
            autocompletion=completion.one_of("onnx", "torchscript"),
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="FILE.onnx or FILE.pt. Default: the run's name in this folder."),
    ] = None,
    branches: Annotated[
        str | None,
        typer.Option("--branches", "-b", help="Comma-separated: cnn, style. Default: those of them that the run has."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file and its example.")] = False,
    offline: opt.Offline = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write a run as one file for programs without mmposter: pixels in, probabilities out.

    The file contains resizing, backbone, head, calibration, genre names and thresholds. It uses cnn and style; yolo and
    ocr are masked. It is checked against `predict` before it is written: no probability may differ by 1e-4 or more.
    FILE.example.py, next to it, runs it without torch (onnx) or with torch only (torchscript).

    Examples:

      mmposter export runs/all --to onnx

      python all.onnx.example.py poster.jpg
    """
    from mmposter.config import parse_branches
    from mmposter.export import export_run

    only = None if branches is None else parse_branches(branches)
    made = export_run(run, to, out, branches=only, overwrite=overwrite, offline=offline)
    say(f"looks through {','.join(made.branches)}; {made.megabytes:.1f} MB")
    if made.masked:
        say(f"masked: {','.join(made.masked)}; {made.cost}")
    checked = f"largest difference to predict over {made.pictures} made-up pictures: {made.difference:.1g}"
    Summary(stderr=True).details(checked)
    say(f"example: {command_line('python', made.example, 'POSTER')}")
    answer_path(made.path)
