"""How a model of the Hugging Face hub is called: ``hf://ORG/NAME``, with ``@REVISION`` where one is meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from mmposter.errors import UserError
from mmposter.files.strict_json import shown

HUB = "hf://"
"""What the address of a model of the hub begins with."""

SHORT = 12
"""Digits of a commit that a person reads."""

# The hub's own rules for names; a revision is a branch, a tag or a commit, and becomes a path in the cache.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?\Z")
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]{0,198}[A-Za-z0-9_-])?\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_FORM = f"a model of the Hugging Face hub is {HUB}ORG/NAME, or {HUB}ORG/NAME@REVISION with a branch, a tag or a commit"


class HubModel(NamedTuple):
    """A repository of the hub, and which state of it; without a revision the newest of its main branch."""

    repository: str  # ORG/NAME
    revision: str | None = None

    @property
    def commit(self) -> str | None:
        """The revision where it is a whole commit (40 hex digits), which never changes."""
        return self.revision if self.revision is not None and _COMMIT.match(self.revision) else None

    @property
    def name(self) -> str:
        """For a file name and a table: ``NAME``, and ``NAME@0123456789ab`` where the commit is known."""
        name = self.repository.rpartition("/")[2]
        return name if self.commit is None else f"{name}@{self.commit[:SHORT]}"

    def __str__(self) -> str:
        """The address, as a person types it."""
        return f"{HUB}{self.repository}" + ("" if self.revision is None else f"@{self.revision}")


def parse_address(text: str, revision: str | None = None) -> HubModel:
    """Read ``hf://ORG/NAME@REVISION``; the beginning ``hf://`` may be left out.

    Args:
        text: the address.
        revision: in place of ``@REVISION``.

    Raises:
        UserError: it is none, or gives two revisions.

    >>> parse_address("hf://films/genres@v2")
    HubModel(repository='films/genres', revision='v2')
    """
    name, at, given = text.removeprefix(HUB).partition("@")
    if at and revision is not None:
        raise UserError(f"{shown(text)} and revision={shown(revision)} give a revision twice; give one of them")
    found = HubModel(name, given if at else revision)
    parts = name.split("/")
    if len(parts) != 2 or not all(_NAME.match(part) and "--" not in part and ".." not in part for part in parts):
        raise UserError(f"{shown(text)} cannot be read: {_FORM}")
    if found.revision is not None and not _is_revision(found.revision):
        raise UserError(f"{shown(found.revision)} is no branch, tag or commit: {_FORM}")
    return found


def looks_like_a_name(text: str) -> bool:
    """Whether a text has the form ``ORG/NAME``, which a folder may have, too."""
    parts = text.partition("@")[0].split("/")
    return len(parts) == 2 and all(_NAME.match(part) for part in parts)


def snapshot_of(folder: Path) -> HubModel | None:
    """The model of the hub whose files lie in `folder` of the Hugging Face cache; None for any other folder.

    >>> snapshot_of(Path("hub/models--films--genres/snapshots") / ("0" * 40)).repository
    'films/genres'
    """
    place = folder.absolute()
    home = place.parent.parent.name
    kind, _, name = home.partition("--")
    if place.parent.name != "snapshots" or kind != "models" or not _COMMIT.match(place.name):
        return None
    org, _, name = name.partition("--")
    return HubModel(f"{org}/{name}", place.name) if org and name else None


def _is_revision(text: str) -> bool:
    return bool(_REVISION.match(text)) and not any(part in ("", ".", "..") for part in text.split("/"))
