"""`mmposter doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.cli.summary import Summary
from mmposter.document.blocks import Emphasis, TableBlock

if TYPE_CHECKING:
    from mmposter.readiness.doctor import Diagnosis, ModelState

_COLOURS: dict[str, Emphasis] = {"ready": "good", "downloads": "unsure", "missing": "bad"}


def doctor_command(json_output: opt.Json = False) -> None:
    """Show what this machine can do: devices, branches and what is missing for them, versions. No network access.

    Example:

      mmposter doctor
    """
    from mmposter.readiness.doctor import diagnose

    found = diagnose()
    if json_output:
        answer_json(found.to_json())
    else:
        _show(found, Summary())


def _show(found: Diagnosis, shown: Summary) -> None:
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
        shown.answer(f"{name}: {value}")
    if found.model is not None:
        shown.answer(_model_table(found.model))
    for recipe, branches in found.branches.items():
        rows = [[branch.branch, branch.state, branch.message] for branch in branches]
        colours: dict[tuple[int, int | None], Emphasis] = {
            (at, 1): _COLOURS[branch.state] for at, branch in enumerate(branches)
        }
        header = ["branch", "state", "files, or what to type"]
        shown.answer(TableBlock(f"branches, --config {recipe}", header, rows, "lll", colours))


def _model_table(model: ModelState) -> TableBlock:
    score = "" if model.score is None else f": {model.split} mAP {model.score:.3f} with all branches"
    rows = []
    colours: dict[tuple[int, int | None], Emphasis] = {}
    for at, branch in enumerate(model.branches):
        ready = branch.state == "ready"
        colours[at, 1] = "good" if ready else "unsure"
        without = f"{model.without[branch.branch]:.3f}" if branch.branch in model.without else "–"
        rows.append([branch.branch, "ready" if ready else "left out", without, branch.message])
    header = ["branch", "state", "mAP without it", "files, or what to type"]
    return TableBlock(f"branches, --model {model.name}{score}", header, rows, "llrl", colours)


def _gib(count: int) -> str:
    return f"{count / 2**30:.0f} GiB"
