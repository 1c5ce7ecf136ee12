"""Options that several commands share, said once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmposter.cli import completion
from mmposter.engines import require_engine
from mmposter.engines.libraries import go_offline, prepare_libraries
from mmposter.errors import UserError
from mmposter.hub import HUB
from mmposter.pretrained.trust import set_trust
from mmposter.shipped import BENCHMARK, find_tower
from mmposter.verbosity import Verbosity, set_verbosity, verbosity

Data = Annotated[str, typer.Argument(metavar="DATA", help="Folder that `mmposter prepare` wrote.", show_default=False)]
DataOrPack = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="Folder that `mmposter prepare` wrote, or file of `mmposter pack`. Default: benchmark, the pack that "
        "travels with mmposter (./benchmark is a folder).",
        show_default=False,
    ),
]
DataOption = Annotated[
    str | None, typer.Option("--data", metavar="DATA", help="Another way to give DATA.", show_default=False)
]
_RUN = (
    "Folder that `mmposter train` wrote; posters, the model that travels with mmposter (./posters is a folder); or "
    "hf://ORG/NAME[@REVISION], a model of the Hugging Face hub."
)
RunName = Annotated[str, typer.Argument(metavar="RUN", help=_RUN, show_default=False, autocompletion=completion.models)]
Branches = Annotated[
    str | None,
    typer.Option(
        "--branches",
        "-b",
        help="Comma-separated: cnn, style, yolo, ocr, photo. Default: those of the configuration.",
        autocompletion=completion.branches,
    ),
]
ConfigSource = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|FILE",
        help="A recipe's name or a YAML file.",
        autocompletion=completion.recipes,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override one key, such as cnn.backbone=resnet50; repeatable.",
        autocompletion=completion.overrides,
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        metavar="auto|posters|imagenet|none|FILE|hf://ORG/NAME",
        autocompletion=completion.one_of("auto", "posters", "imagenet", "none"),
        help="Weights that the image network begins with: those of the shipped model `posters` (densenet121), its "
        "published ones, random ones, a state dict's, or those of a model of the hub. auto: posters where it fits, "
        "else imagenet.",
    ),
]
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda or mps.", autocompletion=completion.one_of("auto", "cpu", "cuda", "mps")),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]
Only = Annotated[
    str | None,
    typer.Option(
        "--branches",
        "-b",
        help="Comma-separated: look through these only.",
        autocompletion=completion.branches,
    ),
]


def _offline(given: bool) -> bool:
    """Every command that loads a library which could ask the network has this option; so this comes before it."""
    prepare_libraries()
    go_offline(given)
    return given


Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.", callback=_offline, is_eager=True)]


def _trust(context: typer.Context, given: bool) -> bool:
    """For this command alone: its end takes the word back, where a program runs several commands."""
    set_trust(given)
    context.call_on_close(lambda: set_trust(False))
    return given


Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Let this command load an object detector's checkpoint that may run code. Only for a file whose maker you "
        "know.",
        callback=_trust,
    ),
]


def _verbosity(level: Verbosity) -> Callable[[typer.Context, bool], bool]:
    """Each command begins with the default (see `mmposter.cli`), and its end goes back to it."""

    def chosen(context: typer.Context, given: bool) -> bool:
        if given:
            if verbosity() is not Verbosity.DEFAULT:
                raise UserError("--verbose and --quiet ask for opposite things; give one of them")
            set_verbosity(level)
            context.call_on_close(lambda: set_verbosity(Verbosity.DEFAULT))
        return given

    return chosen


Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print all numbers and notes.", callback=_verbosity(Verbosity.VERBOSE)),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print the path of the result alone; errors and warnings still come.",
        callback=_verbosity(Verbosity.QUIET),
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="Where the posters lie now, if they were moved since `mmposter prepare`.")
]
IncludeTrained = Annotated[
    bool,
    typer.Option("--include-trained", help="Do not leave out posters that the run has seen in training."),
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Processes that compute at the same time. auto: one per GPU, else one per core as far as memory goes.",
    ),
]
Model = Annotated[str, typer.Option("--model", "-m", metavar="RUN", help=_RUN, autocompletion=completion.models)]
Threads = Annotated[
    int | None, typer.Option(help="CPU threads of each worker. Default: the cores, divided among the workers.", min=1)
]
Engine = Annotated[
    str,
    typer.Option(
        help="local, or ray: Ray Data (extra ray) on the cluster at RAY_ADDRESS, or on one it starts here. All nodes "
        "must see posters, weights and DATA under the same paths; with GPUs say --device cuda.",
        callback=require_engine,
        autocompletion=completion.one_of("local", "ray"),
    ),
]


def choose_data(argument: str | None, option: str | None) -> str:
    """DATA as it was given, by its place or by ``--data``; the benchmark pack where it was not.

    Raises:
        UserError: it was given twice.
    """
    if argument is not None and option is not None:
        raise UserError(f"DATA is given twice, as {argument} and as --data {option}; give one of them")
    return argument or option or BENCHMARK


def overrides(given: list[str] | None, init: str | None) -> list[str]:
    """``--init`` as the override that it is short for, and those of ``--set``, which come last.

    Raises:
        UserError: a model of the hub cannot be had, or brings no image network.
    """
    if init is not None and init.startswith(HUB):
        init = str(find_tower(init))
    return [*([] if init is None else [f"cnn.init={json.dumps(init)}"]), *(given or [])]


def parse_workers(text: str, option: str = "--workers") -> int | Literal["auto"]:
    """``auto``, or a number from 1.

    Raises:
        UserError: for anything else.
    """
    if text == "auto":
        return "auto"
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise UserError(f"{option} takes a number from 1, or auto; got {text!r}")


def engine_device(device: str, engine: str) -> str:
    """The device on which an engine's workers compute; Ray's may have a GPU where this machine has none.

    Raises:
        UserError: for a device that is not there.
    """
    if engine == "ray" and device in ("cpu", "cuda"):
        return device
    from mmposter.engines.device import resolve_device

    return resolve_device(device)
