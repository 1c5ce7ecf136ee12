"""A model of the hub, downloaded once into the Hugging Face cache; from there it is used without a network, too.

A repository may be a stranger's. The files of a model are asked for by name and nothing else is, so a pickle beside
them is never touched. Their sizes are known, and bounded, before the first byte; weights are compared with the checksum
that the hub states. What is in them is read as any run folder is, as data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmposter.errors import UserError
from mmposter.files.disk import disk_error
from mmposter.files.plain import MEGABYTE
from mmposter.files.strict_json import shorten
from mmposter.hub.address import SHORT, HubModel
from mmposter.hub.files import FILES, LARGEST, MODEL, NEEDED
from mmposter.objects import offline as offline_by_environment
from mmposter.progress import say

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

_SECONDS = 20.0  # until the hub must have answered


def download(model: HubModel, *, offline: bool = False) -> Path:
    """The run folder of a model of the hub, in the Hugging Face cache.

    Without a revision the newest state is taken, and its commit is said. A state that is named by its whole commit is
    asked for once: it cannot change.

    Args:
        model: which one.
        offline: ask no network, as with ``HF_HUB_OFFLINE=1``: what is in the cache is taken.

    Raises:
        UserError: there is no such model, it is no model of mmposter, is too large, or cannot be fetched now; with what
            to do.
        OSError: the cache cannot be written.
    """
    if offline or is_offline():
        if (found := _cached(model)) is None:
            raise UserError(
                f"{model} is not on this machine, and the network may not be asked.\n"
                "Type the same command once without --offline (and without HF_HUB_OFFLINE), with a network"
            )
        return _told(model, found)
    if model.commit is not None and (found := _cached(model)) is not None:
        return found
    try:
        commit, files = _look(model)
    except Exception as error:  # of whichever network library is below
        plain = hub_error(error, model)
        if is_answer(error) or (found := _cached(model)) is None:
            raise plain from error
        say(f"the Hugging Face hub does not answer: taking {model} as it was downloaded before")
        return _told(model, found)
    there = HubModel(model.repository, commit)
    _require_model(there, files)
    try:
        folder = _fetch(model, there, files)
    except Exception as error:
        if isinstance(error, UserError) or disk_error(error) is not None:
            raise
        raise hub_error(error, model) from error
    return _told(model, folder)


def is_offline() -> bool:
    """Whether a person, or ``--offline``, has told the library below us to stay off the network."""
    from huggingface_hub import constants

    # The library reads the environment when it is loaded, which may have been before --offline was read.
    return constants.HF_HUB_OFFLINE or offline_by_environment()


def hub_api() -> HfApi:
    """The hub, or what stands in for it at ``HF_ENDPOINT``."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint(), library_name="mmposter")


def is_answer(error: Exception) -> bool:
    """Whether the hub has answered, and not an idle line or an overloaded server."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)


def hub_error(error: Exception, model: HubModel) -> UserError:
    """What a person should read of an error of the hub, or of the way there."""
    from huggingface_hub import errors

    log_in = "log in with: hf auth login (or set HF_TOKEN)"
    name = model.repository
    if isinstance(error, UserError):
        return error
    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{name} is only for people to whom its owner gave access: ask for it on its page, then {log_in}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(
            f"{name} has no branch, tag or commit {model.revision!r} on the Hugging Face hub; check the name"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"the Hugging Face hub has no model {name} that you may see.\nCheck the name; if it is private, {log_in}"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return UserError(f"the Hugging Face hub does not let you do that with {name} ({status}); {log_in}")
    what = shorten(" ".join(f"{type(error).__name__}: {error}".split()))
    return UserError(
        f"the Hugging Face hub ({_endpoint() or 'huggingface.co'}) could not be used for {name} ({what}).\n"
        "Check the network and try again, or get the files another way and name their folder"
    )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _look(model: HubModel) -> tuple[str, Mapping[str, RepoFile]]:
    """The commit that is meant, and which of our files it has. The rest of the repository is not even listed."""
    from huggingface_hub.hf_api import RepoFile

    api = hub_api()
    commit = api.model_info(model.repository, revision=model.revision, expand=["sha"], timeout=_SECONDS).sha
    there = HubModel(model.repository, commit)
    if there.commit is None:
        raise ValueError(f"it names no commit, but {shorten(repr(commit))}")
    found = api.get_paths_info(model.repository, list(FILES), revision=there.commit)
    return there.commit, {one.path: one for one in found if isinstance(one, RepoFile) and one.path in FILES}


def _require_model(model: HubModel, files: Mapping[str, RepoFile]) -> None:
    """Refuse what is no model of ours, and sizes that none has, before anything is downloaded."""
    if lacking := [name for name in NEEDED if name not in files]:
        raise UserError(
            f"{model} is no model of mmposter: it has no {' and no '.join(lacking)}.\n"
            "Such a model is made with: mmposter push RUN ORG/NAME"
        )
    for name, limit in FILES.items():
        size = files[name].size if name in files else 0
        if not isinstance(size, int) or not 0 <= size <= limit:
            raise UserError(
                f"{model} is refused: its {name} has {size:,} bytes, and such a file has at most {limit:,}.\n{_BY_HAND}"
            )
    if (total := sum(one.size for one in files.values())) > LARGEST:
        raise UserError(
            f"{model} is refused: its files have {total:,} bytes together, allowed are {LARGEST:,}.\n{_BY_HAND}"
        )


_BY_HAND = (
    "If you know who made it, get its files yourself (hf download ORG/NAME --local-dir FOLDER) and name the folder"
)


def _fetch(model: HubModel, there: HubModel, files: Mapping[str, RepoFile]) -> Path:
    """Download what the cache lacks; the folder there.

    The last file is asked for by the revision as it was named, so that the cache remembers which commit that was.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    cache, folder = constants.HF_HUB_CACHE, None
    wanted = [name for name in FILES if name in files]
    have = {
        name
        for name in wanted
        if isinstance(try_to_load_from_cache(there.repository, name, cache_dir=cache, revision=there.commit), str)
    }
    if missing := [name for name in wanted if name not in have]:
        size = sum(files[name].size for name in missing) / MEGABYTE
        say(f"downloading {there.repository}, commit {str(there.commit)[:SHORT]} ({size:.1f} MB)")
    for name in wanted:
        revision = model.revision if name == MODEL else there.commit
        path = Path(
            hf_hub_download(
                there.repository,
                name,
                revision=revision,
                cache_dir=cache,
                endpoint=_endpoint(),
                library_name="mmposter",
                etag_timeout=_SECONDS,
            )
        )
        if name in missing:
            _require_whole(path, files[name])
        if folder is not None and path.parent != folder:
            raise UserError(f"{model} was changed while it was downloaded; type the same command again")
        folder = path.parent
    assert folder is not None  # NEEDED are among them
    return folder


def _require_whole(path: Path, stated: RepoFile) -> None:
    """Refuse a file that is another than the hub stated; nothing of it is left in the cache."""
    import hashlib

    problem = None
    if path.stat().st_size != stated.size:
        problem = f"it has {path.stat().st_size:,} bytes, stated were {stated.size:,}"
    elif stated.lfs is not None:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != stated.lfs.sha256:
                problem = "its checksum is not the stated one"
    if problem is not None:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise UserError(f"{path.name} was damaged on its way from the hub ({problem}).\nType the same command again")


def _cached(model: HubModel) -> Path | None:
    """The folder of a model in the cache, where all of it is there."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = [
        try_to_load_from_cache(model.repository, name, cache_dir=constants.HF_HUB_CACHE, revision=model.revision)
        for name in NEEDED
    ]
    return Path(found[0]).parent if all(isinstance(path, str) for path in found) else None  # type: ignore[arg-type]


def _told(model: HubModel, folder: Path) -> Path:
    """Say which commit a name meant today; where a person typed the commit there is nothing to say."""
    if model.commit is None:
        say(f"{model} is commit {folder.name}; to get the same one again: {HubModel(model.repository, folder.name)}")
    return folder
