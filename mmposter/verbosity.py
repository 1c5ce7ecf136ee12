"""How much a command prints: ``--quiet``, the default, or ``--verbose``. One place that everything asks."""

from __future__ import annotations

from enum import IntEnum


class Verbosity(IntEnum):
    """From the least to the most."""

    QUIET = 0  # the result alone, and what a person must act on
    DEFAULT = 1  # the headline numbers
    VERBOSE = 2  # every number and how to read it


_current = Verbosity.DEFAULT


def verbosity() -> Verbosity:
    """What the running command was asked for."""
    return _current


def set_verbosity(level: Verbosity) -> None:
    """Decide for all that is printed from now on."""
    global _current
    _current = level
