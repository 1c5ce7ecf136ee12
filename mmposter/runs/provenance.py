"""Which mmposter made a result: its version, and the commit of its source where there is one."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from mmposter.engines.libraries import installed_version

_SOURCE = ("mmposter", "fusion", "detectors", "configs")
_SECONDS = 20


def package_version(name: str = "mmposter") -> str:
    """Version of an installed package; "not installed" where it is not, or only its source lies on the path."""
    return installed_version(name) or "not installed"


@cache
def source_commit() -> str | None:
    """The git commit (12 digits) of the checkout that this mmposter is imported from, ``+changes`` if it was edited.

    Edited means: a file below mmposter, fusion, detectors or configs was changed or added since the commit. None for
    an mmposter that was installed as a copy, or where git is not there.
    """
    return commit_of(Path(__file__).resolve().parents[1])


def commit_of(root: Path) -> str | None:
    """`source_commit` of the source tree `root`."""
    # A copy in the virtual environment of somebody else's repository is not part of that repository's commit.
    tracked = _git(root, "ls-files", "--error-unmatch", "mmposter/__init__.py")
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *(name for name in _SOURCE if (root / name).exists()))
    if tracked is None or commit is None or changes is None:
        return None
    return commit[:12] + ("+changes" if changes else "")


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, or None where it fails or is not there."""
    # GIT_DIR and its like, set inside a hook, would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"  # a look must not disturb somebody's own git command
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
