"""The command line. Each command lives in a file of its own, and imports what takes long when it runs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from mmposter.cli.answers import answer_line
from mmposter.cli.completion import VARIABLE, answer
from mmposter.cli.copies import takes_links
from mmposter.cli.prepare import PrepareCommand
from mmposter.cli.stop import INTERRUPTED, ends_in_time, leave
from mmposter.cli.words import ProposingCommand, ProposingGroup
from mmposter.engines import launched
from mmposter.errors import UserError
from mmposter.files.disk import plain_words
from mmposter.shell import with_names
from mmposter.verbosity import Verbosity, set_verbosity
from mmposter.visible import visible_lines

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmposter",
    help="Movie genres from posters, and why: objects, words, style and picture, fused and honestly evaluated.",
    epilog="Exit codes: 0 done; 1 no poster could be used; 2 a mistake to mend, as the message says; 130 stopped by "
    "Ctrl-C, 143 by SIGTERM.",
    no_args_is_help=True,
    cls=ProposingGroup,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        import mmposter

        answer_line(f"mmposter {mmposter.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A Python file that brings a branch, a head, a loss, an image network or a source (see "
            "docs/extending.md); it is run. Before the command, and again for another one.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version, and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    set_verbosity(Verbosity.DEFAULT)
    if launched.by_torchrun() and context.invoked_subcommand != "train":
        launched.follow()
        raise UserError(
            f"only mmposter train runs on several processes; got {context.invoked_subcommand}.\n"
            "Run it without torchrun (extract and predict take --workers)"
        )
    if plugin:
        from mmposter.branches.plugins import load_plugin

        for file in plugin:
            load_plugin(file)


# In the order of the help: each is a module here, with the function `NAME_command`.
_COMMANDS = (
    "prepare extract pack audit train evaluate calibrate compare ablate reproduce distill "
    "predict explain similar rank serve export push runs config weights doctor"
)
for _name in _COMMANDS.split():
    _command = getattr(import_module(f"mmposter.cli.{_name}"), f"{_name}_command")
    # A server finishes what is in work when it is told to end, and takes its own time for it.
    app.command(_name, cls=PrepareCommand if _name == "prepare" else ProposingCommand)(
        takes_links(_command) if _name == "serve" else ends_in_time(takes_links(_command))
    )


def main() -> None:
    """Run the command line: exit code 2 and one message for a user's mistake or a disk's, 130 (SIGTERM: 143) when
    interrupted."""
    try:
        try:
            _run()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what standard output refuses is an error of this run, not of its last breath
    except UserError as error:
        _say(f"error: {with_names(str(error))}")
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


def _run() -> None:
    run = partial(app, prog_name="mmposter")  # also of `python -m mmposter`, whose help is the same
    if VARIABLE not in os.environ:
        run()
        return
    with suppress(Exception):  # whoever presses Tab wants no traceback in the line that is being typed
        answer(run)


def _drop_output() -> None:
    """Where standard output takes nothing more, Python would try again at exit, and complain."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> None:
    said = launched.own_message(message) if launched.follows() else message
    print(visible_lines(said), file=sys.stderr)
