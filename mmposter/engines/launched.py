"""Processes that torchrun or `accelerate launch` started together, by the environment that they are given.

Nothing here loads torch: the command line asks before it knows whether there is anything to train.
"""

from __future__ import annotations

import os
import time

LAUNCHER_S = 5.0
"""A launcher needs this long, at most, to end the other processes when one has failed."""

_followers: list[int] = []  # the rank of this process, once it has said that it follows the main one


def world_size() -> int:
    """How many processes were started together; 1 where this one was started alone."""
    return max(1, _number("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


def rank() -> int:
    """The number of this process among them, from 0; 0 is the main one, which alone writes and prints."""
    return _number("RANK", 0) if world_size() > 1 else 0


def per_machine() -> int:
    """How many of them run on this machine."""
    return _number("LOCAL_WORLD_SIZE", world_size())


def by_torchrun() -> bool:
    """Whether torchrun, or what is built on it, started this process as one of several."""
    return world_size() > 1 and "TORCHELASTIC_RUN_ID" in os.environ


def is_alone_though_asked() -> bool:
    """Whether `accelerate launch --cpu` was asked for several processes, and started this one alone."""
    said = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in os.environ
    return said and world_size() == 1


def follow() -> bool:
    """Count this process as one of a training's; returns whether it follows the main one, and so keeps silent."""
    if rank() > 0 and not _followers:
        _followers.append(rank())
    return follows()


def follows() -> bool:
    """Whether this process keeps silent, because the main process of the same training speaks."""
    return bool(_followers)


def own_message(message: str) -> str:
    """What a process that follows says of an error: with its number, and only if the launcher lets it live so long.

    Most errors are those of all processes, and the main one says them; then the launcher ends this one meanwhile.
    """
    time.sleep(LAUNCHER_S)
    return f"process {rank()} of {world_size()}: {message}"


def _number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        return default
