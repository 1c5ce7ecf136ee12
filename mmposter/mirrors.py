"""Data and runs in an object store: a copy on this machine, brought up to date before a command and sent back after it.

Objects cannot be mapped, locked or renamed, so a command works with the copy, and its own rules hold there. What it
writes is sent every minute and at its end, oldest file first: a file that describes others, such as ``model.json``, is
written after them and so arrives after them. Each object is there whole or not at all. Not sent are hidden files
(temporary ones, locks) and tables of features, which are made again from the features.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path, write_json
from mmposter.objects import (
    StoredObject,
    fetch_object,
    is_object,
    link_of,
    list_objects,
    name_below,
    put_object,
    remove_object,
    require_bucket,
)
from mmposter.progress import progress, warn
from mmposter.shell import name_place

PAUSE_S = 60.0
"""Seconds between two looks at what has to be sent."""

_MADE_AGAIN = "features/tables/"
_READ_ONLY = ("hf://",)


@dataclass(frozen=True)
class _Known:
    """A file as it was when copy and store were last equal."""

    mark: str  # of the object
    size: int  # bytes of the file
    time: int  # when it was written, in nanoseconds

    def is_of(self, file: Path) -> bool:
        facts = file.stat()
        return (facts.st_size, facts.st_mtime_ns) == (self.size, self.time)


class Mirror:
    """The copy of a file or of a folder of a store, with the files whose names begin as its own does and a dot.

    Args:
        link: of the file or the folder.
        home: folder in which copies are kept.

    Attributes:
        path: the copy, which need not be there.
    """

    def __init__(self, link: str, home: Path) -> None:
        self.link = link.rstrip("/")
        self._above, _, name = self.link.rpartition("/")
        if "/" not in self.link.partition("://")[2] or not name_below(name, "") or name.startswith("."):
            raise UserError(f"{link} names no file or folder of a bucket; such as s3://BUCKET/FOLDER/NAME")
        self._folder = home / hashlib.sha256(self.link.encode()).hexdigest()[:16]
        self.path = self._folder / name
        self._lock = threading.Lock()
        self._sent: set[str] = set()  # names that this process has seen in the copy and in the store

    def pull(self) -> None:
        """Bring the copy up to date. A file that was changed here and not sent yet stays, unless both were changed.

        Raises:
            UserError: the store cannot be asked, or the disk has no room.
        """
        there = {name_below(found.link, self._above): found for found in self._there()}
        if not there:
            require_bucket(self.link)
        with self._state() as known:
            wanted = {name: found for name, found in there.items() if self._is_wanted(name, found, known.get(name))}
            self._require_room(sum(found.size for found in wanted.values()))
            with progress(f"fetching {self.link}", len(wanted), unit="file", quiet=not wanted) as ticker:
                for name, found in wanted.items():
                    file = self._folder / name
                    with atomic_path(file) as temporary:
                        fetch_object(found.link, temporary)
                    known[name] = _known(found, file)
                    ticker.advance()
            for name in [name for name in known if name not in there]:
                file = self._folder / name
                if file.is_file() and known[name].is_of(file):
                    file.unlink()
                del known[name]
            self._sent = set(known)

    def push(self) -> int:
        """Send what is new here, and remove there what was removed here; returns the number of objects changed.

        Raises:
            UserError: the store cannot be written.
        """
        if not self._folder.is_dir():
            return 0
        with self._lock, self._state() as known:
            here = self._here()
            new = [
                (file.stat().st_mtime_ns, name, file)
                for name, file in here.items()
                if name not in known or not known[name].is_of(file)
            ]
            gone = sorted(name for name in self._sent if name not in here) if here else []
            if (new or gone) and self.link.startswith(_READ_ONLY):
                return 0
            for _, name, file in sorted(new):
                before = file.stat()
                found = put_object(file, f"{self._above}/{name}")
                known[name] = _Known(found.mark, before.st_size, before.st_mtime_ns)
                self._sent.add(name)
            for name in gone:
                remove_object(f"{self._above}/{name}")
                known.pop(name, None)
                self._sent.discard(name)
            return len(new) + len(gone)

    def _there(self) -> list[StoredObject]:
        """Its objects: of the name itself, below it, and with a dot after it."""
        found = {one.link: one for one in list_objects(self.link)}
        found |= {one.link: one for one in list_objects(f"{self.link}.", beginning=True)}
        return [one for one in found.values() if self._is_ours(name_below(one.link, self._above))]

    def _here(self) -> dict[str, Path]:
        places = [self.path, *self._folder.glob(f"{glob.escape(self.path.name)}.*")]
        files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
        named = {file.relative_to(self._folder).as_posix(): file for file in files if file.is_file()}
        return {name: file for name, file in named.items() if self._is_ours(name)}

    def _is_ours(self, name: str) -> bool:
        own = self.path.name
        inside = name == own or name.startswith((f"{own}/", f"{own}."))
        hidden = any(part.startswith(".") for part in name.split("/"))
        return inside and not hidden and not name.startswith(f"{own}/{_MADE_AGAIN}")

    def _is_wanted(self, name: str, found: StoredObject, known: _Known | None) -> bool:
        file = self._folder / name
        if not file.is_file():
            return True
        if known is None or known.mark == found.mark:
            return known is None  # a file that is here for another reason gives way
        if not known.is_of(file):
            warn(f"{name} was changed in {self._above} and in the copy {file}; the one of the store is used")
        return True

    def _require_room(self, size: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if size > free:
            raise UserError(
                f"{self.link} needs {size / 1e9:,.1f} GB here, and {self._folder} has {free / 1e9:,.1f} GB left.\n"
                "Free some space, or choose a folder on another disk: XDG_CACHE_HOME=FOLDER"
            )

    @contextmanager
    def _state(self) -> Iterator[dict[str, _Known]]:
        """What is known of the files, for one process at a time; written at the end, also of half the work."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(self._folder / ".lock"):
            file = self._folder / ".state.json"
            known: dict[str, _Known] = {}
            with suppress(OSError, ValueError, TypeError):  # a damaged one is as none
                known = {name: _Known(**facts) for name, facts in json.loads(file.read_text("utf-8")).items()}
            before = dict(known)
            try:
                yield known
            finally:
                if known != before:
                    write_json(file, {name: asdict(facts) for name, facts in known.items()})


_open: dict[str, Mirror] = {}


def local_copy(link: str) -> Path:
    """The copy of a file or folder of an object store on this machine, up to date when it is first asked for.

    It need not be there: then it is made. What is written into it is sent every minute, and by `send_all` at the end.

    Raises:
        UserError: the store cannot be asked.
    """
    key = link.rstrip("/")
    if key not in _open:
        mirror = Mirror(key, _home())
        mirror.pull()
        name_place(mirror.path, key)
        _open[key] = mirror
        if len(_open) == 1:
            threading.Thread(target=_send_now_and_then, name="send", daemon=True).start()
    return _open[key].path


def send_all() -> None:
    """Send what is new in all copies that this process has asked for (UserError: a store cannot be written)."""
    for mirror in list(_open.values()):
        try:
            mirror.push()
        except UserError as error:
            raise UserError(
                f"{error}\nNothing is lost: the next command here that names {mirror.link} sends it from its copy in "
                f"{mirror.path.parent}"
            ) from error


def _send_now_and_then() -> None:
    """The thread's work: what fails is tried again, and the last time, by `send_all`, it is said."""
    while _open:
        time.sleep(PAUSE_S)
        with suppress(UserError, OSError):
            send_all()


def as_path(place: str | Path) -> Path:
    """A path, or the copy of what a link into an object store names."""
    link = place if isinstance(place, str) else link_of(place)
    return local_copy(link) if is_object(link) else Path(place)


def _known(found: StoredObject, file: Path) -> _Known:
    facts = file.stat()
    return _Known(found.mark, facts.st_size, facts.st_mtime_ns)


def _home() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mmposter" / "objects"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError as error:
        raise UserError(
            f"{home} cannot be written ({error}), and copies of what is in an object store are kept there.\n"
            "Choose another folder: XDG_CACHE_HOME=FOLDER"
        ) from error


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    """Wait until no other process of this machine is between copy and store; where there is no flock, do not."""
    with file.open("w", encoding="utf-8") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield  # closing lets go
