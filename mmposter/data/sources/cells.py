"""Cells of a table that hold several names: the one reader of all formats.

Lists are written in many ways: names parted by a sign, a list of Python or JSON, objects with a name as TMDB has them,
an array of numpy, a list of a Parquet file. Nothing is executed, and a cell costs no more than its length.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["cell_names"]

_SEPARATORS = re.compile(r"[|;,]")
# The key of an object that holds its name, in this order.
_NAME_KEYS = ("name", "genre", "genres", "label", "text")
# What is longer or deeper is no list of a poster's names. It is read as a plain text, whose odd names are then seen.
_LONGEST, _DEEPEST = 10_000, 5
# A quoted text, and whether another follows it at once. A backslash outside is taken with what it hides, so that a row
# of them is not looked through again from each of its quotes.
_QUOTED = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(\s*(?=['"]))?|\\.""", re.DOTALL)
# How numpy and Python write a thing that holds a list: array([...], dtype=object), frozenset({...}).
_CALL = re.compile(r"[A-Za-z_][\w.]*\(\s*([\[{(].*[\]})])\s*(?:,\s*dtype=[^\[\]{}()]*)?\)", re.DOTALL)


def cell_names(value: Any) -> tuple[str, ...]:
    """The names in a cell, each once, in the cell's order; () for one that is empty.

    A text that is no list is parted at ``|``, ``;`` and ``,``; one that begins as a list and cannot be read as one too,
    without its brackets and quotes. Of an object (``{"id": 18, "name": "Drama"}``) the name is taken, or where it has
    none all its texts (``{"18": "Drama"}``). Numbers are names as they are written: a caller that knows what they stand
    for leads them on.

    Args:
        value: a text, a list, an object, or None; what JSON, Parquet and tables give.

    >>> cell_names("Drama, War")
    ('Drama', 'War')
    >>> cell_names("['Drama' 'War']")
    ('Drama', 'War')
    >>> cell_names('[{"id": 18, "name": "Drama"}, {"id": 10752, "name": "War"}]')
    ('Drama', 'War')
    """
    if not isinstance(value, str):
        return _once(_names(value, _DEEPEST))
    text = value.strip()
    if call := _CALL.fullmatch(text[: _LONGEST + 1]):
        text = call.group(1)
    if text[:1] in ("[", "{", "("):
        if names := _once(_names(_literal(text), _DEEPEST)):
            return names
        text = re.sub(r"[\[\]{}()'\"]", "", text)
    return _once(_bare(part.strip()) for part in _SEPARATORS.split(text))


def _bare(name: str) -> str:
    """A name without the quotes around the whole of it; those of ``'Weird Al' Yankovic`` are his."""
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"" else name


def _literal(text: str) -> Any:
    """The value of a list or an object as JSON or Python write it; None where it is none, or too long."""
    if len(text) > _LONGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    # Between two quoted texts Python needs a comma, or makes one text of them; numpy writes none.
    parted = _QUOTED.sub(lambda match: match.group(0) if match.group(2) is None else f"{match.group(1)}, ", text)
    try:
        return ast.literal_eval(parted)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _names(value: Any, depth: int) -> Iterator[str]:
    """The names in a value; what lies deeper than `depth` is passed over."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif depth and isinstance(value, dict):
        lower = {str(key).casefold(): inner for key, inner in value.items()}
        named = [lower[key] for key in _NAME_KEYS if lower.get(key)]
        inner = named[:1] or [text for text in value.values() if isinstance(text, str)]
        for part in inner:
            yield from _names(part, depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        # A set has another order in every process.
        for part in sorted(value, key=str) if isinstance(value, set) else value:
            yield from _names(part, depth - 1)


def _once(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in (name.strip() for name in names) if name))
