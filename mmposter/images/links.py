"""Posters that are named by a link in place of a path."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TypeGuard
from urllib.parse import unquote, urlsplit

from mmposter.objects import is_object

_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: C:// is a path of Windows
_NO_NAME = re.compile(r"[^\w.-]+")


def is_link(poster: object) -> TypeGuard[str]:
    """Whether a poster is named by a link: a text with a scheme. A `Path` is always a path.

    >>> is_link("https://example.org/poster.jpg"), is_link("posters/one.jpg")
    (True, False)
    """
    return isinstance(poster, str) and _LINK.match(poster) is not None


def poster_place(path: str, root: Path) -> Path | str:
    """Where a poster lies that a manifest names.

    Args:
        path: relative to `root`, absolute, or a link into an object store, which is given back as it is.
    """
    return path if is_object(path) else root / path


def link_stem(link: str) -> str:
    """A file's name for a link, without an ending: made of the last part of its path, else of its host.

    >>> link_stem("https://example.org/films/the%20film.jpg?width=300")
    'the-film'
    """
    try:
        parts = urlsplit(link)
    except ValueError:  # such as an address in brackets that is none
        return "poster"
    stem = PurePosixPath(unquote(parts.path)).stem or parts.netloc
    return _NO_NAME.sub("-", stem).strip(".-")[:100] or "poster"
