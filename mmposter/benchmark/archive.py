"""The file of a pack: a zip, whose members are compressed by themselves, with ``pack.json`` to say what they are.

Members: ``pack.json``; ``manifest.parquet`` and ``vocabulary.json`` as in a prepared folder; for each field of each
extractor ``EXTRACTOR/FIELD.xz`` (rows of all posters, one poster after another; see `mmposter.benchmark.codec`) and,
where posters have other than one row, ``EXTRACTOR/FIELD.counts.xz``. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmposter.atomic import atomic_path
from mmposter.errors import UserError
from mmposter.formats import require_format

KIND, FORMAT, SUFFIX = "mmposter-pack", 1, ".mmpack"
FACTS = "pack.json"

_NAME = re.compile(r"\w[\w.-]*")
# What reading a file that is damaged, or none of ours, may end in.
BROKEN = (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError, ValueError, KeyError, TypeError, IndexError)


def check_name(name: str) -> str:
    """`name`, which becomes part of a folder's.

    Raises:
        UserError: other signs than letters, digits, dot, dash and underscore.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"the name of a pack has letters, digits, dots, dashes and underscores; got {name!r}")
    return name


def write_archive(target: Path, members: Mapping[str, bytes]) -> None:
    """Write a zip atomically; equal members give equal bytes."""
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)  # without the date of today
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)


class Archive:
    """A pack that is read.

    Args:
        file: the pack.

    Attributes:
        facts: what ``pack.json`` says.

    Raises:
        UserError: it is no pack, is damaged, or is of a newer format.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with zipfile.ZipFile(file) as archive:
                self.facts: dict[str, Any] = json.loads(archive.read(FACTS))
            if self.facts["kind"] != KIND:
                raise ValueError(f"kind {self.facts['kind']!r}")
            found, name = int(self.facts["format"]), str(self.facts["name"])
        except BROKEN as error:
            raise self.damaged(error) from error
        require_format(file, found, FORMAT)
        self.name = check_name(name)

    def members(self) -> dict[str, bytes]:
        """All members by name, their checksums compared.

        Raises:
            UserError: the file is damaged.
        """
        try:
            with zipfile.ZipFile(self.file) as archive:
                return {name: archive.read(name) for name in archive.namelist()}
        except BROKEN as error:
            raise self.damaged(error) from error

    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def damaged(self, error: Exception) -> UserError:
        """What to tell a person about `error`."""
        return UserError(
            f"{self.file} is no pack of mmposter, or is damaged ({type(error).__name__}: {error}).\n"
            f"Get it again, or make one: mmposter pack DATA --out FILE{SUFFIX}"
        )
