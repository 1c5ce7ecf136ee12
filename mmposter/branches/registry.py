"""Which branches there are: ours in the one order, and those from outside once they are registered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mmposter.branches import cnn, ocr, photo, style, yolo
from mmposter.branches.base import BranchDeclaration
from mmposter.errors import UserError
from mmposter.files.strict_json import shown

# In the order in which the fusion joins them.
_OURS: dict[str, BranchDeclaration] = {
    declaration.name: declaration for declaration in (cnn.BRANCH, style.BRANCH, yolo.BRANCH, ocr.BRANCH, photo.BRANCH)
}
_OUTSIDE: dict[str, BranchDeclaration] = {}
_LISTENERS: list[tuple[Callable[[BranchDeclaration], None], Callable[[str], None]]] = []
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# Keys of the configuration that are no branches, and names that mean something else to a run.
_TAKEN = (
    "branches",
    "regime",
    "seed",
    "shuffled",
    "fusion",
    "loss",
    "train",
    "evaluation",
    "tower",
    "image",
    "section",
)


def own_names() -> tuple[str, ...]:
    """Our branches, in the one order."""
    return tuple(_OURS)


def usual_names() -> tuple[str, ...]:
    """Those of our branches that are on where nothing is said."""
    return tuple(name for name, declaration in _OURS.items() if declaration.usual)


def own_branches() -> Mapping[str, BranchDeclaration]:
    """Our branches by name, in the one order."""
    return _OURS


def outside_branches() -> Mapping[str, BranchDeclaration]:
    """Those from outside that are loaded, by name."""
    return {name: _OUTSIDE[name] for name in outside_names()}


def outside_names() -> tuple[str, ...]:
    """The branches from outside that are loaded."""
    return tuple(sorted(_OUTSIDE))


def register(declaration: BranchDeclaration) -> None:
    """Add a branch from outside.

    Raises:
        UserError: it is no declaration, or its name is taken or cannot be one.
    """
    if not isinstance(declaration, BranchDeclaration):
        raise UserError(f"BRANCH must be an instance of BranchDeclaration; got {shown(type(declaration).__name__)}")
    name = getattr(declaration, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"the name of a branch has small letters, digits and _, 32 at most; got {shown(name)}")
    if name in _OURS or name in _OUTSIDE or name in _TAKEN:
        raise UserError(f"the name of a branch must be new; {name!r} is taken")
    if declaration.on_images:
        raise UserError(f"the branch {name} says on_images; only our own branches share the image network")
    _OUTSIDE[name] = declaration
    for came, _ in _LISTENERS:
        came(declaration)


def forget(name: str) -> None:
    """Take a branch from outside away again; configurations that were made with it keep its section."""
    if _OUTSIDE.pop(name, None) is not None:
        for _, went in _LISTENERS:
            went(name)


def each_from_outside(came: Callable[[BranchDeclaration], None], went: Callable[[str], None]) -> None:
    """Call `came` with every branch from outside, now and when it comes, and `went` with its name when it goes."""
    _LISTENERS.append((came, went))
    for declaration in _OUTSIDE.values():
        came(declaration)
