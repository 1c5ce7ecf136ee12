"""`mmposter doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.progress import make_console

if TYPE_CHECKING:
    from mmposter.readiness.doctor import Diagnosis, ModelState

_COLOURS = {"ready": "green", "downloads": "yellow", "missing": "red"}


def doctor_command(json_output: opt.Json = False) -> None:
    """Say what this machine can do: devices, branches and what they lack, versions. Asks no network.

    Example:

      mmposter doctor
    """
    from mmposter.readiness.doctor import diagnose

    found = diagnose()
    if json_output:
        answer_json(found.to_json())
    else:
        _show(found, make_console())


def _show(found: Diagnosis, console: Console) -> None:
    facts = Table(show_header=False, box=None)
    extras = [f"{name} {'yes' if here else 'no'}" for name, here in found.extras.items()]
    for name, value in (
        ("mmposter", found.version),
        ("Python", found.python),
        ("devices", "; ".join(found.devices)),
        ("cores, memory, free disk", f"{found.cores}, {_gib(found.memory)}, {_gib(found.disk)}"),
        ("--workers auto", str(found.workers)),
        ("libraries", ", ".join(f"{name} {version}" for name, version in found.libraries.items())),
        ("extras", ", ".join(extras)),
    ):
        facts.add_row(Text(name, style="bold"), Text(value))
    console.print(facts)
    if found.model is not None:
        console.print(_model_table(found.model))
    for recipe, branches in found.branches.items():
        table = Table(title=f"branches, --config {recipe}", title_justify="left", title_style="bold")
        for column in ("branch", "state", "files, or what to type"):
            table.add_column(column)
        for branch in branches:
            table.add_row(branch.branch, Text(branch.state, style=_COLOURS[branch.state]), Text(branch.message))
        console.print(table)


def _model_table(model: ModelState) -> Table:
    score = "" if model.score is None else f": {model.split} mAP {model.score:.3f} with all branches"
    table = Table(title=f"branches, --model {model.name}{score}", title_justify="left", title_style="bold")
    for column in ("branch", "state", "mAP without it", "files, or what to type"):
        table.add_column(column)
    for branch in model.branches:
        state = Text("ready", style="green") if branch.state == "ready" else Text("left out", style="yellow")
        without = f"{model.without[branch.branch]:.3f}" if branch.branch in model.without else "–"
        table.add_row(branch.branch, state, without, Text(branch.message))
    return table


def _gib(count: int) -> str:
    return f"{count / 2**30:.0f} GiB"
