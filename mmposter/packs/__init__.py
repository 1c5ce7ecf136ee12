"""Packs: a prepared data set with its cached features in one small file, without any picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmposter.packs.read import find_data, open_pack
    from mmposter.packs.write import write_pack

__all__ = ["find_data", "open_pack", "write_pack"]

_HOMES = {"find_data": "read", "open_pack": "read", "write_pack": "write"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
