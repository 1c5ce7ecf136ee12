"""The branches: one file each says all that the application needs of it (see `BranchDeclaration`).

Those from outside come from files that the person names (``mmposter --plugin FILE``) and from installed packages
(`mmposter.branches.plugins`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmposter.branches.base import BranchDeclaration
from mmposter.branches.plugins import load_named
from mmposter.branches.registry import (
    each_from_outside,
    forget,
    outside_branches,
    outside_names,
    own_branches,
    own_names,
    register,
    usual_names,
)
from mmposter.branches.settings import FROM_OUTSIDE
from mmposter.errors import UserError
from mmposter.files.strict_json import shown
from mmposter.suggest import did_you_mean

__all__ = [
    "BranchDeclaration",
    "branch_names",
    "declarations",
    "declared",
    "each_from_outside",
    "forget",
    "frozen_branches",
    "on_images",
    "outside_names",
    "own_names",
    "register",
    "usual_names",
]


def declarations() -> Mapping[str, BranchDeclaration]:
    """All branches in the one order: ours, then those from outside by name."""
    load_named()
    return {**own_branches(), **outside_branches()}


def branch_names() -> tuple[str, ...]:
    """The names of `declarations`."""
    return tuple(declarations())


def declared(name: str) -> BranchDeclaration:
    """The declaration of a branch.

    Raises:
        UserError: there is none of that name.
    """
    known = declarations()
    if name not in known:
        meant = did_you_mean(name, known)
        raise UserError(f"there is no branch {shown(name)}{meant}; allowed are {', '.join(known)}. {FROM_OUTSIDE}")
    return known[name]


def on_images(names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that look through the image network."""
    return tuple(name for name in names if declared(name).on_images)


def frozen_branches(names: Iterable[str], regime: str) -> tuple[str, ...]:
    """Those of `names` that frozen extractors stand before: all, but where the image network is a part of the model, as
    in the regime ``finetune``."""
    return tuple(name for name in names if regime == "features" or not declared(name).on_images)
