"""Safetensors files as they may come from a stranger: what they hold is known before any of it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmposter.errors import UserError
from mmposter.json_files import shorten

if TYPE_CHECKING:
    from torch import Tensor

    Shapes = Mapping[str, tuple[int, ...]]

_LARGEST_HEADER = 32_000_000  # bytes; a network of a thousand layers has some hundred thousand
_SHOWN = 3


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, read from the header alone.

    Raises:
        UserError: it is no safetensors file.
    """
    return _header(file)[0]


def tensor_metadata(file: Path) -> dict[str, str]:
    """What the file says beside its tensors.

    Raises:
        UserError: it is no safetensors file.
    """
    return _header(file)[1]


def load_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors, on the CPU.

    Raises:
        UserError: it is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_header(file)
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise _unreadable(file, error) from error
    return tensors


def require_shapes(file: Path, wanted: Shapes, what: str) -> None:
    """Refuse a file whose tensors are not those of a model, before either takes memory.

    Args:
        file: safetensors.
        wanted: the shape of every tensor of the model.
        what: whose weights they should be.

    Raises:
        UserError: naming some that are missing, that nobody asked for, or that have another shape.
    """
    found = tensor_shapes(file)
    problems = {
        "missing": [key for key in wanted if key not in found],
        "unknown": [key for key in found if key not in wanted],
        "of another shape": [key for key in wanted if key in found and tuple(found[key]) != tuple(wanted[key])],
    }
    said = [
        f"{len(keys)} {how} ({', '.join(map(shorten, keys[:_SHOWN]))}{', ...' * (len(keys) > _SHOWN)})"
        for how, keys in problems.items()
        if keys
    ]
    if said:
        raise UserError(f"{file} does not hold {what}: {'; '.join(said)}")


def count_numbers(file: Path) -> int:
    """How many numbers the tensors of the file have together.

    Raises:
        UserError: it is no safetensors file.
    """
    return sum(math.prod(shape) for shape in tensor_shapes(file).values())


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    _require_header(file)
    try:
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()
            shapes = {name: tuple(int(side) for side in opened.get_slice(name).get_shape()) for name in names}
            return shapes, dict(opened.metadata() or {})
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(file, error) from error


def _require_header(file: Path) -> None:
    """Refuse a header that is longer than the file, or than any network's: the library would read all of it."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
    except OSError as error:
        raise _unreadable(file, error) from error
    if size > min(_LARGEST_HEADER, file.stat().st_size):
        raise UserError(f"{file} cannot be read as safetensors (its header would have {size:,} bytes)")


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} cannot be read as safetensors ({shorten(str(error))})")
