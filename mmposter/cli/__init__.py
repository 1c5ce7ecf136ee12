"""The command line. Each command lives in a file of its own and imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli.ablate import ablate_command
from mmposter.cli.calibrate import calibrate_command
from mmposter.cli.compare import compare_command
from mmposter.cli.config import config_command
from mmposter.cli.distill import distill_command
from mmposter.cli.doctor import doctor_command
from mmposter.cli.evaluate import evaluate_command
from mmposter.cli.explain import explain_command
from mmposter.cli.export import export_command
from mmposter.cli.extract import extract_command
from mmposter.cli.pack import pack_command
from mmposter.cli.predict import predict_command
from mmposter.cli.prepare import prepare_command
from mmposter.cli.reproduce import reproduce_command
from mmposter.cli.runs import runs_command
from mmposter.cli.serve import serve_command
from mmposter.cli.stop import INTERRUPTED, ends_in_time, leave
from mmposter.cli.train import train_command
from mmposter.cli.weights import weights_command
from mmposter.errors import UserError
from mmposter.files.disk import plain_words
from mmposter.visible import visible_lines

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmposter",
    help="Movie genres from posters, and why: objects, words, style and picture, fused and honestly evaluated.",
    epilog="Exit codes: 0 done; 1 no poster could be used; 2 a mistake to mend, as the message says; 130 stopped by "
    "Ctrl-C, 143 by SIGTERM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A Python file that brings a branch, a head, a loss, an image network or a source (see "
            "docs/extending.md); it is run. Before the command, and again for another one.",
        ),
    ] = None,
) -> None:
    if plugin:
        from mmposter.branches.plugins import load_plugin

        for file in plugin:
            load_plugin(file)


for _name, _command in (
    ("prepare", prepare_command),
    ("extract", extract_command),
    ("pack", pack_command),
    ("train", train_command),
    ("evaluate", evaluate_command),
    ("calibrate", calibrate_command),
    ("compare", compare_command),
    ("ablate", ablate_command),
    ("reproduce", reproduce_command),
    ("distill", distill_command),
    ("predict", predict_command),
    ("explain", explain_command),
    ("serve", serve_command),
    ("export", export_command),
    ("runs", runs_command),
    ("config", config_command),
    ("weights", weights_command),
    ("doctor", doctor_command),
):
    # A server finishes what is in work when it is told to end, and takes its own time for it.
    app.command(_name)(_command if _command is serve_command else ends_in_time(_command))


def main() -> None:
    """Run the command line: exit code 2 and one message for a user's mistake or a disk's, 130 (SIGTERM: 143) when
    interrupted."""
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what standard output refuses is an error of this run, not of its last breath
    except UserError as error:
        _say(f"error: {error}")
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:
        # An interrupt inside a command has become typer's exit code before it comes here.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        leave()
    except BrokenPipeError:
        # The reader of our output has gone (| head); Python would complain once more at exit.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        message = plain_words(error)
        if message is None:
            raise
        _say(f"error: {message}")
        _drop_output()
        sys.exit(2)


def _drop_output() -> None:
    """Where standard output takes nothing more, Python would try again at exit, and complain."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> None:
    print(visible_lines(message), file=sys.stderr)
