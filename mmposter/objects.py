"""Files in object stores: ``s3://BUCKET/KEY``, ``gs://BUCKET/KEY``, ``hf://datasets/ORG/NAME/PATH``; by fsspec.

Credentials, regions and addresses of servers are those of the libraries below: of ``s3://`` botocore's, such as
``AWS_PROFILE`` and ``AWS_ENDPOINT_URL``. Other protocols that fsspec knows are not asked, because a stranger's table
may name them: some run commands, or read files of this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from mmposter.errors import BadImageError, UserError
from mmposter.shell import command_line

SCHEMES = {"s3": "s3", "gs": "gcs", "hf": ""}
"""The protocols, and the extra of mmposter that brings the library of each; none where it is always there."""

_LINK = re.compile(rf"(?:{'|'.join(SCHEMES)})://[^/\0]+(?:/|\Z)")
_HUB_DATA = ("hf://datasets/", "hf://buckets/")  # hf://ORG/NAME is a model of mmposter
_YES = ("1", "ON", "YES", "TRUE")
_ODD_PART = re.compile(r"(?:^|[/\\])\.{0,2}(?=[/\\]|$)|[\\\0]|^[A-Za-z]:")
"""What a name below a folder must not have: an empty part, one of ``.`` and ``..``, a backslash, a drive."""


class StoredObject(NamedTuple):
    """An object of a store: its link, how many bytes it has, and a mark that changes with its content."""

    link: str
    size: int
    mark: str


def is_object(text: object) -> TypeGuard[str]:
    """Whether a text names a file or a folder of an object store.

    >>> is_object("s3://bucket/poster.jpg"), is_object("https://example.org/poster.jpg"), is_object("hf://ORG/NAME")
    (True, False, False)
    """
    if not isinstance(text, str) or _LINK.match(text) is None:
        return False
    return not text.startswith("hf://") or text.startswith(_HUB_DATA)


def link_of(path: Path) -> str | None:
    """The link that a path was made of, which makes one slash of two; None for any other path.

    >>> link_of(Path("s3://bucket/runs/one")), link_of(Path("runs/one"))
    ('s3://bucket/runs/one', None)
    """
    scheme, *rest = path.parts or ("",)
    link = f"{scheme}//{'/'.join(rest)}"
    return link if is_object(link) else None


def read_object(link: str, max_bytes: int) -> bytes:
    """The bytes of an object.

    Raises:
        BadImageError: it is not there, is too large, or cannot be had; with the reason of a report.
        UserError: the library of its protocol is not installed.
    """
    if offline():
        raise BadImageError("not_asked", "it was not asked for: --offline")
    with _bad_image():
        store = _store(link)
        size = int(store.info(link)["size"] or 0)
        if size > max_bytes:
            raise BadImageError("too_large", f"{size / 1e6:,.1f} MB; at most {max_bytes / 1e6:,.1f} MB are read")
        # No more than was said, should it grow meanwhile.
        return bytes(store.cat_file(link, start=0, end=size)) if size else b""


def list_objects(link: str, *, beginning: bool = False) -> list[StoredObject]:
    """The object of this name, and those below it as a folder, sorted; none where there is neither.

    Args:
        beginning: those whose links begin so, in place of these; of ``hf://`` none.

    Raises:
        UserError: the store cannot be asked.
    """
    _require_online(link)
    with _for_people(link):
        store = _store(link)
        store.invalidate_cache()
        scheme = link.partition("://")[0]
        try:
            if not beginning:
                found = store.find(link, detail=True)
            elif scheme == "hf":
                found = {}
            else:
                above, _, name = link.rpartition("/")
                found = store.find(above, prefix=name, detail=True)
        except FileNotFoundError:
            found = {}
        facts = [(f"{scheme}://{name}", fact) for name, fact in sorted(found.items()) if fact.get("type") == "file"]
        return [
            StoredObject(name, int(fact.get("size") or 0), _mark(fact))
            for name, fact in facts
            if not name.endswith("/")
        ]


def require_bucket(link: str) -> None:
    """Refuse a link into a bucket that is not there (UserError)."""
    scheme, _, rest = link.partition("://")
    bucket = f"{scheme}://{rest.partition('/')[0]}"
    with _for_people(bucket):
        if not link.startswith("hf://") and not _store(link).exists(bucket):
            raise UserError(f"{bucket}: there is no such bucket, or it may not be looked into; check its name")


def name_below(link: str, folder: str) -> str:
    """The name of an object below a folder, with slashes; it stays below any folder that it is put into.

    Raises:
        UserError: it would not.
    """
    name = link.removeprefix(folder.rstrip("/")).removeprefix("/")
    if not link.startswith(folder.rstrip("/")) or _ODD_PART.search(name):
        raise UserError(f"the object {link!r} has a name that is no path below {folder}; give it another one")
    return name


def fetch_object(link: str, target: str | os.PathLike[str]) -> None:
    """Write an object into a file (UserError: it cannot be had; OSError: the file cannot be written)."""
    _require_online(link)
    with _for_people(link):
        _store(link).get_file(link, os.fspath(target))


def put_object(source: str | os.PathLike[str], link: str) -> StoredObject:
    """Write a file into an object, which is there whole or not at all (UserError: it cannot be written)."""
    _require_online(link)
    if link.startswith("hf://"):
        raise UserError(f"{link} can be read and not written.\nFor a model: {command_line('mmposter', 'push', 'RUN')}")
    with _for_people(link):
        store = _store(link)
        store.put_file(os.fspath(source), link)
        store.invalidate_cache()
        fact = store.info(link)
        return StoredObject(link, int(fact["size"] or 0), _mark(fact))


def remove_object(link: str) -> None:
    """Remove an object, if it is there (UserError: it cannot be removed)."""
    _require_online(link)
    with _for_people(link):
        try:
            _store(link).rm_file(link)
        except FileNotFoundError:
            return


def offline() -> bool:
    """Whether the network may not be asked, in this process and in those that it starts."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _YES


def _require_online(link: str) -> None:
    if offline():
        raise UserError(f"{link} is in an object store, and the network may not be asked.\nLeave --offline out")


def _store(link: str) -> Any:
    """fsspec's object of the protocol; it is one a process and must not be kept over a fork, so it is asked for."""
    import fsspec

    scheme = link.partition("://")[0]
    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        extra = SCHEMES[scheme] or "s3"
        raise UserError(
            f"{scheme}:// needs a library that is not installed ({error}); "
            f"run: {command_line('pip', 'install', f'mmposter[{extra}]')}"
        ) from error


def _mark(fact: dict[str, Any]) -> str:
    """What of an object changes with its content."""
    for key in ("ETag", "etag", "md5Hash", "blob_id"):
        if value := fact.get(key):
            return str(value).strip('"')
    return f"{fact.get('size')}-{fact.get('LastModified') or fact.get('mtime') or fact.get('last_modified') or ''}"


@contextmanager
def _bad_image() -> Iterator[None]:
    try:
        yield
    except (BadImageError, UserError):
        raise
    except FileNotFoundError:
        raise BadImageError("missing", "there is no such object") from None
    except PermissionError as error:
        raise BadImageError("unreadable", f"the store does not give it ({_words(error)})") from error
    except IsADirectoryError:
        raise BadImageError("unreadable", "it is a folder, not a file") from None
    except MemoryError:
        raise
    except Exception as error:  # each store has errors of its own
        raise BadImageError("no_connection", f"the store cannot be asked ({_words(error)})") from error


@contextmanager
def _for_people(link: str) -> Iterator[None]:
    """Errors of a store in words; those of this machine's disk stay as they are."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except PermissionError as error:
        raise UserError(
            f"{link}: the store does not allow it ({_words(error)}).\nCheck the credentials and the name of the bucket"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{link}: there is no such object or bucket ({_words(error)})") from error
    except Exception as error:
        if isinstance(error, OSError) and isinstance(error.filename, str) and "://" not in error.filename:
            raise
        raise UserError(
            f"{link}: the store cannot be asked ({_words(error)}).\nCheck the address, the credentials and the network"
        ) from error


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
