"""What a description of a network (a ``config.json``) may ask for: sizes that networks have, and no code.

Descriptions travel in run folders, and may come from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# By these keys transformers takes other code than its own: kernels from the hub, quantisers, or classes of the model's.
_CODE = re.compile(r"_?(attn|experts|kernels?)_implementation\w*|auto_map|use_kernels|quantization_config")
_FETCHED = "use_pretrained_backbone"  # a network inside the network, whose weights would be fetched

_LARGEST = 10_000_000
_DEEPEST = 1_000
_DEPTH = re.compile(r"layers?$|depths?$|blocks?$", re.IGNORECASE)


def without_code(config: Mapping[str, Any]) -> dict[str, Any]:
    """A description without the keys that choose code, and that fetch nothing when it is built."""
    kept = {key: value for key, value in config.items() if not _CODE.fullmatch(key)}
    return {
        key: False if key == _FETCHED else without_code(value) if isinstance(value, Mapping) else value
        for key, value in kept.items()
    }


def require_no_code(config: Mapping[str, Any]) -> None:
    """Refuse a description that chooses code; ``auto_map`` may stand there, as it is never followed.

    Raises:
        ValueError: naming the first key.
    """
    for key, value in config.items():
        harmless = value is None or isinstance(value, bool) or (isinstance(value, str) and value.isidentifier())
        if _CODE.fullmatch(key) and key != "auto_map" and not (harmless and key != "use_kernels"):
            raise ValueError(f"{key} asks for code or kernels that are not transformers' own")
        if isinstance(value, Mapping):
            require_no_code(value)


def require_modest(config: Mapping[str, Any]) -> None:
    """Refuse sizes that no network has, before one is built.

    Raises:
        ValueError: naming the first key.
    """
    for key, value in _numbers(config, ""):
        most = _DEEPEST if _DEPTH.search(key) else _LARGEST
        if abs(value) > most:
            raise ValueError(f"{key} may be {most:,} at most, got {value:,}")


def _numbers(value: Any, key: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, int):
        yield key, value
