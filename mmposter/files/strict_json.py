"""JSON as it may come from a stranger: bounded, finite, and never a traceback.

Everything that a file of ours says as JSON is read here. A file may be damaged or made to harm: too large, nested
deeper than Python can follow, with numbers that no float holds. Each of these is one message that names the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from mmposter.errors import UserError
from mmposter.files.plain import MEGABYTE, read_plain

LIMIT = 64 * MEGABYTE
"""Bytes of a JSON file; ours have a few megabytes at most."""

DEPTH = 64
"""How many lists and objects may lie in each other; ours have less than ten."""

_LARGEST = 2**64
_MEND = "mend the file, or make it again"
_SHOWN = 300


def read_json(path: str | Path, *, limit: int = LIMIT, mend: str = _MEND) -> Any:
    """The plain values of a JSON file.

    Args:
        mend: what to do about a damaged one, for the message.

    Raises:
        UserError: it cannot be read, is larger, or holds what `parse_json` refuses.
    """
    return parse_json(read_text(path, limit=limit, mend=mend), path, mend=mend)


def parse_json(text: str | bytes, where: str | Path, *, mend: str = _MEND) -> Any:
    """The plain values of a JSON text.

    Args:
        text: as text, or as its bytes in UTF-8.

    Raises:
        UserError: no JSON; NaN, infinity or a whole number beyond 64 bits; nested deeper than `DEPTH`; letters that are
            no text.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        values = json.loads(text, parse_float=_finite, parse_int=_whole, parse_constant=_no_number)
        require_plain(values)
    except (ValueError, RecursionError) as error:
        raise damaged(where, error, mend) from error
    return values


def read_text(path: str | Path, *, limit: int = LIMIT, mend: str = _MEND) -> str:
    """The UTF-8 text of a plain file of at most `limit` bytes.

    Raises:
        UserError: it is no plain file, cannot be read, is larger, or is no UTF-8.
    """
    content = read_plain(path, limit=limit, mend=mend)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read as UTF-8 text ({error}); {mend}") from error


def damaged(where: str | Path, error: Exception, mend: str = _MEND) -> UserError:
    """The message about a file whose values are not those that it should hold."""
    return UserError(f"{where} is damaged ({type(error).__name__}: {shorten(str(error))}); {mend}")


@contextmanager
def sound(where: str | Path, mend: str = _MEND) -> Iterator[None]:
    """Around what makes objects of a file's values: where one has another type or size, the file is damaged.

    Raises:
        UserError: in place of whatever Python says of such a value.
    """
    try:
        yield
    # RuntimeError: a deep recursion, and what torch says of tensors that do not fit.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise damaged(where, error, mend) from error


def require_plain(values: Any) -> None:
    """Refuse what a text may say and nobody should have to walk: deep nesting, numbers beyond 64 bits, half letters.

    Raises:
        ValueError: there is some of it.
    """
    level, depth = [values], 0
    while level:
        if depth > DEPTH:
            raise ValueError(f"more than {DEPTH} lists and objects lie in each other")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str):
                if not value.isascii():
                    value.encode("utf-8")  # a UnicodeEncodeError, which is a ValueError, for half a pair of surrogates
            elif isinstance(value, int) and abs(value) >= _LARGEST:
                raise ValueError("a whole number there is more than 64 bits hold")
        level, depth = inner, depth + 1


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """`value`, which must be an object of JSON (ValueError: it is none)."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be an object, got {shown(value)}")
    return value


def text(value: Any, what: str) -> str:
    """`value`, which must be a text (ValueError: it is none)."""
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a text, got {shown(value)}")
    return value


def texts(value: Any, what: str) -> tuple[str, ...]:
    """`value`, which must be a list of texts (ValueError: it is none)."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{what} must be a list of texts, got {shown(value)}")
    return tuple(value)


def whole(value: Any, what: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
    """`value`, which must be a whole number from `least` to `most` (ValueError: it is none)."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, got {shown(value)}")
    return value


def number(value: Any, what: str) -> float:
    """`value`, which must be a finite number (ValueError: it is none)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} must be a number, got {shown(value)}")
    return float(value)


def shown(value: Any) -> str:
    """How a message shows a value that may be huge."""
    # Not the whole of a long list: its text alone could fill the memory.
    if isinstance(value, list | tuple | set | Mapping) and len(value) > _SHOWN:
        return f"a {type(value).__name__} of {len(value)}"
    return shorten(repr(value))


def shorten(text: str) -> str:
    """A text for a message, cut where it gets long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shorten(text)} is more than a number can be")
    return value


def _whole(text: str) -> int:
    if len(text) > 21 or abs(int(text)) >= _LARGEST:
        raise ValueError(f"{shorten(text)} is more than a whole number can be")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
