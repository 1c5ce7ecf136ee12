"""Commands whose paths may be links into an object store: they work with copies, which are sent when they end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from mmposter.engines import launched
from mmposter.errors import UserError
from mmposter.objects import link_of
from mmposter.progress import warn

Command = TypeVar("Command", bound=Callable[..., Any])


def takes_links(command: Command) -> Command:
    """A command that gets the path of a copy where it was given a link; it has the same arguments and help."""

    @wraps(command)
    def with_copies(*args: Any, **kwargs: Any) -> Any:
        done = False
        try:
            result = command(*map(_here, args), **{name: _here(value) for name, value in kwargs.items()})
            done = True
            return result
        finally:
            _send(quietly=not done)

    return with_copies  # type: ignore[return-value]


def _here(value: Any) -> Any:
    if isinstance(value, list):
        return [_here(one) for one in value]
    if not isinstance(value, Path) or (link := link_of(value)) is None:
        return value
    from mmposter.mirrors import local_copy

    return local_copy(link)


def _send(*, quietly: bool) -> None:
    """Send what the command has written; where it failed, what it says comes last."""
    mirrors = sys.modules.get("mmposter.mirrors")
    if mirrors is None or launched.follows():
        return
    try:
        mirrors.send_all()
    except UserError as error:
        if not quietly:
            raise
        warn(str(error))
