"""`mmposter push`: the files of a run become a commit of a repository on the Hugging Face hub."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mmposter.branches import declared, frozen_branches
from mmposter.branches.registry import own_names
from mmposter.config import Config, flat_config
from mmposter.errors import UserError
from mmposter.files.atomic import write_text
from mmposter.files.disk import disk_error
from mmposter.files.paths import is_a_path
from mmposter.files.plain import MEGABYTE
from mmposter.hub.address import HubModel, parse_address
from mmposter.hub.download import hub_api, hub_error, is_offline
from mmposter.hub.files import CARD, FILES, LARGEST, MODEL, SEEN, SUBSETS, TOWER, WEIGHTS
from mmposter.progress import say
from mmposter.runs.run import Run
from mmposter.sharing.card import card
from mmposter.shipped import find_run, is_shipped

UNKNOWN = "unknown"
"""The licence where nobody names one; the hub knows the word."""

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}\Z")


@dataclass(frozen=True)
class Pushed:
    """What `push_run` did, or would do."""

    model: HubModel  # the repository; its revision is the commit, or None where nothing was sent
    files: Mapping[str, int]  # bytes by name
    notes: tuple[str, ...]  # what is otherwise than in the run folder
    url: str | None  # of the commit
    card: str  # the README.md
    licence: str  # as the card says it


def push_run(
    run: str | Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    licence: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Upload a run's files to the hub, which makes the repository if there is none.

    Sent are the files that the model is used with (`mmposter.hub.files.FILES`) and a card, in one commit. Files of an
    earlier push that this run does not have are removed in the same commit; other files there are left alone.

    Args:
        run: a finished run folder, or the name of a shipped model.
        repository: ``ORG/NAME``.
        private: make a new repository that only its owner sees; one that is there stays as it is.
        revision: the branch, made where it is not there; None: the main one.
        licence: of the weights, as the hub calls it, such as ``mit``; None: ``unknown``, of a shipped model ``mit``.
        dry_run: send nothing.

    Raises:
        UserError: an unfinished run; a control; files or settings that nobody else has; no network, or no right to
            write there.
    """
    there = parse_address(repository, revision)
    loaded = Run.load(find_run(run))
    _refuse_control(loaded)
    licence = licence or ("mit" if is_shipped(loaded.folder) else UNKNOWN)
    if not _LICENCE.match(licence):
        raise UserError(f"--license takes an identifier of the hub, such as mit or cc-by-4.0; got {licence!r}")
    config, notes = _shared_config(loaded)
    page = card(replace(loaded, config=config), there.repository, licence)
    with tempfile.TemporaryDirectory(prefix="mmposter-push-") as temporary:
        folder = Path(temporary)
        files = _stage(loaded, config, page, folder)
        if dry_run:
            return Pushed(HubModel(there.repository), files, notes, None, page, licence)
        if is_offline():
            raise UserError("a push needs the network, and HF_HUB_OFFLINE forbids it.\nTake it out of the environment")
        try:
            commit, url = _send(there, folder, files, private=private)
        except Exception as error:  # of whichever network library is below
            if isinstance(error, UserError) or disk_error(error) is not None:
                raise
            raise hub_error(error, there) from error
    return Pushed(HubModel(there.repository, commit), files, notes, url, page, licence)


def _shared_config(run: Run) -> tuple[Config, tuple[str, ...]]:
    """The run's configuration without paths of this machine, and what was changed.

    Raises:
        UserError: what a path names is needed by whoever uses the model, and nobody else has it.
    """
    config, sections, notes = run.config, {}, []
    for name in own_names() + tuple(name for name in config.branches if name not in own_names()):
        declaration, section = declared(name), config.section(name)
        try:
            changes = declaration.for_others(config)
        except ValueError as error:
            if name in config.branches:
                raise UserError(f"{run.folder} cannot be pushed: {error}, and push that run") from error
            changes = declaration.section().model_dump()  # it is off
        sections[name] = section.model_copy(update=dict(changes))
        if name in config.branches:
            notes += [f"{name}.{key} is written as {value}, without its folder" for key, value in changes.items()]
    config = config.model_copy(update=sections)
    if _needs_tower(run) and not (run.folder / TOWER).is_file():
        raise UserError(
            f"{run.folder} has no {TOWER}, which its image network lies in: nobody else could use it.\nGet the run "
            "folder again, or train again, and push that run"
        )
    flat = flat_config(config.model_dump(mode="json"))
    if left := {key: value for key, value in flat.items() if isinstance(value, str) and _names_a_path(value)}:
        listed = ", ".join(f"{key}={value}" for key, value in left.items())
        raise UserError(
            f"{run.folder} names paths of this machine, which a push would show to everyone: {listed}.\nTrain with "
            "published names in their place, and push that run"
        )
    return config, tuple(notes)


def _refuse_control(run: Run) -> None:
    """A control shows what a branch is worth; `predict` refuses it, so nobody could use it."""
    config = run.config
    made = [f"shuffled={','.join(config.shuffled)}"] if config.shuffled else []
    found = [declared(name).control(config) for name in config.branches]
    made += [control[0] for control in found if control is not None]
    if made:
        raise UserError(
            f"{run.folder} is a control (trained with {' and '.join(made)}), not a model for use.\nPush a run without "
            "these settings"
        )


def _needs_tower(run: Run) -> bool:
    """Whether an image network stands in front of the model, and is no part of it."""
    return any(declared(name).on_images for name in frozen_branches(run.config.branches, run.config.regime))


def _names_a_path(text: str) -> bool:
    return is_a_path(text.removeprefix("hf/").removeprefix("timm/"))


def _stage(run: Run, config: Config, page: str, folder: Path) -> dict[str, int]:
    """Put the files as they will be sent into a folder; their sizes by name.

    Raises:
        UserError: one is larger than whoever downloads it would accept.
    """
    for name in (WEIGHTS, TOWER, SUBSETS, SEEN):
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)
    replace(run, folder=folder, config=config).save()
    write_text(folder / CARD, page)
    staged = Run.load(folder)  # what is sent can be used
    staged.subsets()
    sizes = {name: (folder / name).stat().st_size for name in FILES if (folder / name).is_file()}
    for name, size in sizes.items():
        if size > FILES[name]:
            raise UserError(f"{name} of {run.folder} has {size:,} bytes; a push takes at most {FILES[name]:,}")
    if sum(sizes.values()) > LARGEST:
        raise UserError(f"{run.folder} has {sum(sizes.values()):,} bytes; a push takes at most {LARGEST:,}")
    return sizes


def _send(there: HubModel, folder: Path, files: Mapping[str, int], *, private: bool) -> tuple[str, str]:
    """Make the repository and the branch where they are not there, and one commit; its number and address."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import RepoFile

    api, repository = hub_api(), there.repository
    api.create_repo(repository, private=private or None, exist_ok=True)
    if there.revision is not None:
        api.create_branch(repository, branch=there.revision, exist_ok=True)
    found = api.get_paths_info(repository, list(FILES), revision=there.revision)
    old = [one.path for one in found if isinstance(one, RepoFile) and one.path in FILES and one.path not in files]
    total = sum(files.values()) / MEGABYTE
    say(f"uploading {len(files)} files ({total:.1f} MB) to {repository}")
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files),
        *(CommitOperationDelete(path_in_repo=name) for name in old),
    ]
    message = f"A model of mmposter ({_branches(folder)})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it asks whether a Parquet file is meant
        done = api.create_commit(repository, operations, commit_message=message, revision=there.revision)
    return done.oid, done.commit_url


def _branches(folder: Path) -> str:
    known = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    return ", ".join(known["config"]["branches"])
