"""What travels with the package: the trained model `posters`, and the benchmark pack.

A model is a run folder here, as `mmposter train` writes it. Where a run is asked for, its name is as good as a path,
and so is the address of a model of the Hugging Face hub.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from mmposter.errors import UserError
from mmposter.files.strict_json import read_json, sound, text
from mmposter.hub.address import HUB, parse_address, snapshot_of
from mmposter.objects import is_object

POSTERS = "posters"
"""The model that is used where none is named."""

BENCHMARK = "benchmark"
"""The pack that travels with mmposter."""

# Kept as text, not imported from mmposter.runs.run: the look-up of a name should not wait for torch.
_MODEL, _TOWER = "model.json", "tower.safetensors"


class ShippedTower(NamedTuple):
    """The image network of `posters`: its name and its weights."""

    backbone: str
    file: Path


def shipped_models() -> list[str]:
    """Names of the models in this build; a build without the files has none."""
    return sorted(path.parent.name for path in _folder().glob(f"*/{_MODEL}"))


def shipped_model(name: str = POSTERS) -> Path:
    """The run folder of a model that travels with the package.

    Raises:
        UserError: this build has no model of that name.
    """
    known = shipped_models()
    if name not in known:
        has = f"it has {', '.join(known)}" if known else "it came without any"
        raise UserError(
            f"this build of mmposter has no model {name!r} ({has}). Name a run folder (./{name} if it is called so); "
            "make one with: mmposter train DATA --out RUN"
        )
    return _folder() / name


def find_run(run: str | Path, *, offline: bool = False) -> Path:
    """A run folder by the name of a shipped model, by an address of the Hugging Face hub, or as a path.

    Args:
        run: ``posters`` as a text is the shipped model, ``hf://ORG/NAME`` or ``hf://ORG/NAME@REVISION`` a model of the
            hub, which is downloaded once; ``s3://BUCKET/RUN`` a run in an object store, of which a copy is kept.
            Everything else is a path, ``./posters`` and ``Path("posters")`` among them.
        offline: a model of the hub is taken from the cache, or refused.

    Raises:
        UserError: the name of a model that this build does not have; a model of the hub that cannot be had.
    """
    if is_object(run):
        from mmposter.mirrors import local_copy

        return local_copy(run)
    if isinstance(run, str) and run.startswith(HUB):
        from mmposter.hub.download import download

        return download(parse_address(run), offline=offline)
    if isinstance(run, str) and (run == POSTERS or run in shipped_models()):
        return shipped_model(run)
    return Path(run)


def find_tower(run: str | Path, *, offline: bool = False) -> Path:
    """The file with the image network of a run, named as for `find_run`.

    Raises:
        UserError: as `find_run`, or the run brings no image network.
    """
    file = find_run(run, offline=offline) / _TOWER
    if not file.is_file():
        raise UserError(f"{run} has no {_TOWER}: it brings no image network to begin with; name another one")
    return file


def is_shipped(folder: Path) -> bool:
    """Whether a run folder is one of the package's own, which nobody should write into."""
    return folder.resolve().parent == _folder().resolve()


def is_borrowed(folder: Path) -> bool:
    """Whether a run folder is the package's, or lies in the cache of the hub: results belong elsewhere."""
    return is_shipped(folder) or snapshot_of(folder) is not None


def run_name(folder: Path) -> str:
    """What a run is called in results and as a part of file names: its folder's name.

    Of a model of the hub, whose folder is called after its commit, it is ``NAME@0123456789ab``.
    """
    known = snapshot_of(folder)
    return folder.resolve().name if known is None else known.name


def shipped_tower() -> ShippedTower | None:
    """The image network of `posters`; None where this build came without it."""
    from mmposter.branches.cnn import NAME as CNN  # not above: it loads pydantic, and every command reads this file

    folder = _folder() / POSTERS
    if not (folder / _MODEL).is_file() or not (folder / _TOWER).is_file():
        return None
    with sound(folder / _MODEL, "install mmposter again"):
        config = read_json(folder / _MODEL)["config"]
        return ShippedTower(text(config[CNN]["backbone"], f"{CNN}.backbone"), folder / _TOWER)


def _folder() -> Path:
    return Path(str(resources.files(__name__)))
