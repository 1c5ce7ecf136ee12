"""Safetensors files as they may come from a stranger: what they hold is known before any of it is loaded.

Those that we write carry a CRC-32 of their tensors among their metadata. Bits that flip on a disk leave weights that
look like weights; only a checksum shows them. A file without one, such as those of earlier versions, is read as it is.
"""

from __future__ import annotations

import math
import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path
from mmposter.files.strict_json import shorten

if TYPE_CHECKING:
    from torch import Tensor

    Shapes = Mapping[str, tuple[int, ...]]

_CHECKSUM, _UNKNOWN = "crc32", "00000000"
_LARGEST_HEADER = 32_000_000  # bytes; a network of a thousand layers has some hundred thousand
_SHOWN = 3


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, read from the header alone (UserError: it is no safetensors file)."""
    return _header(file)[0]


def tensor_metadata(file: Path) -> dict[str, str]:
    """What the file says beside its tensors (UserError: it is no safetensors file)."""
    return _header(file)[1]


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file, atomically, with the checksum of its tensors: on any device, also two that share their memory."""
    from safetensors.torch import save_file

    plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with atomic_path(file) as temporary:
        save_file(plain, temporary, metadata={**(metadata or {}), _CHECKSUM: _UNKNOWN})
        with temporary.open("r+b") as stream:
            start, known = _data_start(temporary), f'"{_CHECKSUM}":"'.encode()
            stream.seek(stream.read(start).index(known) + len(known))
            stream.write(f"{file_crc32(temporary, start):08x}".encode())


def load_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors, on the CPU (UserError: it is no safetensors file, or has another checksum than it says)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    said = tensor_metadata(file).get(_CHECKSUM)
    if said is not None and said != f"{file_crc32(file, _data_start(file)):08x}":
        raise UserError(
            f"{file} is damaged: its bytes are not those that were written (the checksum differs). Copy it again from "
            "where it came, or make it again"
        )
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise _unreadable(file, error) from error
    return tensors


def require_shapes(file: Path, wanted: Shapes, what: str) -> None:
    """Refuse a file whose tensors are not those of a model, before either takes memory.

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
    """How many numbers the tensors of the file have together (UserError: it is no safetensors file)."""
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
        size = _data_start(file) - 8
    except OSError as error:
        raise _unreadable(file, error) from error
    if size > min(_LARGEST_HEADER, file.stat().st_size):
        raise UserError(f"{file} cannot be read as safetensors (its header would have {size:,} bytes)")


def _data_start(file: Path) -> int:
    """Where the tensors begin, said by the first eight bytes: the length of the header behind them."""
    with file.open("rb") as stream:
        return 8 + int.from_bytes(stream.read(8), "little")


def file_crc32(file: Path, start: int = 0) -> int:
    """CRC-32 of the bytes of a file from `start` on."""
    with file.open("rb") as stream:
        if file.stat().st_size <= start:  # nothing that could be mapped
            return 0
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        with data, memoryview(data) as view, view[start:] as tensors:
            return zlib.crc32(tensors)


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} cannot be read as safetensors ({shorten(str(error))})")
