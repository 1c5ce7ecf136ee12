"""Posters that were dropped on the page, while they are shown."""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mmposter.serve.errors import RequestError, logged, stopping
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.settings import ServeSettings

LIFE_S = 3600.0
"""Seconds that a dropped poster is kept."""

MOST_FILES = 4096
"""That are kept at a time, however small they are."""

WORD = re.compile(r"[0-9a-f]{32}")
"""How a client calls a poster."""

# No link is followed, and nothing is waited for: a pipe would keep us for ever.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class _Kept:
    name: str
    size: int
    until: float


class Uploads:
    """A folder of this user alone, gone when the server ends.

    A client knows a poster by a word that we made up, which is its file's name too: what a client says is never a
    path. When there is no room, the oldest posters are let go, and whoever still shows one is asked to drop it again.

    Args:
        settings: the limits.
        clock: seconds.

    Attributes:
        folder: of the files, and of nothing else.
        spare: for what a library may write beside them.
        held: bytes of all files.
    """

    def __init__(self, settings: ServeSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._temporary = tempfile.TemporaryDirectory(prefix="mmposter-serve-", ignore_cleanup_errors=True)
        self.folder, self.spare = Path(self._temporary.name) / "posters", Path(self._temporary.name) / "spare"
        self.folder.mkdir()
        self.spare.mkdir()
        self.held = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._closed = False
        self._lock = threading.RLock()  # a signal may close us in the middle of something

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, posters: Sequence[UploadedPoster]) -> list[str]:
        """Write posters down; all of them, or none.

        Args:
            posters: of one request, within its limits.

        Returns:
            the word of each.

        Raises:
            RequestError: 503, the server is stopping; 507, the disk is full.
        """
        words: list[str] = []
        with self._lock:
            if self._closed:
                raise stopping()
            self._make_room(len(posters), sum(len(poster.data) for poster in posters))
            try:
                for poster in posters:
                    words.append(secrets.token_hex(16))
                    self._kept[words[-1]] = _Kept(poster.name, len(poster.data), self._clock() + LIFE_S)
                    self.held += len(poster.data)
                    self._write(words[-1], poster.data)
            except OSError as error:
                for word in words:
                    self._drop(word)
                number = logged(error, "to keep an uploaded poster")
                message = f"the server cannot keep a poster; its log has the cause under the id {number}"
                raise RequestError(507, "no_room", message, retry_after=60) from error
        return words

    def open(self, word: object) -> tuple[str, BinaryIO]:
        """Name of a poster that is kept, and its file, which the caller closes.

        Args:
            word: from `keep`; anything else may be given, and is refused.

        Raises:
            RequestError: 410, it is not here, or something else is in its place.
        """
        kept = self._kept.get(word) if isinstance(word, str) else None
        if kept is None:
            raise _gone()
        try:
            number = os.open(self.folder / str(word), _READ)
        except OSError as error:
            raise _gone() from error
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_size != kept.size:
            os.close(number)
            raise _gone()
        return kept.name, os.fdopen(number, "rb")

    def read(self, word: object) -> UploadedPoster:
        """A poster that is kept; argument and errors as for `open`."""
        name, file = self.open(word)
        with file:
            return UploadedPoster(name, file.read(self._settings.max_poster_bytes))

    def size(self, word: object) -> int:
        """Bytes of a poster; 0 where it is not here."""
        kept = self._kept.get(word) if isinstance(word, str) else None
        return 0 if kept is None else kept.size

    def sweep(self) -> None:
        """Let those go whose time is over."""
        self._make_room(0, 0)

    def close(self) -> None:
        """Remove everything; in any thread, also in a signal handler, and more than once."""
        with self._lock:
            self._closed = True
            self._kept.clear()
            self.held = 0
            self._temporary.cleanup()

    def _make_room(self, files: int, size: int) -> None:
        with self._lock:
            while self._kept:
                word, oldest = next(iter(self._kept.items()))
                full = len(self) + files > MOST_FILES or self.held + size > self._settings.max_held_bytes
                if not full and oldest.until > self._clock():
                    return
                self._drop(word)

    def _write(self, word: str, data: bytes) -> None:
        number = os.open(
            self.folder / word, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode=0o600
        )
        with os.fdopen(number, "wb") as file:
            file.write(data)

    def _drop(self, word: str) -> None:
        self.held -= self._kept.pop(word).size
        with suppress(OSError):  # it was not written, or something else is in its place, which goes with the folder
            os.unlink(self.folder / word)


def _gone() -> RequestError:
    return RequestError(410, "poster_gone", "a poster is no longer here (they are let go after an hour); drop it again")
